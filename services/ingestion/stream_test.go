package ingestion_test

import (
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// Two producers that know nothing of each other may choose the same Nats-Msg-Id: both
// messages are kept, also in a stream that was made without a thought of it, and after a
// restart of its server.
func TestPromise15AMessageIDRemovesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"a new stream": false, "a stream that was there": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var server *natsserver.Server
			var js jetstream.JetStream
			start := func() {
				var err error
				server, err = natsserver.Start(natsserver.Options{DataDir: dir, Users: []natsserver.User{natsserver.All("test")}})
				require.NoError(t, err)
				nc, err := nats.Connect(server.URL("test"))
				require.NoError(t, err)
				t.Cleanup(nc.Close)
				js, err = jetstream.New(nc)
				require.NoError(t, err)
			}
			start()
			defer func() { server.Stop() }()
			kept := 0
			publish := func() {
				for range 2 {
					_, err := js.Publish(t.Context(), "freshet-in.default.x", []byte("{}"), jetstream.WithMsgID("1"))
					require.NoError(t, err)
					kept++
				}
				s, err := js.Stream(t.Context(), ingestion.InStream)
				require.NoError(t, err)
				require.EqualValues(t, kept, s.CachedInfo().State.Msgs)
			}
			if before {
				_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: ingestion.InStream, Subjects: []string{"freshet-in.>"}, MaxAge: time.Hour})
				require.NoError(t, err)
				_, err = js.Publish(t.Context(), "freshet-in.default.x", []byte("{}"), jetstream.WithMsgID("1"))
				require.NoError(t, err)
				kept++
			}
			require.NoError(t, ingestion.EnsureStream(t.Context(), js, 1<<30))
			publish()
			server.Stop()
			start()
			require.NoError(t, ingestion.EnsureStream(t.Context(), js, 1<<30))
			publish()
		})
	}
}
