package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
)

// While services live, the log's server comes back with an older copy of its store, of
// the last epoch or of one before. Within a minute everything is there again.
func TestPromise02ARolledBackBrokerIsRepaired(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(20)
	h.settled()
	copied := func() { h.nats(func() { h.copy("nats", "nats.old") }) }
	copied()
	for round := range testkit.Figure(2, 20) {
		if round%3 == 2 {
			copied()
		}
		h.record(testkit.Figure(20, 500))
		h.settled()
		before := h.whole()
		h.nats(func() {
			require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
			h.copy("nats.old", "nats")
		})
		h.record(3) // the outbox takes it meanwhile
		h.right(before)
		require.Equal(t, attest.Stream(round+2), h.stream())
	}
}

// While the log's server is unavailable callers notice nothing; when it is available again, what they
// said is in the log and applied within two minutes.
func TestPromise11AnUnavailableBrokerIsHiddenFromCallers(t *testing.T) {
	t.Parallel()
	h := newFaulty(t, "audit", "ingestion", "training", "console")
	h.settled()
	send := func(method, path, kind, body string, status int, into any) {
		r, err := http.NewRequestWithContext(t.Context(), method, h.suite.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", kind)
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		answer, err := io.ReadAll(res.Body)
		require.NoError(t, errors.Join(err, res.Body.Close()))
		require.Equal(t, status, res.StatusCode, "%s", answer)
		require.NoError(t, json.Unmarshal(answer, into))
	}
	var file struct{ Digest string }
	send(http.MethodPut, "/v1/files", "text/csv", "flight_id\n1\n", http.StatusCreated, &file)
	said := 0
	h.nats(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for began, away := time.Now(), time.Duration(testkit.Figure(2, 600))*time.Second; time.Since(began) < away; said++ {
			<-tick.C
			var taken struct{ ID string }
			send(http.MethodPost, "/v1/arrivals", "application/cloudevents+json", fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/example/producer",
				"type":"com.example.arrived","datacontenttype":"application/json",
				"data":{"dataset":"flights","files":[{"uri":"objects:%s","format":"csv","name":"%d"}]}}`, said, file.Digest, said), http.StatusAccepted, &taken)
			require.NotEmpty(t, taken.ID)
			h.acknowledged[taken.ID] = true
		}
	})
	began := time.Now()
	require.Eventually(t, func() bool { return h.everywhere(said, "freshet.*.ingestion.v1.data_arrived") }, 2*time.Minute, poll)
	t.Logf("%d events taken meanwhile, applied in %s", said, time.Since(began).Round(time.Millisecond))
	require.Len(t, h.acknowledged, said)
	// What followed from it is as much again, and work: every file is validated.
	h.settledWithin(20 * time.Minute)
	h.whole()
}
