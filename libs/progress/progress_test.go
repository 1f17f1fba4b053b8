package progress_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-io/freshet/libs/progress"
	"github.com/stretchr/testify/require"
)

func TestWhatMovesIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := progress.Wait(t.Context(), time.Minute, func(context.Context) (progress.Look, error) {
			took := time.Since(began)
			return progress.Look{Done: took > time.Hour, Seen: fmt.Sprintf("%d of 60", took/(59*time.Second))}, nil
		})
		require.NoError(t, err)
		require.Greater(t, time.Since(began), time.Hour)
	})
}

func TestWhatDoesNotMoveIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := progress.Wait(t.Context(), time.Minute, func(context.Context) (progress.Look, error) {
			return progress.Look{Seen: fmt.Sprintf("%d of 9", min(time.Since(began)/time.Second, 7))}, nil
		})
		var stalled *progress.StalledError
		require.ErrorAs(t, err, &stalled)
		require.EqualError(t, err, "nothing moved for 1m0s: 7 of 9")
		require.InDelta(t, 67, time.Since(began).Seconds(), 1)
	})
}

func TestAWaitEndsWithItsContextOrAnError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("stopped")
	cancel(cause)
	still := func(context.Context) (progress.Look, error) { return progress.Look{}, nil }
	require.ErrorIs(t, progress.Wait(ctx, time.Minute, still), cause)
	require.ErrorIs(t, progress.Wait(t.Context(), time.Minute, func(context.Context) (progress.Look, error) { return progress.Look{}, cause }), cause)
}
