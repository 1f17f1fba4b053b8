package record

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/stretchr/testify/require"
)

// broker is Kafka while it is down, and then up.
type broker struct {
	mu    sync.Mutex
	down  bool
	tried chan struct{}
	got   []kafka.Record
}

func (b *broker) Ensure(context.Context, string, int) error { return nil }

func (b *broker) Produce(_ context.Context, _ string, records ...kafka.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.tried <- struct{}{}:
	default:
	}
	if b.down {
		return errors.New("connection refused")
	}
	b.got = append(b.got, records...)
	return nil
}

func (b *broker) set(down bool) { b.mu.Lock(); b.down = down; b.mu.Unlock() }

func (b *broker) stored() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.got) }

func one(model string) Record {
	return Record{Model: model, Environment: "production", Time: time.Unix(0, 0), Rows: 1, Keys: []string{"k"}, Versions: []int64{1}}
}

func TestRecordsWaitForKafkaInBoundedMemoryAndInOrder(t *testing.T) {
	t.Parallel()
	b := &broker{down: true, tried: make(chan struct{}, 1)}
	w := NewWriter(b, 4000, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-offered(t, w, "a", b.tried)
	taken := 1
	for {
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := w.Offer(soon, "default", one("b"))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, ErrFull, "a full queue makes callers wait, then says so")
			break
		}
		taken++
		require.Less(t, taken, 100, "memory is not bounded")
	}
	n, err := w.Behind(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, taken, n)
	b.set(false)
	require.Eventually(t, func() bool { return b.stored() == taken }, time.Minute, time.Millisecond)
	require.Equal(t, "default/a/production", string(b.got[0].Key))

	// What is offered last is written before the writer ends.
	require.NoError(t, w.Offer(t.Context(), "default", one("c")))
	stop()
	require.NoError(t, <-ended)
	require.Equal(t, taken+1, b.stored())
	n, err = w.Behind(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

// offered offers a record and returns what tells that writing it was tried.
func offered(t *testing.T, w *Writer, model string, tried chan struct{}) <-chan struct{} {
	t.Helper()
	require.NoError(t, w.Offer(t.Context(), "default", one(model)))
	return tried
}

func TestALargeRequestIsSeveralRecords(t *testing.T) {
	t.Parallel()
	const rows = 30_000
	r := Record{Model: "m", Environment: "e", Time: time.Unix(0, 0), Rows: rows, Versions: []int64{1}}
	values := make(Numbers, rows)
	for i := range rows {
		r.Keys = append(r.Keys, "k")
		values[i] = float64(i)
	}
	r.Features, r.Predictions = []Column{{"a", values}}, []Column{{"p", values}}
	parts := r.split()
	require.Len(t, parts, 3)
	total := 0
	for _, p := range parts {
		require.Equal(t, float64(total), p.Predictions[0].Values[0])
		require.Len(t, p.Keys, p.Rows)
		b, err := p.encode()
		require.NoError(t, err)
		require.Less(t, len(b), 1<<20)
		total += p.Rows
	}
	require.Equal(t, rows, total)
}

func TestWhatIsNoNumberIsNull(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Numbers{1.5, math.NaN(), math.Inf(1), -2})
	require.NoError(t, err)
	require.Equal(t, "[1.5,null,null,-2]", string(b))
}
