package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/stretchr/testify/require"
)

func TestATrialGoesAnotherWayAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	f, handlers := worker()
	l := w.start(f, handlers...)
	for i := range 6 {
		_, err := l.RecordAndWait(ctx, fact("adder.added", "x", 1, fmt.Sprint(i)))
		require.NoError(t, err)
	}
	settle(t, l)
	log, before := w.wholeLog(), w.dump("adder", "sums")
	var facts []event.Event
	until := uint64(0)
	for i, e := range log {
		if e.Type() == full("adder.added") {
			if facts = append(facts, e); len(facts) == 2 {
				until = uint64(i + 1)
			}
		}
	}

	trial, err := l.Trial(ctx, until)
	require.NoError(t, err)
	require.Contains(t, trial.Consumes(), full("adder.added"))
	same, err := trial.Step(ctx, facts[2], until+1)
	require.NoError(t, err)
	require.Len(t, same.Decisions, 1)
	require.JSONEq(t, `{"n":6}`, string(same.Decisions[0].Data()), "two were folded, this is the third")
	require.Len(t, same.Opened, 1)
	require.Equal(t, facts[2].ID(), same.Opened[0].Cause)

	other := facts[3].Clone()
	require.NoError(t, other.SetData(event.ApplicationJSON, payload{N: 100}))
	changed, err := trial.Step(ctx, other, until+2)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":206}`, string(changed.Decisions[0].Data()))
	require.Equal(t, envelope.DecisionID(other.ID(), full("adder.doubled"), 0), changed.Decisions[0].ID(),
		"it is the decision that was recorded, made differently")

	broken := facts[4].Clone()
	broken.DataEncoded = []byte(`"no payload"`)
	failed, err := trial.Step(ctx, broken, until+3)
	require.NoError(t, err)
	require.NotEmpty(t, failed.Failed)
	require.Equal(t, full("adder.event_parked"), failed.Decisions[0].Type())
	behind, err := trial.Step(ctx, facts[5], until+4)
	require.NoError(t, err)
	require.True(t, behind.Waits, "it is of the same subject")
	require.Empty(t, behind.Decisions)
	answer := fact("adder."+engine.Discarded, broken.ID(), 0).Event
	answer.SetID("answer")
	answer.SetTime(facts[5].Time())
	answer.SetExtension("correlationid", "answer")
	require.NoError(t, answer.SetData(event.ApplicationJSON, map[string]string{"event": broken.ID()}))
	require.Contains(t, trial.Consumes(), answer.Type())
	next, err := trial.Step(ctx, answer, until+5)
	require.NoError(t, err)
	require.Len(t, next.Decisions, 1)
	require.JSONEq(t, `{"n":208}`, string(next.Decisions[0].Data()), "what cannot be applied changes nothing, and what waited has its turn")
	require.Equal(t, facts[5].ID(), Causation(next.Decisions[0]))
	_, err = trial.Step(ctx, next.Decisions[0], until+5)
	require.ErrorContains(t, err, "itself")
	second, err := l.Trial(ctx, until)
	require.NoError(t, err)
	_, err = l.Trial(ctx, until)
	require.ErrorIs(t, err, ErrTrials)
	require.NotNil(t, second) // of a process that is killed: nothing but its connections ends
	admin(t, w.url, "SELECT pg_terminate_backend(pid) FROM ("+schema.HeldLocks+") held WHERE key = hashtextextended('freshet/adder/trial/2', 0)")
	var third *Trial
	require.Eventually(t, func() bool { // the server hears of it in its own time
		third, err = l.Trial(ctx, until)
		return !errors.Is(err, ErrTrials)
	}, stallLimit, 10*time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, third.Close(ctx))
	require.NoError(t, trial.Close(ctx))

	settle(t, l)
	require.Equal(t, before, w.dump("adder", "sums"))
	require.Len(t, w.wholeLog(), len(log))
	var schemas int
	require.NoError(t, w.pool().QueryRow(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'adder_trial_%'").Scan(&schemas))
	require.Zero(t, schemas)
}

// From any position on, a trial that is given what happened decides what was decided:
// also about events that were parked, for a reason that is gone since, and tried
// again or dropped.
func TestATrialOfWhatHappenedDecidesTheSameFromEveryPosition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	var well atomic.Bool
	l := w.start(fragile(well.Load))
	record := func(name, subject string, p any) string {
		r, err := l.RecordAndWait(ctx, Fact{Event: draft("fragile."+name, subject, p)})
		if !errors.Is(err, ErrParked) {
			require.NoError(t, err)
		}
		return r[0].ID
	}
	answer := func(how, id string) string { return record(how, id, map[string]string{"event": id}) }
	record("added", "a", payload{N: 2})
	a, b := record("added", "a", payload{N: 13}), record("added", "b", payload{N: 16})
	for _, subject := range []string{"a", "b", "e"} {
		record("added", subject, payload{N: 4})
	}
	answer(engine.Retried, a) // in vain
	settle(t, l)
	well.Store(true)
	answer(engine.Retried, b)
	answer(engine.Discarded, a)
	record("added", "a", payload{N: 8})
	settle(t, l)

	log, live := w.wholeLog(), w.dump("fragile", "seen", "counted")
	_, live, found := strings.Cut(live, "seen")
	require.True(t, found)
	var decided []event.Event
	for _, e := range log {
		if e.Type() == full("fragile.counted") {
			decided = append(decided, e)
		}
	}
	before := len(decided) + 1
	for from := range log {
		trial, err := l.Trial(ctx, uint64(from))
		require.NoError(t, err)
		var again []event.Event
		for i, e := range log[from:] {
			if isDecision(e.Type()) {
				continue
			}
			step, err := trial.Step(ctx, e, uint64(from+i+1))
			require.NoError(t, err)
			again = append(again, step.Decisions...)
		}
		require.LessOrEqual(t, len(again), before)
		before = len(again)
		for i, e := range again {
			was := decided[len(decided)-len(again)+i]
			require.Equal(t, was.ID(), e.ID(), "from %d", from)
			require.JSONEq(t, string(was.Data()), string(e.Data()), "from %d", from)
		}
		if from == 0 {
			require.Len(t, again, len(decided))
		}
		rows := w.dump("fragile_trial_1", "seen", "counted")
		_, rows, _ = strings.Cut(rows, "seen")
		require.Equal(t, live, rows, "from %d", from)
		require.NoError(t, trial.Close(ctx))
	}
}

// What was decided stays decided, and what is decided from there on depends on the event
// that stands in the place of the recorded one.
func TestATrialMayRestOnAnotherPast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l, _ := summed(t, w, 3)
	log := w.wholeLog()
	first := log[0].Clone()
	require.NoError(t, first.SetData(event.ApplicationJSON, payload{N: 1000}))
	trial, err := l.Trial(ctx, 1, first)
	require.NoError(t, err)
	defer func() { require.NoError(t, trial.Close(ctx)) }()
	var n, doubled int
	require.NoError(t, w.pool().QueryRow(ctx, "SELECT n, doubled FROM adder_trial_1.sums WHERE subject = $1", first.Subject()).Scan(&n, &doubled))
	require.Equal(t, 1000, n)
	was, err := payloadOf(log[0])
	require.NoError(t, err)
	require.Equal(t, 2*was.N, doubled, "as it was decided")
	next := log[0].Clone()
	next.SetID("next")
	step, err := trial.Step(ctx, next, 2)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, 2*(1000+was.N)), string(step.Decisions[0].Data()))
}
