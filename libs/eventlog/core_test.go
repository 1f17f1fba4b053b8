package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/stretchr/testify/require"
)

// counts is a fold that adds up numbers by subject, and decides "doubled" on
// every fact of its own.
func counts(service string) *Fold {
	f := NewFold(service, 1, `CREATE TABLE sums (subject text COLLATE "C" PRIMARY KEY, n bigint NOT NULL, doubled bigint NOT NULL)`)
	add := func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		if err != nil {
			return Invalid(err)
		}
		tx.Exec(`INSERT INTO sums (subject, n, doubled) VALUES ($1, $2, 0) ON CONFLICT (subject) DO UPDATE SET n = sums.n + excluded.n`, e.Subject(), p.N)
		return nil
	}
	f.Apply(full(service+".added"), add)
	if service != "other" {
		f.Apply(full("other.added"), add)
	}
	f.Apply(full(service+".doubled"), func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		if err != nil {
			return Invalid(err)
		}
		tx.Exec(`UPDATE sums SET doubled = $2 WHERE subject = $1`, e.Subject(), p.N)
		return nil
	})
	f.Decide(full(service+".added"), func(ctx context.Context, state Reader, e event.Event, now time.Time) ([]event.Event, error) {
		var n int
		if err := state.QueryRow(ctx, "SELECT n FROM sums WHERE subject = $1", e.Subject()).Scan(&n); err != nil {
			return nil, err
		}
		return []event.Event{draft(service+".doubled", e.Subject(), payload{N: 2 * n})}, nil
	})
	return f
}

// replaceApply and replaceDecide are what a later version of a fold does instead.
func replaceApply(f *Fold, typ string, fn ApplyFunc) {
	apply, _ := engine.Handlers(f)
	apply[typ] = fn
}

func replaceDecide(f *Fold, typ string, fn DecideFunc) {
	_, decide := engine.Handlers(f)
	decide[typ] = fn
}

func applyOf(f *Fold, typ string) ApplyFunc {
	apply, _ := engine.Handlers(f)
	return apply[typ]
}

func sum(t testing.TB, l *Log, subject string) (n, doubled int) {
	t.Helper()
	require.NoError(t, l.State().QueryRow(context.Background(), "SELECT n, doubled FROM sums WHERE subject = $1", subject).Scan(&n, &doubled))
	return n, doubled
}

func TestAFactIsAppliedAndDecidedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.start(counts("adder")), w.start(NewFold("other", 1, ""))
	ctx := context.Background()

	r, err := a.RecordAndWait(ctx, fact("adder.added", "x", 3, "k1"))
	require.NoError(t, err)
	require.Equal(t, uint64(1), r[0].Sequence)
	n, doubled := sum(t, a, "x")
	require.Equal(t, []int{3, 6}, []int{n, doubled})

	_, err = other.Record(ctx, fact("other.added", "x", 4))
	require.NoError(t, err)
	settle(t, a, other)
	n, _ = sum(t, a, "x")
	require.Equal(t, 7, n)

	log := w.wholeLog()
	require.Len(t, log, 3)
	sequences(t, log)
	root, decision := log[0], log[1]
	require.Equal(t, r[0].ID, root.ID())
	require.Equal(t, root.ID(), Correlation(root))
	require.Equal(t, "/freshet/adder", root.Source())
	require.Empty(t, Causation(root))
	require.Equal(t, root.ID(), Causation(decision))
	require.Equal(t, root.ID(), Correlation(decision))
	require.Equal(t, 1, Hops(decision))
	require.Equal(t, root.Time(), decision.Time())
	require.Equal(t, epochStart, root.Time())
}

func TestANaturalKeyIsRecordedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(counts("adder"))
	ctx := context.Background()
	first, err := a.Record(ctx, fact("adder.added", "x", 3, "caller", "k"))
	require.NoError(t, err)
	again, err := a.Record(ctx, fact("adder.added", "x", 3, "caller", "k"))
	require.NoError(t, err)
	require.Equal(t, []Receipt{{ID: first[0].ID, Sequence: first[0].Sequence, Existing: true}}, again)
	_, err = a.Record(ctx, fact("adder.added", "x", 4, "caller", "k"))
	require.ErrorIs(t, err, ErrConflict)
	// All or nothing: the first of these is new, and is not recorded.
	_, err = a.Record(ctx, fact("adder.added", "y", 1, "new"), fact("adder.added", "x", 4, "caller", "k"))
	require.ErrorIs(t, err, ErrConflict)
	_, err = a.Record(ctx, Fact{Event: draft("adder.doubled", "x", payload{})})
	require.Error(t, err)
	_, err = a.Record(ctx, Fact{Event: draft("other.added", "x", payload{})})
	require.Error(t, err)
	settle(t, a)
	require.Len(t, w.wholeLog(), 2)
}

func TestEverybodysFactsAreRecordedInOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.start(counts("adder")), w.start(counts("other"))
	const callers, each = 16, 50
	errs := make(chan error, 2*callers)
	for c := range callers {
		for _, l := range []*Log{a, other} {
			go func() {
				var err error
				for i := range each {
					_, e := l.Record(context.Background(), fact(l.engine.Service()+".added", fmt.Sprint(c%5), 1, fmt.Sprint(c), fmt.Sprint(i)))
					err = errors.Join(err, e)
				}
				errs <- err
			}()
		}
	}
	for range 2 * callers {
		require.NoError(t, <-errs)
	}
	settle(t, a, other)
	log := w.wholeLog()
	require.Len(t, log, 4*callers*each)
	sequences(t, log)
	total := 0
	for i := range 5 {
		n, _ := sum(t, a, fmt.Sprint(i))
		total += n
	}
	require.Equal(t, 2*callers*each, total)
}

func TestAnEffectEndsWithAFact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := NewFold("worker", 1, `CREATE TABLE done (subject text COLLATE "C" PRIMARY KEY, n int NOT NULL)`)
	f.Apply(full("worker.asked"), func(ctx context.Context, tx *Tx, e event.Event) error {
		tx.Open(Effect{Kind: "square", Args: payload{N: 7}})
		tx.Open(Effect{Kind: "fail", Args: payload{N: 1}})
		tx.Open(Effect{Kind: "never", Args: nil})
		return nil
	})
	record := func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		tx.Exec("INSERT INTO done VALUES ($1, $2)", e.Subject(), p.N)
		return err
	}
	f.Apply(full("worker.finished"), record)
	f.Apply(full("worker.failed"), record)
	var squares, failures atomic.Int64
	l := w.start(f,
		Handler{Kind: "square", Run: func(ctx context.Context, run *Run) (event.Event, error) {
			squares.Add(1)
			var p payload
			if err := run.Decode(&p); err != nil {
				return event.Event{}, err
			}
			if _, err := run.Record(ctx, 1, draft("worker.began", "square", payload{})); err != nil {
				return event.Event{}, err
			}
			return draft("worker.finished", "square", payload{N: p.N * p.N}), nil
		}, Failed: failed},
		Handler{Kind: "fail", Attempts: 2, Run: func(ctx context.Context, run *Run) (event.Event, error) {
			failures.Add(1)
			return event.Event{}, errors.New("no")
		}, Failed: failed},
		Handler{Kind: "never", Attempts: 5, Run: func(ctx context.Context, run *Run) (event.Event, error) {
			return event.Event{}, Permanent(errors.New("never"))
		}, Failed: failed},
	)
	r, err := l.Record(context.Background(), fact("worker.asked", "x", 1))
	require.NoError(t, err)
	settle(t, l)
	log := w.wholeLog()
	require.Len(t, log, 5)
	sequences(t, log)
	for _, e := range log[1:] {
		require.Equal(t, r[0].ID, Causation(e))
		require.Equal(t, r[0].ID, Correlation(e))
	}
	require.EqualValues(t, 1, squares.Load())
	require.EqualValues(t, 2, failures.Load())
	require.Contains(t, w.dump("worker", "done"), "(square,49)")
	var open int
	require.NoError(t, l.State().QueryRow(context.Background(), "SELECT count(*) FROM fold_effects").Scan(&open))
	require.Zero(t, open)
}

