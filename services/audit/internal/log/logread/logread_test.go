package logread_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// newLog returns the reader of an empty log that has no archive, and what adds a message
// to it.
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
	require.ErrorIs(t, err, attest.ErrSilent)
}

// What the archive lacks is missing; what it cannot be asked for is not known to be.
func TestAnUnavailableArchiveLacksNothing(t *testing.T) {
	t.Parallel()
	_, nc, publish := newLog(t)
	publish(`{}`)
	publish(`{}`)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	s, err := js.Stream(t.Context(), testkit.Stream)
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSequence(2)))
	get := func(client *kafka.Client, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		r, err := logread.New(nc, func() string { return testkit.Stream }, archive.New(client))
		require.NoError(t, err)
		_, err = r.Get(ctx, 1)
		return err
	}
	require.ErrorIs(t, get(testkit.Kafka(t), time.Minute), logread.ErrMissing)

	away := kafka.New("127.0.0.1:1")
	defer away.Close()
	err = get(away, 2*time.Second)
	require.ErrorContains(t, err, "the archive")
	require.NotErrorIs(t, err, logread.ErrMissing)
}
