package suite

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Each service's own user publishes, under the subject of each of its events, what is no
// event. Every service stays ready, also after a restart; who consumes such events parked
// them, and they can be discarded.
func TestPromise14ForeignMessagesStopNoService(t *testing.T) {
	t.Parallel()
	h := newFaulty(t, Names()...)
	h.record(3)
	h.settled()
	big := bytes.Repeat([]byte("x"), 3<<20)
	published := 0
	publish := func() {
		for _, service := range Names() {
			nc, err := nats.Connect(h.suite.infra.nats.URL(service))
			require.NoError(t, err)
			for typ, c := range events.Channels {
				if c.Owner != service {
					continue
				}
				for _, data := range [][]byte{[]byte(`{"junk":true}`), nil, {0, 255}, []byte("two\nlines")} {
					require.NoError(t, nc.Publish("freshet.default."+strings.TrimPrefix(typ, "io.freshet."), data))
					published++
				}
			}
			require.NoError(t, nc.Publish("freshet.default."+service+".v1.unheard_of", big))
			published++
			require.NoError(t, nc.Flush())
			nc.Close()
		}
	}
	ready := func() {
		h.record(3)
		h.settled()
		code, body := asked(t, http.MethodGet, h.suite.URL()+"/readyz")
		require.Equal(t, http.StatusOK, code, "%s", body)
	}
	publish()
	ready()
	parked := map[string]int{}
	for _, service := range Names() {
		all, err := h.log(service).ParkedEvents(context.Background())
		require.NoError(t, err)
		parked[service] = len(all)
	}
	require.NotZero(t, parked["registry"])
	require.NotZero(t, parked["audit"])

	h.stop()
	h.start()
	ready()
	for _, service := range Names() {
		all, err := h.log(service).ParkedEvents(context.Background())
		require.NoError(t, err)
		require.Len(t, all, parked[service], service)
		for i, p := range all {
			if i == 3 {
				break
			}
			_, err := h.log(service).ResolveParked(context.Background(), p.ID, "discard", "tester")
			require.NoError(t, err)
		}
	}
	ready()
	h.verified()

	code, body := asked(t, http.MethodGet, h.suite.URL()+"/v1/events/replay")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, published, strings.Count("\n"+string(body), "\n"+`{"foreign":{"sequence":`))
}
