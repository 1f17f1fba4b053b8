package eventlog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rebuild folds the log again in an empty database, one event at a time, and
// returns the dump. The service that is running is left alone.
func (w *world) rebuild(service string, f *Fold, tables ...string) string {
	w.t.Helper()
	again := &world{t: w.t, url: databaseURL(w.t), nats: w.nats, clock: w.clock}
	o := again.options(f)
	o.Batch = 1
	l, err := Open(context.Background(), o)
	require.NoError(w.t, err)
	stop := run(w.t, l)
	defer stop()
	want := w.end()
	awaitProgress(w.t, func() (bool, any) {
		return l.engine.Position() >= want && l.engine.Saved() >= want, l.engine.Position()
	})
	require.Zero(w.t, l.Status(context.Background()).Outbox, "a rebuild decides nothing new")
	return again.dump(service, tables...)
}

func (w *world) end() uint64 {
	js, err := w.connect().JetStream()
	require.NoError(w.t, err)
	info, err := js.StreamInfo(stream)
	require.NoError(w.t, err)
	return info.State.LastSeq
}

func TestAnotherVersionOfAFoldIsRebuiltWithoutDeciding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.open(counts("adder"))
	stop := run(t, l)
	for i := range 20 {
		_, err := l.RecordAndWait(ctx, fact("adder.added", fmt.Sprint(i%3), i))
		require.NoError(t, err)
	}
	settle(t, l)
	stop()
	before, length := w.dump("adder", "sums"), len(w.wholeLog())

	f := counts("adder")
	f.Version = 2
	replaceDecide(f, full("adder.added"), func(context.Context, Reader, event.Event, time.Time) ([]event.Event, error) {
		return nil, errors.New("a rebuild decides nothing")
	})
	l = w.start(f)
	settle(t, l)
	require.Equal(t, before, w.dump("adder", "sums"))
	require.Len(t, w.wholeLog(), length)
	require.Zero(t, l.Status(ctx).Parked)
}

// countsOthers decides on another service's facts too.
func countsOthers() *Fold {
	f := counts("adder")
	f.Decide(full("other.added"), func(_ context.Context, _ Reader, e event.Event, _ time.Time) ([]event.Event, error) {
		return []event.Event{draft("adder.doubled", e.Subject(), payload{N: 1})}, nil
	})
	return f
}

func TestAServiceThatStartsLateDecidesNothingOfThePast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	other := w.start(NewFold("other", 1, ""))
	for range 3 {
		_, err := other.Record(ctx, fact("other.added", "x", 1))
		require.NoError(t, err)
	}
	settle(t, other)
	a := w.start(countsOthers())
	settle(t, a, other)
	_, err := other.Record(ctx, fact("other.added", "x", 1))
	require.NoError(t, err)
	settle(t, a, other)
	log := w.wholeLog()
	require.Len(t, log, 6)
	require.Equal(t, full("adder.service_activated"), log[3].Type())
	require.JSONEq(t, `{"service":"adder","through":3}`, string(log[3].Data()))
	require.Equal(t, log[4].ID(), Causation(log[5]))
	require.Equal(t, w.dump("adder", "sums"), w.rebuild("adder", countsOthers(), "sums"))
}

// everything is a fold with decisions, effects and timers that follow from the
// numbers it sees.
func everything() (*Fold, []Handler) {
	f := fragile(func() bool { return false })
	inner := applyOf(f, full("fragile.added"))
	replaceApply(f, full("fragile.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		if err != nil {
			return Invalid(err)
		}
		switch p.N % 7 {
		case 1:
			tx.Open(Effect{Kind: "later", Args: p})
		case 2:
			tx.SetTimer(Timer{Name: e.Subject(), Due: e.Time().Add(time.Duration(p.N) * time.Minute), Fact: draft("fragile.added", e.Subject(), payload{N: 20})})
		case 3:
			tx.CancelTimer(e.Subject())
		}
		return inner(ctx, tx, e)
	})
	done := func(ctx context.Context, run *Run) (event.Event, error) {
		var p payload
		err := run.Decode(&p)
		return draft("fragile.finished", fmt.Sprint(p.N), p), err
	}
	f.Apply(full("fragile.finished"), func(ctx context.Context, tx *Tx, e event.Event) error {
		tx.Exec("INSERT INTO counted VALUES ('finished', 1) ON CONFLICT (subject) DO UPDATE SET n = counted.n + 1")
		return nil
	})
	return f, []Handler{{Kind: "later", Concurrency: 2, Run: done, Failed: func(ctx context.Context, run *Run, _ error) (event.Event,
		error) {
		return done(ctx, run)
	}}}
}

func TestPromise07ARebuildGivesTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("property test")
	}
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		f, handlers := everything()
		l := w.open(f, handlers...)
		stop := run(t, l)
		defer stop()
		ctx := context.Background()
		n := rapid.IntRange(1, 60).Draw(r, "events")
		var parked []string
		for i := range n {
			group := rapid.IntRange(1, 5).Draw(r, "group")
			var facts []Fact
			for range group {
				if len(parked) > 0 && rapid.IntRange(0, 9).Draw(r, "answer") == 0 {
					id := rapid.SampledFrom(parked).Draw(r, "which")
					what := rapid.SampledFrom([]string{engine.Retried, engine.Discarded}).Draw(r, "how")
					facts = append(facts, Fact{Event: draft("fragile."+what, id, map[string]string{"event": id})})
					continue
				}
				subject := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "subject")
				facts = append(facts, fact("fragile.added", subject, rapid.IntRange(0, 24).Draw(r, "n")))
			}
			receipts, err := l.Record(ctx, facts...)
			require.NoError(t, err)
			if i%7 == 0 {
				w.clock.Set(w.clock.Now().Add(3 * time.Minute))
			}
			for _, x := range receipts {
				parked = append(parked, x.ID)
			}
		}
		settle(t, l)
		sequences(t, w.wholeLog())
		before := w.dump("fragile", "seen", "counted")
		again, _ := everything()
		require.Equal(t, before, w.rebuild("fragile", again, "seen", "counted"))
		// And side by side, in large transactions with merged statements, decided again.
		for range 2 {
			report, err := l.Verify(ctx, FromLog, nil)
			require.NoError(t, err)
			require.True(t, report.Equal, "%+v %+v", report, report.Difference)
			require.NotZero(t, report.Events)
			_, err = l.Rebuild(ctx, FromLog, nil)
			require.NoError(t, err)
			require.Equal(t, before, w.dump("fragile", "seen", "counted"))
		}
	})
}
