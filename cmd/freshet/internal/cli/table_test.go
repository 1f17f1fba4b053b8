package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

func drawn(t *testing.T, s screen, all bool, items string, columns ...column) string {
	t.Helper()
	var l list
	require.NoError(t, json.Unmarshal([]byte(`{"items":`+items+`}`), &l))
	var b bytes.Buffer
	require.NoError(t, table(&b, s, all, l.Items, columns...))
	return b.String()
}

func TestIDsAreAsLongAsTheyMustBe(t *testing.T) {
	t.Parallel()
	items := `[{"id":"0123456789-a","n":1},{"id":"0123456788-b","n":2},{"id":"0123456789-a","n":3}]`
	columns := []column{id("id", "id"), col("n", "n")}
	require.Equal(t, "ID          N\n0123456789  1\n0123456788  2\n0123456789  3\n", drawn(t, screen{}, false, items, columns...))
	require.Contains(t, drawn(t, screen{}, true, items, columns...), "0123456788-b  2\n")
	require.Equal(t, "ID        N\n01234567  1\n", drawn(t, screen{}, false, `[{"id":"0123456789-a","n":1}]`, columns...))
}

func TestATableFitsTheTerminalAndNothingElse(t *testing.T) {
	t.Parallel()
	items := `[{"name":"m","state":"refused","why":"` + strings.Repeat("because ", 20) + `","id":"0123456789abcdef"}]`
	columns := []column{col("name", "name"), state("state", "state"), col("why", "why"), id("id", "id")}
	for line := range strings.Lines(drawn(t, screen{width: 50}, false, items, columns...)) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 50)
	}
	require.Contains(t, drawn(t, screen{width: 50}, false, items, columns...), "…")
	require.NotContains(t, drawn(t, screen{}, false, items, columns...), "…")
	require.Contains(t, drawn(t, screen{width: 10}, false, items, columns...), "01234567", "ids are never cut")
}

func TestColourIsForTerminals(t *testing.T) {
	t.Parallel()
	items := `[{"state":"refused","n":1},{"state":"serving","n":2},{"state":"other","n":3}]`
	columns := []column{state("state", "state"), col("n", "n")}
	require.NotContains(t, drawn(t, screen{}, false, items, columns...), "\x1b")
	colored := drawn(t, screen{color: true}, false, items, columns...)
	require.Contains(t, colored, red+"refused"+plain+"  1\n")
	require.Contains(t, colored, green+"serving"+plain+"  2\n")
	require.Contains(t, colored, "other    3\n")
}

// YAML has the same values as the JSON that it was made of, whatever they look like.
func TestYAMLHasTheSameValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"", "yes", "null", "1", "0x1f", "1e3", "2001-01-01", "- a", "a: b", "#", "'", "~", "<a>", "\u2028"}))
		value := map[string]any{"texts": rapid.SliceOf(text).Draw(t, "texts"), "map": rapid.MapOf(text, rapid.Int64()).Draw(t, "map"),
			"yes": true, "none": nil, "float": rapid.Float64Range(-1e9, 1e9).Draw(t, "float")}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := asYAML(&out, raw); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		again, err := jsonOfYAML(out.Bytes())
		if err != nil {
			t.Fatalf("%s: %v\n%s", raw, err, out.Bytes())
		}
		require.JSONEq(t, string(raw), string(again), out.String())
	})
}

func jsonOfYAML(b []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func TestAnIDThatSeveralBeginWithIsRefused(t *testing.T) {
	t.Parallel()
	url, _ := suiteOf(t, map[string]string{
		"GET /v1/runs":            `{"items":[{"run":"abcdef01-1","request":"11111111-1"},{"run":"abcdef02-2","request":"22222222-2"}]}`,
		"GET /v1/runs/abcdef01-1": `{"run":"abcdef01-1"}`, "GET /v1/runs/22222222-2": `{"run":"abcdef02-2"}`,
	})
	_, err := run(t, "runs", "show", "abcdef", "--url", url)
	require.EqualError(t, err, `"abcdef" begins the id of 2 runs; write more of it: abcdef01-1, abcdef02-2`)
	require.Equal(t, exitUsage, exitCode(err))
	for part, whole := range map[string]string{"abcdef01": "abcdef01-1", "222222": "abcdef02-2"} {
		out, err := run(t, "runs", "show", part, "--url", url)
		require.NoError(t, err)
		require.Contains(t, out, whole)
	}
}

// --watch prints again when what it shows has changed, with the suite's stream of events or
// without, and ends well when it is interrupted.
func TestAWatchPrintsWhatChanges(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]bool{"with audit": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var champion atomic.Int64
			told := make(chan struct{}, 1)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, fmt.Sprintf(`{"items":[{"model":"m","latest":%d}]}`, champion.Load()))
			})
			if streams {
				mux.HandleFunc("GET /v1/events/tail", func(w http.ResponseWriter, r *http.Request) {
					w.(http.Flusher).Flush()
					select {
					case <-told:
						_, _ = io.WriteString(w, "data: {}\n\n")
						w.(http.Flusher).Flush()
						<-r.Context().Done()
					case <-r.Context().Done():
					}
				})
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			in, out := io.Pipe()
			root := Root()
			root.SetArgs([]string{"models", "list", "--watch", "--url", server.URL})
			root.SetOut(out)
			ended := make(chan error, 1)
			go func() {
				err := root.ExecuteContext(ctx)
				_ = out.Close()
				ended <- err
			}()
			want := "MODEL  LATEST\nm      0\n"
			got := make([]byte, len(want))
			_, err := io.ReadFull(in, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			champion.Store(1)
			told <- struct{}{}
			want = "\nMODEL  LATEST\nm      1\n"
			got = make([]byte, len(want))
			_, err = io.ReadFull(in, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			cancel()
			go func() { _, _ = io.Copy(io.Discard, in) }()
			require.NoError(t, <-ended)
		})
	}
}
