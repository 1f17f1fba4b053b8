package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

// replays answers for two services: one is equal, one is not.
func replays(t *testing.T) string {
	t.Helper()
	answer := func(r eventlog.Report) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			s, err := web.SSE(w)
			if err == nil {
				err = s.SendJSON(service.ReplayProgress, "", eventlog.Progress{Phase: eventlog.PhaseFold, Done: 5, Of: 10, Took: 1})
			}
			if err == nil {
				err = s.SendJSON(service.ReplayReport, "", r)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]any{"services": []string{"audit", "registry", "training"}})
	})
	mux.HandleFunc("POST /v1/replay/audit/verify", answer(eventlog.Report{Service: "audit", Events: 12345, Rate: 100000, Tables: 7, Rows: 1000, Equal: true}))
	mux.HandleFunc("POST /v1/replay/registry/verify", answer(eventlog.Report{Service: "registry", Events: 10, Rate: 5, Decisions: 4, Failed: 1,
		Difference: &eventlog.Difference{Kind: eventlog.DiffersDecision, Sequence: 7, Event: "e7", Type: "io.freshet.console.v1.approval_given", Version: 3,
			Live: `{"a":1}`, Again: "", Detail: "decided then, and not now"}}))
	mux.HandleFunc("POST /v1/replay/training/verify", func(w http.ResponseWriter, _ *http.Request) {
		web.Problem(w, http.StatusConflict, "Not now", "training: "+eventlog.ErrReplaying.Error())
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestVerifyNamesTheFirstDifference(t *testing.T) {
	t.Parallel()
	url := replays(t)
	out, err := run(t, "replay", "verify", "--url", url, "--service", "audit")
	require.NoError(t, err)
	require.Equal(t, "SERVICE      EVENTS   EVENTS/S  TABLES      ROWS  DECISIONS  RESULT\n"+
		"audit        12,345    100,000       7     1,000          0  equal\n", out)

	out, err = run(t, "replay", "verify", "--url", url)
	require.ErrorContains(t, err, "training: a rebuild or a verification of this service is running already")
	require.ErrorContains(t, err, "registry: the state differs from the log")
	require.Contains(t, out, "audit ")
	require.Contains(t, out, "DIFFERS\n  first difference: decision, at event 7 io.freshet.console.v1.approval_given e7\n"+
		"    decided then, and not now\n    recorded by version 3: {\"a\":1}\n    decided now: nothing\n")

	out, err = run(t, "replay", "verify", "--url", url, "--service", "registry", "-o", "json")
	require.Equal(t, exitNo, exitCode(err))
	var answer struct{ Items []eventlog.Report }
	require.NoError(t, json.Unmarshal([]byte(out), &answer))
	require.Equal(t, "e7", answer.Items[0].Difference.Event)
}

func TestDifferingNamesFields(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"b", "c", "d"}, differing(`{"a":1,"b":2,"c":3}`, `{"a":1,"b":"2","d":4}`))
	require.Empty(t, differing(`{"a":1}`, ``))
	require.Empty(t, differing(`{"a":1}`, `{"a":1}`))
}

func TestAReplayIsToldWhatIsMissing(t *testing.T) {
	t.Parallel()
	url := replays(t)
	_, err := run(t, "replay", "verify", "--url", url, "--service", "regstry")
	require.EqualError(t, err, `no service "regstry" runs there: choose from audit, registry, training`)
	_, err = run(t, "replay", "verify", "--url", url, "--from", "kafka")
	require.EqualError(t, err, `--from "kafka": it is log or archive`)
	_, err = run(t, "replay", "rebuild", "--url", url)
	require.ErrorContains(t, err, "--service; there are audit, registry, training")
	_, err = run(t, "replay", "verify", "--url", "http://127.0.0.1:1")
	require.ErrorContains(t, err, "no suite answers")
}

func TestProgressSaysHowLongItStillTakes(t *testing.T) {
	t.Parallel()
	p := eventlog.Progress{Phase: eventlog.PhaseFold, Done: 250000, Of: 1000000, Took: 5}
	require.Equal(t, "registry   25%  250,000 of 1,000,000 events  50,000/s  15s left", (&meter{name: "registry"}).text(p))
	require.Equal(t, "registry  [======                  ]  25%  250,000 of 1,000,000 events  50,000/s  15s left", (&meter{name: "registry", bar: true}).text(p))
	require.Equal(t, "registry  comparing the tables", (&meter{name: "registry"}).text(eventlog.Progress{Phase: eventlog.PhaseCompare}))
}
