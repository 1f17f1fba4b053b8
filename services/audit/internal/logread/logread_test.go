package logread_test

import (
	"fmt"
	"testing"

	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit/internal/logread"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// newLog returns the reader of an empty log, and what adds a message to it.
func newLog(t *testing.T) (*logread.Reader, *nats.Conn, func(data string)) {
	t.Helper()
	nc := testkit.NATS(t)
	require.NoError(t, eventlog.EnsureStream(t.Context(), nc, testkit.Stream))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	r, err := logread.New(nc, func() string { return testkit.Stream }, nil)
	require.NoError(t, err)
	return r, nc, func(data string) {
		t.Helper()
		_, err := js.Publish(t.Context(), "freshet.default.training.v1.run_started", []byte(data))
		require.NoError(t, err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	r, _, publish := newLog(t)
	for i := range 2500 {
		publish(fmt.Sprintf(`{"id":"e%d"}`, i+1))
	}
	for _, at := range []uint64{3, 2, 1} {
		m, err := r.Find(t.Context(), at, "e3")
		require.NoError(t, err)
		require.EqualValues(t, 3, m.Sequence)
	}
	m, err := r.Find(t.Context(), 1, "e2400")
	require.NoError(t, err)
	require.EqualValues(t, 2400, m.Sequence)
	for _, at := range []uint64{1, 4, 9999} {
		_, err = r.Find(t.Context(), at, "e0")
		require.ErrorIs(t, err, logread.ErrMissing)
	}
}

// A consumer gives nothing more and says nothing of it: whoever reads is told.
func TestRunEndsWhereTheConsumerFellSilent(t *testing.T) {
	t.Parallel()
	r, nc, publish := newLog(t)
	publish(`{}`)
	err := r.Run(t.Context(), 1, 10, func(batch []logread.Message) error {
		require.EqualValues(t, 1, batch[0].Sequence)
		testkit.SilenceConsumers(t, nc, testkit.Stream)
		publish(`{}`)
		return nil
	})
	require.ErrorIs(t, err, epoch.ErrSilent)
}
