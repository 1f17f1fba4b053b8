package keeper

import (
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
)

const (
	patience = 30 * time.Second
	poll     = 5 * time.Millisecond
)

func TestAKeeperWhoseSessionWasEndedStopsAttesting(t *testing.T) {
	t.Parallel()
	pool := testkit.Postgres(t)
	files, err := Migrations()
	require.NoError(t, err)
	names, err := fs.Glob(files, "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		sql, err := fs.ReadFile(files, name)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(sql), "-- +goose Down")
		_, err = pool.Exec(t.Context(), up)
		require.NoError(t, err)
	}
	k := New(Options{NATS: testkit.NATS(t), Pool: pool, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	attests := func() bool { return k.at.Load() != nil }
	require.Eventually(t, attests, patience, poll)

	next, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer next.Release()
	took := make(chan error, 1)
	go func() {
		_, err := next.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended('freshet/keeper', 0))")
		took <- err
	}()
	held := func(granted bool) (pids []int32) {
		err := pool.QueryRow(ctx, "SELECT coalesce(array_agg(pid), '{}') FROM pg_locks WHERE locktype = 'advisory' AND granted = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", granted).Scan(&pids)
		require.NoError(t, err)
		return pids
	}
	require.Eventually(t, func() bool { return len(held(false)) == 1 }, patience, poll)
	_, err = pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", held(true))
	require.NoError(t, err)
	require.NoError(t, <-took)
	require.Eventually(t, func() bool { return !attests() }, patience, poll)

	_, err = next.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	require.NoError(t, err)
	require.Eventually(t, attests, patience, poll)
}
