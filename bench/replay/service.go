package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// owner is the service that is replayed: it records the facts and decides on them.
const owner = "ingestion"

// What everybody writes: Freshet, and each peer. Rows that change all the time have
// room beside them.
const (
	stateTables = `CREATE TABLE state (key text COLLATE "C" PRIMARY KEY, n bigint NOT NULL, last bigint NOT NULL, rejected bigint NOT NULL, failed bigint NOT NULL) WITH (fillfactor = 50)`
	factSQL     = `INSERT INTO state (key, n, last, rejected, failed) VALUES ($1, 1, $2, 0, 0)
		ON CONFLICT (key) DO UPDATE SET n = state.n + 1, last = excluded.last`
	decisionSQL = `INSERT INTO state (key, n, last, rejected, failed) VALUES ($1, 0, 0, 1, $2)
		ON CONFLICT (key) DO UPDATE SET rejected = state.rejected + 1, failed = state.failed + excluded.failed`
)

// A service is Freshet's part in the run: one fold, and its log.
type service struct {
	log     *eventlog.Log
	pool    *pgxpool.Pool
	nc      *nats.Conn
	stop    context.CancelFunc
	stopped chan struct{}

	reads   bool                   // the decider looks at the dataset's row
	altered atomic.Pointer[string] // the arrival on which it decides otherwise
	report  eventlog.Report        // the last verification's
}

func startService(ctx context.Context, postgresURL, natsURL string, reads bool) (*service, error) {
	s := &service{stopped: make(chan struct{}), reads: reads}
	var err error
	if s.pool, err = pgxpool.New(ctx, postgresURL); err != nil {
		return nil, err
	}
	if s.nc, err = nats.Connect(natsURL); err != nil {
		return nil, err
	}
	if err := eventlog.EnsureStream(ctx, s.nc, stream); err != nil {
		return nil, err
	}
	s.log, err = eventlog.Open(ctx, eventlog.Options{Fold: s.fold(), IsDecision: events.IsDecision, Codec: events.Codec{}, Pool: s.pool, NATS: s.nc,
		Clock: clock.System(), Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	go func() {
		defer close(s.stopped)
		_ = s.log.Run(running)
	}()
	return s, nil
}

func (s *service) fold() *eventlog.Fold {
	f := eventlog.NewFold(owner, 1, stateTables)
	eventlog.Apply(f, func(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataChecked) error {
		tx.Exec(factSQL, p.Dataset, int64(eventlog.Sequence(e))) //nolint:gosec // a count
		return nil
	})
	eventlog.Apply(f, func(_ context.Context, tx *eventlog.Tx, _ event.Event, p events.DataRejected) error {
		tx.Exec(decisionSQL, p.Dataset, p.Failed)
		return nil
	})
	eventlog.Decide(f, s.decide)
	return f
}

func (s *service) decide(ctx context.Context, state eventlog.Reader, e event.Event, p events.DataChecked, _ time.Time) ([]event.Event, error) {
	if !tooMany(p) {
		return nil, nil
	}
	failed := p.Quarantined
	if s.reads {
		var n int64
		if err := state.QueryRow(ctx, "SELECT n FROM state WHERE key = $1", p.Dataset).Scan(&n); err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errors.New("the fact that is decided on was not applied")
		}
	}
	if a := s.altered.Load(); a != nil && *a == p.Arrival {
		failed++
	}
	d, err := newDecision(eventlog.Namespace(e), p, failed)
	return []event.Event{d}, err
}

// live records n events' facts and decides on them, as a service does all day: what
// is in the log then, and in the outbox, is what the library writes.
func (s *service) live(ctx context.Context, n int) error {
	const together = 500
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for from := 0; from < factsOf(n) && inner.Err() == nil; from += together {
		g.Go(func() error {
			var facts []eventlog.Fact
			for i := from; i < min(from+together, factsOf(n)); i++ {
				e, err := newFact(i)
				if err != nil {
					return err
				}
				facts = append(facts, eventlog.Fact{Event: e, Key: []string{"checked", strconv.Itoa(i)}, Actor: "benchmarks"})
			}
			_, err := s.log.RecordAndWait(inner, facts...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for {
		st := s.log.Status(ctx)
		if st.Err != nil {
			return st.Err
		}
		if st.Position == uint64(n) && st.Outbox == 0 { //nolint:gosec // a count
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *service) close() {
	s.stop()
	<-s.stopped
	s.nc.Close()
	s.pool.Close()
}

func (s *service) rebuild(ctx context.Context, n int) error {
	report, err := s.log.Rebuild(ctx, eventlog.FromLog, nil)
	if err == nil && report.Events != uint64(n) { //nolint:gosec // a count
		err = fmt.Errorf("%d events were applied", report.Events)
	}
	return err
}

func (s *service) verify(ctx context.Context, n int) error {
	var err error
	s.report, err = s.log.Verify(ctx, eventlog.FromLog, nil)
	switch {
	case err != nil:
		return err
	case !s.report.Equal:
		return fmt.Errorf("not equal: %+v", s.report.Difference)
	case s.report.Decisions != int64(factsOf(n)/every) || s.report.Events != uint64(n): //nolint:gosec // a count
		return fmt.Errorf("%d decisions in %d events were compared", s.report.Decisions, s.report.Events)
	}
	return nil
}

// control is the run that must fail: on one fact the service decides otherwise than
// it does later, and log, outbox and tables agree about it. Only deciding again can
// find that.
func control(ctx context.Context, postgresURL, natsURL string) (string, error) {
	const n, wrong = 5000, 2003 // 2003 % every == every-1: there is a decision on it
	s, err := startService(ctx, postgresURL, natsURL, false)
	if err != nil {
		return "", err
	}
	defer s.close()
	arrival := arrivalOf(wrong)
	s.altered.Store(&arrival)
	if err := s.live(ctx, n); err != nil {
		return "", err
	}
	s.altered.Store(nil)
	r, err := s.log.Verify(ctx, eventlog.FromLog, nil)
	if err != nil {
		return "", err
	}
	cause := eventlog.FactID(owner, "default", "checked", strconv.Itoa(wrong))
	if r.Equal || r.Failed != 1 || r.Difference == nil || r.Difference.Kind != eventlog.DiffersDecision || r.Difference.Event != cause {
		return "", fmt.Errorf("one of %d decisions was altered, and verify says %+v", r.Decisions, r)
	}
	return fmt.Sprintf("one of %d decisions altered: not equal, %s at event %d", r.Decisions, r.Difference.Detail, r.Difference.Sequence), nil
}
