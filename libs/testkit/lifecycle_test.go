package testkit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}

func TestLoopsAreStartedAgainAndProgressIsCounted(t *testing.T) {
	t.Parallel()
	var starts, waiting atomic.Int64
	waiting.Store(3)
	stopped := make(chan struct{})
	t.Run("service", func(t *testing.T) {
		behind := func(context.Context) (int64, error) { return waiting.Load(), nil }
		loop := service.Loop{Name: "letters", Behind: behind, Run: func(ctx context.Context) error {
			switch starts.Add(1) {
			case 1:
				return errors.New("not yet")
			case 2:
				var none map[string]int
				none["panic"] = 1
			}
			<-ctx.Done()
			close(stopped)
			return ctx.Err()
		}}
		steady := service.Loop{Name: "steady", Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}
		r := testkit.Service(t, "counter", language, module(), service.Loops(
			func() service.Loop { return loop }, func() service.Loop { return steady }))
		require.Eventually(t, func() bool { return starts.Load() == 3 }, time.Minute, time.Millisecond)
		_, status := get(t, r.URL+"/statusz")
		require.Contains(t, status, `"letters":3`)
		require.NotContains(t, status, `"steady"`, "it counts nothing")
		require.Contains(t, status, `"settled":false`)
		waiting.Store(0)
		r.Settle(t.Context())
	})
	<-stopped
}

func TestIsNotReadyWithoutItsDatabaseAndStopsAllTheSame(t *testing.T) {
	t.Parallel()
	r := testkit.Service(t, "counter", language, module())
	code, _ := get(t, r.URL+"/readyz")
	require.Equal(t, http.StatusOK, code)
	r.Foreign(eventlog.Cause{}, draft(asked, "tea"))
	r.AwaitType(done, 1)

	config := r.Pool.Config().ConnConfig
	u, err := url.Parse(config.ConnString())
	require.NoError(t, err)
	u.Path = "/postgres"
	conn, err := pgx.Connect(t.Context(), u.String())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "DROP DATABASE "+config.Database+" WITH (FORCE)")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.Eventually(t, func() bool {
		code, body := get(t, r.URL+"/readyz")
		return code == http.StatusServiceUnavailable && body != ""
	}, time.Minute, 10*time.Millisecond)
	_, body := get(t, r.URL+"/readyz")
	require.Contains(t, body, `"postgres"`)
}
