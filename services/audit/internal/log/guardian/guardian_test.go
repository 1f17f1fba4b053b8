package guardian

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

const (
	waitLimit = 2 * time.Minute
	poll      = 5 * time.Millisecond
)

// database returns one with the guardian's tables.
func database(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := testkit.Postgres(t)
	names, err := fs.Glob(Migrations, "migrations/*.sql")
	require.NoError(t, err)
	for _, name := range names {
		sql, err := fs.ReadFile(Migrations, name)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(sql), "-- +goose Down")
		_, err = pool.Exec(t.Context(), up)
		require.NoError(t, err)
	}
	return pool
}

func TestAGuardianWhoseSessionWasEndedStopsAttesting(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := New(Options{NATS: testkit.NATS(t), Pool: pool, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	attests := func() bool { return g.at.Load() != nil }
	require.Eventually(t, attests, waitLimit, poll)

	next, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer next.Release()
	took := make(chan error, 1)
	go func() {
		_, err := next.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended('freshet/guardian', 0))")
		took <- err
	}()
	held := func(granted bool) (pids []int32) {
		err := pool.QueryRow(ctx, "SELECT coalesce(array_agg(pid), '{}') FROM pg_locks WHERE locktype = 'advisory' AND granted = $1 "+
			"AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", granted).Scan(&pids)
		require.NoError(t, err)
		return pids
	}
	require.Eventually(t, func() bool { return len(held(false)) == 1 }, waitLimit, poll)
	_, err = pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", held(true))
	require.NoError(t, err)
	require.NoError(t, <-took)
	require.Eventually(t, func() bool { return !attests() }, waitLimit, poll)

	_, err = next.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	require.NoError(t, err)
	require.Eventually(t, attests, waitLimit, poll)
}

// A service that does not come back delays all trimming: that is told, with the way
// out, once it stands still, and not again at every turn.
func TestAServiceThatBlocksTrimmingIsNamed(t *testing.T) {
	t.Parallel()
	nc := testkit.NATS(t)
	require.NoError(t, eventlog.EnsureStream(t.Context(), nc, testkit.Stream))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	for range 3 {
		_, err := js.Publish(t.Context(), "freshet.default.training.v1.run_started", []byte(`{}`))
		require.NoError(t, err)
	}
	var told bytes.Buffer
	g := New(Options{NATS: nc, Pool: database(t), Archive: archive.New(testkit.Kafka(t)), Trim: Trimming{LogBytes: 1},
		Logger: slog.New(slog.NewTextHandler(&told, nil))})
	require.NoError(t, g.register(t.Context(), attest.Report{Service: "training", Epoch: 1, Sequence: 3}))
	require.NoError(t, g.register(t.Context(), attest.Report{Service: "lost"}))
	r := &round{g: g, nc: nc, js: js, at: &attestation{stream: testkit.Stream}, archived: 3}
	r.registered, err = g.registered(t.Context())
	require.NoError(t, err)
	turn := func() string {
		told.Reset()
		r.trimmed = time.Time{}
		require.NoError(t, r.trim(t.Context()))
		return told.String()
	}
	require.Empty(t, turn(), "it may be on its way")
	require.Contains(t, turn(), "DELETE /v1/log/services/lost")
	require.Empty(t, turn())
	r.blocked.warned = r.blocked.warned.Add(-warnAgain)
	require.Contains(t, turn(), "service=lost")

	known, err := g.Forget(t.Context(), "lost")
	require.NoError(t, err)
	require.True(t, known)
	r.registered, err = g.registered(t.Context())
	require.NoError(t, err)
	require.NotContains(t, turn(), "lost")
	require.NotContains(t, turn(), "lost")
}
