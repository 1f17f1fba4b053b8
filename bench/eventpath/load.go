package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// filler brings an event of every contender to about 800 bytes.
var filler = strings.Repeat("flights of January ", 26)

// produce calls record n times from a number of producers.
func produce(ctx context.Context, n, producers int, record func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range producers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := record(ctx, i); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// pace calls record at a steady rate, each call in its own goroutine, so that a
// slow one delays no other.
func pace(ctx context.Context, rate int, duration time.Duration, record func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	interval := time.Second / time.Duration(rate)
	for i := 0; time.Duration(i)*interval < duration; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * interval)))
		group.Go(func() error { return record(ctx, i) })
	}
	return group.Wait()
}

// A tally keeps when each event was recorded and how many are applied.
type tally struct {
	mu      sync.Mutex
	began   map[int]time.Time
	took    []time.Duration
	applied int
	want    int
	done    chan struct{}
}

func newTally(want int) *tally {
	return &tally{began: map[int]time.Time{}, want: want, done: make(chan struct{})}
}

func (t *tally) begin(i int) {
	t.mu.Lock()
	t.began[i] = time.Now()
	t.mu.Unlock()
}

// apply says that event i is durably applied.
func (t *tally) apply(i int) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, ok := t.began[i]; ok {
		t.took = append(t.took, now.Sub(b))
	}
	if t.applied++; t.applied == t.want {
		close(t.done)
	}
}

func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counted is how the peers, which apply one event at a time, are measured.
type counted struct {
	tally  atomic.Pointer[tally]
	record func(ctx context.Context, i int) error
}

func (c *counted) throughput(ctx context.Context, n, producers int) (time.Duration, error) {
	t := newTally(n)
	c.tally.Store(t)
	began := time.Now()
	if err := produce(ctx, n, producers, c.record); err != nil {
		return 0, err
	}
	err := t.wait(ctx)
	return time.Since(began), err
}

func (c *counted) latency(ctx context.Context, rate int, duration time.Duration) ([]time.Duration, error) {
	t := newTally(int(duration.Seconds() * float64(rate)))
	c.tally.Store(t)
	err := pace(ctx, rate, duration, func(ctx context.Context, i int) error {
		t.begin(i)
		return c.record(ctx, i)
	})
	if err == nil {
		err = t.wait(ctx)
	}
	return t.took, err
}
