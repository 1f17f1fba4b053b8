package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

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
