package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// reading returns a log that runs and has read its first event, its server and what
// stops it.
func reading(t *testing.T) (*Log, jetstream.JetStream, func()) {
	t.Helper()
	w := newWorld(t)
	l := w.open(counts("adder"))
	stop := run(t, l)
	_, err := l.RecordAndWait(context.Background(), fact("adder.added", "x", 1))
	require.NoError(t, err)
	js, err := jetstream.New(w.connect())
	require.NoError(t, err)
	return l, js, stop
}

// The consumer of a reader is ended and cannot be made again: the reader says so, and
// a log that is told to stop does.
func TestAReaderThatCannotGoOnEnds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l, js, stop := reading(t)
	require.NoError(t, js.DeleteStream(ctx, stream))
	require.Eventually(t, func() bool {
		return l.board.Of(stall.Reader) != nil
	}, stallLimit, pollTest)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	select {
	case <-stopped:
	case <-time.After(stallLimit):
		t.Fatal("the log does not stop")
	}
}

// A consumer gives nothing more and says nothing of it: the reader continues with another.
func TestAReaderWhoseConsumerFellSilentGoesOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l, js, _ := reading(t)
	log, err := js.Stream(ctx, stream)
	require.NoError(t, err)
	silenced := 0
	for name := range log.ConsumerNames(ctx).Name() {
		_, err := js.PauseConsumer(ctx, stream, name, time.Now().Add(time.Hour))
		require.NoError(t, err)
		silenced++
	}
	require.NotZero(t, silenced)
	before := l.engine.Position()
	_, err = l.Record(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.engine.Position() > before }, stallLimit, pollTest)
}
