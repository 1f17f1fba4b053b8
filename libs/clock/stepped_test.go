package clock_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/stretchr/testify/require"
)

func TestASteppedClockFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "step")
	c := clock.Stepped(path)
	require.WithinDuration(t, time.Now(), c.Now(), time.Minute)
	stands := func(at time.Duration) {
		t.Helper()
		require.Eventually(t, func() bool {
			d := time.Until(c.Now()) - at
			return -time.Minute < d && d < time.Minute
		}, time.Minute, time.Millisecond)
	}

	waited := make(chan error, 1)
	go func() { waited <- c.Until(context.Background(), time.Now().Add(30*time.Minute)) }()
	require.NoError(t, os.WriteFile(path, []byte("1h\n"), 0o600))
	stands(time.Hour)
	require.NoError(t, <-waited, "what waited for the next half hour is woken by the step")

	require.NoError(t, os.WriteFile(path, []byte("-1h"), 0o600))
	stands(-time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { waited <- c.Until(ctx, time.Now()) }()
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled)
	require.NoError(t, os.Remove(path))
	stands(0)
}
