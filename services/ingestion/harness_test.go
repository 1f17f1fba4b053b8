package ingestion_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/stretchr/testify/require"
)

var language = service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}

const secret = "a secret of tests only"

type bundle struct {
	*testkit.Running
	t     *testing.T
	inbox string
	repo  string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, inbox: t.TempDir(), repo: t.TempDir()}
	cfg := ingestion.DefaultConfig()
	cfg.Inbox, cfg.GitHubSecret = b.inbox, secret
	cfg.PollLocal, cfg.Fetches = 20*time.Millisecond, 4
	require.NoError(t, cfg.Validate())
	b.Running = testkit.Service(t, "ingestion", language, ingestion.Module(cfg))
	return b
}

const datasetYAML = `dataset: flights
keys: [flight_id]
time: {column: date, zone: local}
known_at: {delay: "date + to_minutes(greatest(delay, 0))"}
expect:
  columns:
    flight_id: {type: string, nulls: 0}
    delay: {type: int64, nulls: 0, range: [-120, 2000]}
    origin: {type: string}
  sql: {no_loops: "SELECT * FROM data WHERE origin = destination"}
on_failure: {rows: quarantine, reject_commit_above: 50%}
`

const viewYAML = `view: origin_delays
dataset: flights
entity: {airport: origin}
window: 3h
features: {late_share: "avg((delay > 15)::int)"}
missing: {late_share: 0.2}
`

const modelYAML = `model: flight-delays
examples: {dataset: flights, label: "delay > 15"}
features: [origin_delays]
request: {flight_id: string, date: timestamp, origin: string}
prediction: {late: float}
training: {builtin: logistic-regression, params: {l2: 0.01}}
gates: {useful: candidate.auc > naive.auc + 0.05}
`

func definitions() map[string]string {
	return map[string]string{"datasets/flights.yaml": datasetYAML, "features/origin_delays.yaml": viewYAML, "freshet.yaml": modelYAML}
}

// git runs git in the repository of the test.
func (b *bundle) git(args ...string) string {
	b.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main", "-c",
		"commit.gpgsign=false"}, args...)...)
	cmd.Dir = b.repo
	out, err := cmd.CombinedOutput()
	require.NoError(b.t, err, string(out))
	return strings.TrimSpace(string(out))
}

// commit writes files and commits them; an empty text removes a file.
func (b *bundle) commit(message string, files map[string]string) string {
	b.t.Helper()
	if _, err := os.Stat(filepath.Join(b.repo, ".git")); err != nil {
		b.git("init", "-q")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p := filepath.Join(b.repo, name)
		if files[name] == "" {
			require.NoError(b.t, os.Remove(p))
			continue
		}
		require.NoError(b.t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(b.t, os.WriteFile(p, []byte(files[name]), 0o600))
	}
	b.git("add", "-A")
	b.git("commit", "-q", "--allow-empty", "-m", message)
	return b.git("rev-parse", "HEAD")
}

func (b *bundle) connect() {
	b.t.Helper()
	status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"delays","url":%q,"branch":"main"}`, b.repo))
	require.Equal(b.t, http.StatusCreated, status, body)
}

// declare makes the definitions known.
func (b *bundle) declare() {
	b.t.Helper()
	b.commit("first", definitions())
	b.connect()
	b.AwaitType(events.TypeModelDeclared, 1)
}

func (b *bundle) do(method, path, contentType, body string, headers ...string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return res.StatusCode, string(out)
}

const structured = "application/cloudevents+json"

// upload stores a file and returns its uri.
func (b *bundle) upload(content string) string {
	b.t.Helper()
	status, body := b.do("PUT", "/v1/files", "application/octet-stream", content)
	require.Equal(b.t, http.StatusCreated, status, body)
	var ref struct {
		Digest string `json:"digest"`
		URI    string `json:"uri"`
	}
	require.NoError(b.t, json.Unmarshal([]byte(body), &ref))
	require.True(b.t, strings.HasPrefix(ref.Digest, "sha256:"))
	return ref.URI
}

// arrival is a structured event that announces files.
func arrival(id, dataset string, uris ...string) string {
	files := make([]map[string]string, len(uris))
	for i, u := range uris {
		files[i] = map[string]string{"uri": u}
	}
	b, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": "/producer", "type": "com.example.arrived",
		"datacontenttype": "application/json", "data": map[string]any{"dataset": dataset, "files": files}})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func parse[P any, PP interface{ *P }](t *testing.T, e event.Event) P {
	t.Helper()
	var p P
	require.NoError(t, json.Unmarshal(e.Data(), &p))
	return p
}

func csv(rows ...string) string {
	return "flight_id,date,delay,origin,destination\n" + strings.Join(rows, "\n") + "\n"
}

// lines are the rows of a JSON Lines object.
func (b *bundle) lines(o *events.Object) []map[string]any {
	b.t.Helper()
	require.NotNil(b.t, o)
	raw, err := b.Objects.Get(b.t.Context(), o.Digest, 1<<20)
	require.NoError(b.t, err)
	var out []map[string]any
	for line := range bytes.SplitSeq(bytes.TrimSpace(raw), []byte("\n")) {
		var row map[string]any
		require.NoError(b.t, json.Unmarshal(line, &row))
		out = append(out, row)
	}
	return out
}

func (b *bundle) quarantined() (reasons []string) {
	b.t.Helper()
	rows, err := b.Pool.Query(b.t.Context(), `SELECT reason FROM quarantined_events ORDER BY received, input, position`)
	require.NoError(b.t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(b.t, rows.Scan(&s))
		reasons = append(reasons, s)
	}
	require.NoError(b.t, rows.Err())
	return reasons
}