// The database goes away just when an effect's result is to be recorded.
func TestAFinishedEffectIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	var runs atomic.Int64
	f := NewFold("worker", 1, "")
	f.Apply(full("worker.asked"), func(_ context.Context, tx *Tx, _ event.Event) error {
		tx.Open(Effect{Kind: "long", Args: nil})
		return nil
	})
	pool := w.pool()
	blocking, err := pool.Begin(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = blocking.Rollback(ctx) })
	l := w.start(f, Handler{Kind: "long", Attempts: 1, Run: func(ctx context.Context, run *Run) (event.Event, error) {
		runs.Add(1)
		_, err := blocking.Exec(ctx, "LOCK TABLE worker_io.leases IN ACCESS EXCLUSIVE MODE")
		return draft("worker.finished", "long", payload{}), err
	}, Failed: failed})
	_, err = l.Record(ctx, fact("worker.asked", "x", 1))
	require.NoError(t, err)
	for range 3 {
		require.Eventually(t, func() bool {
			var ended int
			err := pool.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT EXISTS%leases%'`).Scan(&ended)
			return err == nil && ended == 1
		}, stallLimit, pollTest)
	}
	require.NoError(t, blocking.Rollback(ctx))
	settle(t, l)
	log := w.wholeLog()
	require.Len(t, log, 2)
	require.Equal(t, full("worker.finished"), log[1].Type())
	require.EqualValues(t, 1, runs.Load())
}

func failed(ctx context.Context, run *Run, err error) (event.Event, error) {
	return draft("worker.failed", run.Kind, payload{N: run.Attempt}), nil
}

func TestATimerFiresWhenTheSuiteClockSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := NewFold("waiter", 1, `CREATE TABLE rang (subject text COLLATE "C" NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (subject, at))`)
	f.Apply(full("waiter.asked"), func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		if p.N == 0 {
			tx.CancelTimer(e.Subject())
			return err
		}
		tx.SetTimer(Timer{Name: e.Subject(), Due: epochStart.Add(time.Duration(p.N) * time.Hour), Fact: draft("waiter.rang", e.Subject(), p),
			Root: e.Subject() == "root"})
		return err
	})
	f.Apply(full("waiter.rang"), func(ctx context.Context, tx *Tx, e event.Event) error {
		tx.Exec("INSERT INTO rang VALUES ($1, $2)", e.Subject(), e.Time())
		return nil
	})
	l := w.start(f)
	ctx := context.Background()
	asked, err := l.RecordAndWait(ctx, fact("waiter.asked", "a", 2), fact("waiter.asked", "b", 1), fact("waiter.asked", "b", 3),
		fact("waiter.asked", "c", 1), fact("waiter.asked", "c", 0), fact("waiter.asked", "root", 1))
	require.NoError(t, err)
	settle(t, l)
	require.Len(t, w.wholeLog(), 6)
	w.clock.Set(epochStart.Add(150 * time.Minute))
	settle(t, l)
	w.clock.Set(epochStart.Add(24 * time.Hour))
	settle(t, l)
	log := w.wholeLog()
	require.Len(t, log, 9)
	require.Equal(t, "root", log[6].Subject())
	require.Empty(t, Causation(log[6]))
	require.Equal(t, "a", log[7].Subject())
	require.Equal(t, asked[0].ID, Causation(log[7]))
	require.Equal(t, epochStart.Add(150*time.Minute), log[7].Time())
	require.Equal(t, "b", log[8].Subject())
	require.Contains(t, w.dump("waiter"), "fold_timers\n\n")
}
