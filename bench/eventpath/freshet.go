package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// freshet records with one service's log and applies with another's: an outbox,
// the relay, JetStream, the other's processor, its state and position.
type freshet struct {
	recorder, applier *eventlog.Log
	pools             []*pgxpool.Pool
	conns             []*nats.Conn
	stop              context.CancelFunc
	running           *errgroup.Group
	recorded          int
}

const stateTables = `CREATE TABLE state (key text COLLATE "C" PRIMARY KEY, n bigint NOT NULL, last bigint NOT NULL)`

func startFreshet(ctx context.Context, postgresURL, natsURL string) (contender, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &freshet{stop: cancel}
	f.running, running = errgroup.WithContext(running)
	open := func(fold *eventlog.Fold) (*eventlog.Log, error) {
		config, err := pgxpool.ParseConfig(postgresURL)
		if err != nil {
			return nil, err
		}
		config.MaxConns = 8
		pool, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		f.pools = append(f.pools, pool)
		nc, err := nats.Connect(natsURL)
		if err != nil {
			return nil, err
		}
		f.conns = append(f.conns, nc)
		if err := eventlog.EnsureStream(ctx, nc, "FRESHET_1"); err != nil {
			return nil, err
		}
		l, err := eventlog.Open(ctx, eventlog.Options{Fold: fold, IsDecision: events.IsDecision, Codec: events.Codec{}, Pool: pool, NATS: nc,
			Clock: clock.System(), Metrics: prometheus.NewRegistry(),
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		if err != nil {
			return nil, err
		}
		f.running.Go(func() error { return l.Run(running) })
		return l, nil
	}
	apply := eventlog.NewFold("audit", 1, stateTables)
	eventlog.Apply(apply, func(_ context.Context, tx *eventlog.Tx, e event.Event, _ events.NoteAdded) error {
		tx.Exec(`INSERT INTO state (key, n, last) VALUES ($1, 1, $2)
			ON CONFLICT (key) DO UPDATE SET n = state.n + 1, last = excluded.last`, e.Subject(), int64(eventlog.Sequence(e)))
		return nil
	})
	var err error
	if f.recorder, err = open(eventlog.NewFold("console", 1, "")); err != nil {
		return nil, err
	}
	if f.applier, err = open(apply); err != nil {
		return nil, err
	}
	before, err := f.applied(ctx)
	f.recorded = int(before) //nolint:gosec // a count
	return f, err
}

func (f *freshet) name() string { return "freshet (outbox → log → fold)" }

func key(i int) string { return "k" + strconv.Itoa(i%5000) }

var note = events.NoteAdded{On: "bench", Note: events.Object{
	Digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", URI: filler, Size: 1}}

func (f *freshet) record(ctx context.Context, i int) (uint64, error) {
	e, err := events.NewNoteAdded("default", key(i), note)
	if err != nil {
		return 0, err
	}
	receipts, err := f.recorder.Record(ctx, eventlog.Fact{Event: e, Actor: "bench"})
	if err != nil {
		return 0, err
	}
	return receipts[0].Sequence, nil
}

// applied is the recorder's last event that the consumer's committed state holds:
// the row moves in the transaction that applies the event.
func (f *freshet) applied(ctx context.Context) (uint64, error) {
	var n int64
	err := f.applier.State().QueryRow(ctx, `SELECT coalesce(max(sequence), 0) FROM fold_sources WHERE source = '/freshet/console'`).Scan(&n)
	return uint64(n), err //nolint:gosec // a sequence
}

// until waits until the consumer has applied as many events as were recorded, and
// counts them in its state.
func (f *freshet) until(ctx context.Context, want int) error {
	for {
		changed := f.applier.Changed()
		last, err := f.applied(ctx)
		if err != nil {
			return err
		}
		if last >= uint64(want) { //nolint:gosec // a count
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var n int
	if err := f.applier.State().QueryRow(ctx, `SELECT coalesce(sum(n), 0)::bigint FROM state`).Scan(&n); err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("%d events applied, %d recorded", n, want)
	}
	return nil
}

func (f *freshet) throughput(ctx context.Context, n, producers int) (time.Duration, error) {
	began := time.Now()
	err := produce(ctx, n, producers, func(ctx context.Context, i int) error {
		_, err := f.record(ctx, i)
		return err
	})
	if err != nil {
		return 0, err
	}
	f.recorded += n
	err = f.until(ctx, f.recorded)
	return time.Since(began), err
}

func (f *freshet) latency(ctx context.Context, rate int, duration time.Duration) ([]time.Duration, error) {
	n := int(duration.Seconds() * float64(rate))
	began := make([]time.Time, n)
	sequences := make(chan [2]uint64, n)
	watched := make(chan error, 1)
	ends := map[uint64]time.Time{}
	base := uint64(f.recorded)
	go func() { watched <- f.watch(ctx, base, base+uint64(n), ends) }()
	err := pace(ctx, rate, duration, func(ctx context.Context, i int) error {
		began[i] = time.Now()
		s, err := f.record(ctx, i)
		sequences <- [2]uint64{uint64(i), s}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := <-watched; err != nil {
		return nil, err
	}
	f.recorded += n
	close(sequences)
	var took []time.Duration
	for s := range sequences {
		took = append(took, ends[s[1]].Sub(began[s[0]]))
	}
	return took, nil
}

// watch notes when the consumer's committed state first holds each sequence.
func (f *freshet) watch(ctx context.Context, from, to uint64, ends map[uint64]time.Time) error {
	for from < to {
		changed := f.applier.Changed()
		last, err := f.applied(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		for ; from < last; from++ {
			ends[from+1] = now
		}
		if from >= to {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *freshet) close() {
	f.stop()
	_ = f.running.Wait()
	for _, p := range f.pools {
		p.Close()
	}
	for _, nc := range f.conns {
		nc.Close()
	}
}
