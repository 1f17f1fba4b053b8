package engine

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/stretchr/testify/require"
)

const addedType = envelope.TypePrefix + "adder.v1.added"

// added is a payload that counts how often it is parsed.
type added struct{ N int }

var parsed int

func (*added) EventType() string { return addedType }

func (p *added) ParseEvent(e event.Event) error {
	parsed++
	return json.Unmarshal(e.Data(), p)
}

//nolint:paralleltest // it counts in a package variable
func TestATypedHandlerIsRegisteredUnderItsPayloadsType(t *testing.T) {
	f := NewFold("adder", 1, "")
	var got []int
	Apply(f, func(_ context.Context, _ *Tx, _ event.Event, p added) error {
		got = append(got, p.N)
		return nil
	})
	Decide(f, func(_ context.Context, _ Reader, _ event.Event, p added, _ time.Time) ([]event.Event, error) {
		got = append(got, 10*p.N)
		return nil, nil
	})
	require.Equal(t, []string{addedType}, f.Types())

	ctx, e, tx := context.Background(), envelope.Draft("adder", "added", "default", "x", []byte(`{"N":7}`)), &Tx{}
	tx.at(e, 1)
	require.NoError(t, f.apply[e.Type()](ctx, tx, e))
	_, err := f.decide[e.Type()](ctx, tx, e, time.Time{})
	require.NoError(t, err)
	require.Equal(t, []int{7, 70}, got)
	require.Equal(t, 1, parsed, "once for both")

	bad := e.Clone()
	bad.DataEncoded = []byte("{")
	var invalid *invalidError
	require.ErrorAs(t, f.apply[e.Type()](ctx, tx, bad), &invalid, "it is parked")
}

func TestAnEventTypeHasOneHandler(t *testing.T) {
	t.Parallel()
	f := NewFold("adder", 1, "")
	nothing := func(context.Context, *Tx, event.Event) error { return nil }
	none := func(context.Context, Reader, event.Event, time.Time) ([]event.Event, error) { return nil, nil }
	f.Apply(addedType, nothing)
	f.Decide(addedType, none)
	require.PanicsWithValue(t, "the fold of adder has a second apply handler for "+addedType+": an event type has one; join the two",
		func() { f.Apply(addedType, nothing) })
	require.PanicsWithValue(t, "the fold of adder has a second decide handler for "+addedType+": an event type has one; join the two",
		func() { f.Decide(addedType, none) })
}

func TestWhatIsAppliedFirstComesBeforeATypesOwn(t *testing.T) {
	t.Parallel()
	f := NewFold("adder", 1, "")
	var order []string
	step := func(name string, err error) ApplyFunc {
		return func(context.Context, *Tx, event.Event) error {
			order = append(order, name)
			return err
		}
	}
	failure := errors.New("failed")
	f.Apply("a", step("own", nil))
	f.ApplyFirst([]string{"a", "b"}, step("first", nil))
	require.NoError(t, f.apply["a"](context.Background(), nil, event.Event{}))
	require.NoError(t, f.apply["b"](context.Background(), nil, event.Event{}))
	require.Equal(t, []string{"first", "own", "first"}, order)

	f.ApplyFirst([]string{"b"}, step("before", failure))
	require.ErrorIs(t, f.apply["b"](context.Background(), nil, event.Event{}), failure)
	require.Equal(t, "before", order[len(order)-1], "what comes after a failure is not applied")
	require.Panics(t, func() { f.Apply("b", step("late", nil)) }, "it would come too late")
}
