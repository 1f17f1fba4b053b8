package eventlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

func TestATrialGoesAnotherWayAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	f, handlers := laborer()
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
	require.Equal(t, decisionID(other.ID(), full("adder.doubled"), 0), changed.Decisions[0].ID(), "it is the decision that was recorded, made differently")

	broken := facts[4].Clone()
	broken.DataEncoded = []byte(`"no payload"`)
	failed, err := trial.Step(ctx, broken, until+3)
	require.NoError(t, err)
	require.NotEmpty(t, failed.Failed)
	next, err := trial.Step(ctx, facts[5], until+4)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":208}`, string(next.Decisions[0].Data()), "what cannot be applied changes nothing")
	_, err = trial.Step(ctx, next.Decisions[0], until+5)
	require.ErrorContains(t, err, "itself")
	second, err := l.Trial(ctx, until)
	require.NoError(t, err)
	_, err = l.Trial(ctx, until)
	require.ErrorIs(t, err, ErrTrials)
	require.NoError(t, second.b.conn.Close(ctx), "a killed process closes nothing but its connections")
	third, err := l.Trial(ctx, until)
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
