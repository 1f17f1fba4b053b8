package eventlog

import (
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

func TestDecisionsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	a, b, c := draft("adder.added", "a", payload{}), draft("adder.added", "b", payload{}), draft("adder.added", "c", payload{})
	var d Decisions
	none, err := d.Result()
	require.NoError(t, err)
	require.Empty(t, none)
	d.Add(a, nil)
	d.Append([]event.Event{b, c}, nil)
	d.Fail(nil)
	got, err := d.Result()
	require.NoError(t, err)
	require.Equal(t, []event.Event{a, b, c}, got)

	got, err = Decided(a, nil)
	require.NoError(t, err)
	require.Equal(t, []event.Event{a}, got)
}

func TestTheFirstErrorOfDecisionsStays(t *testing.T) {
	t.Parallel()
	a := draft("adder.added", "a", payload{})
	first, second := errors.New("first"), errors.New("second")
	for name, fail := range map[string]func(*Decisions, error){
		"add":    func(d *Decisions, err error) { d.Add(a, err) },
		"append": func(d *Decisions, err error) { d.Append([]event.Event{a}, err) },
		"fail":   func(d *Decisions, err error) { d.Fail(err) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d Decisions
			d.Add(a, nil)
			fail(&d, first)
			d.Add(a, nil)
			fail(&d, second)
			got, err := d.Result()
			require.Same(t, first, err)
			require.Empty(t, got, "nothing is decided by halves")
		})
	}
	got, err := Decided(a, first)
	require.Same(t, first, err)
	require.Empty(t, got)
}
