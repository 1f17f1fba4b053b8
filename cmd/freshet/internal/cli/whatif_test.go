package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/golden"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/cmd/freshet/internal/whatif"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

func goldenLog(t *testing.T) [][]byte {
	t.Helper()
	log, err := golden.Read(filepath.Join("..", "golden", "testdata", "log.jsonl.gz"))
	require.NoError(t, err)
	return log
}

// rewound is a suite with the golden log, where some services run. Those that decide
// have no trial to offer.
func rewound(t *testing.T, change func(map[string]service.Status)) string {
	t.Helper()
	log := goldenLog(t)
	end := uint64(len(log))
	status := suite.Status{Services: map[string]service.Status{}, End: end}
	for _, name := range append([]string{"audit"}, whatif.Services...) {
		status.Services[name] = service.Status{Service: name, Position: end, Behind: map[string]int64{"outbox": 0}}
	}
	if change != nil {
		change(status.Services)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /statusz", func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, http.StatusOK, status) })
	mux.HandleFunc("GET /v1/events/replay", func(w http.ResponseWriter, r *http.Request) {
		to, err := strconv.Atoi(r.URL.Query().Get("to"))
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = w.Write(append(bytes.Join(log[:to], []byte("\n")), '\n'))
	})
	mux.HandleFunc("POST /v1/trials/{service}", func(w http.ResponseWriter, r *http.Request) {
		web.Problem(w, http.StatusTooManyRequests, "Not begun", "no trial of "+r.PathValue("service"))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// rulesFile is the demo's freshet.yaml, changed.
func rulesFile(t *testing.T, change func(string) string) string {
	t.Helper()
	b, err := os.ReadFile("../../../../examples/flight-delays/model/freshet.yaml")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "changed.yaml")
	require.NoError(t, os.WriteFile(file, []byte(change(string(b))), 0o600))
	return file
}

func TestWhatIfSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	url, same := rewound(t, nil), rulesFile(t, func(s string) string { return s })
	log := goldenLog(t)
	end, eighth, declared := len(log), 0, 0 // positions
	var last time.Time
	for i, raw := range log {
		e, err := events.Codec{}.Decode(raw)
		require.NoError(t, err)
		if last = e.Time(); !last.After(time.Date(2001, 1, 8, 0, 0, 0, 0, time.UTC)) {
			eighth = i + 1
		}
		if declared == 0 && e.Type() == events.TypeModelDeclared {
			declared = i + 1
		}
	}
	for _, c := range []struct {
		args []string
		err  string
	}{
		{[]string{"--from", "99999"}, fmt.Sprintf("--from 99999: the log ends at %d", end)},
		{[]string{"--to", fmt.Sprint(end + 1)}, fmt.Sprintf("--to %d: the log ends at %d", end+1, end)},
		{[]string{"--from", "2002-01-01"}, fmt.Sprintf("--from 2002-01-01: the log ends at %d, %s", end, last.Format(time.RFC3339))},
		{[]string{"--to", "1999-01-01"}, "--to 1999-01-01: the log begins at 2001-01-06T00:00:00Z"},
		{[]string{"--from", "50", "--to", "2001-01-08"}, fmt.Sprintf("--to 2001-01-08 (%d of the log) comes before --from 50 (50)", eighth)},
		{[]string{"--to", "3"}, fmt.Sprintf("--to 3: the model flight-delays is declared after it, at %d", declared)},
		{[]string{"--from", "soon"}, `--from "soon" is neither a position of the log nor a time such as 2001-01-19 or 2001-01-19T04:00:00Z`},
		{[]string{"-n", "other"}, "the model flight-delays is not declared in the log of namespace other"},
		{nil, "deployment: no trial of deployment"},
	} {
		_, err := run(t, append([]string{"replay", "what-if", "--url", url, "--model", "flight-delays", "--spec", same}, c.args...)...)
		require.ErrorContains(t, err, c.err, "%s", c.args)
	}
}

func TestWhatIfNamesTheServicesThatItNeeds(t *testing.T) {
	t.Parallel()
	same := rulesFile(t, func(s string) string { return s })
	ask := func(change func(map[string]service.Status)) error {
		_, err := run(t, "replay", "what-if", "--url", rewound(t, change), "--model", "flight-delays", "--spec", same, "--timeout", "10s")
		return err
	}
	require.EqualError(t, ask(func(all map[string]service.Status) { delete(all, "monitoring") }),
		"services that made decisions are not running: monitoring. Start them (freshet up, with monitoring in --services)")
	require.ErrorContains(t, ask(func(all map[string]service.Status) {
		all["registry"] = service.Status{Service: "registry", Behind: map[string]int64{}, Error: "connection refused"} // as a gateway tells it
	}), "not running: registry. ")
	require.ErrorContains(t, ask(func(all map[string]service.Status) { delete(all, "audit") }), "audit is not running, and a replay reads the log through it")
	require.EqualError(t, ask(func(all map[string]service.Status) {
		all["training"] = service.Status{Service: "training", Position: 17, Behind: map[string]int64{"outbox": 0}}
	}), fmt.Sprintf("training has applied the log up to 17 of %d: ask again once it has caught up", len(goldenLog(t))))
}

func TestWhatIfExplainsAFileAsValidateDoes(t *testing.T) {
	t.Parallel()
	url := rewound(t, nil)
	dataset, err := os.ReadFile("../../../../examples/flight-delays/model/datasets/flights.yaml")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(string) string
		err    string
	}{
		"no YAML": {func(s string) string { return strings.Replace(s, "owner: ", "  owner: [", 1) },
			`%s:2: this is not YAML: mapping values are not allowed in this context (put text that contains ": " in quotes)`},
		"a mistake": {func(s string) string { return strings.Replace(s, "mode: act", "mode: fast", 1) }, "%s:34: "},
		"another model": {func(s string) string { return strings.Replace(s, "model: flight-delays", "model: late", 1) },
			"%s:1: it does not define the model flight-delays (name one that it defines: late)"},
		"nothing": {func(string) string { return "" }, "%s:1: the file defines nothing"},
		"no model": {func(string) string { return string(dataset) }, "%s:1: it does not define the model flight-delays (it defines none: " +
			"begin with model: flight-delays)"},
	} {
		file := rulesFile(t, c.change)
		_, err := run(t, "replay", "what-if", "--url", url, "--model", "flight-delays", "--spec", file)
		require.ErrorContains(t, err, fmt.Sprintf(c.err, file), name)
		require.NotContains(t, err.Error(), "defines: )", name)
	}
}
