package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// A Payload is what an event says: P's pointer reads it, strictly, from an event.
// The events module's payload types are payloads.
type Payload[P any] interface {
	*P
	ParseEvent(e event.Event) error
}

// An EventPayload is a payload that events of one type have, and no others. Several
// types share a payload such as that of event_parked, which every service has.
type EventPayload[P any] interface {
	Payload[P]
	EventType() string
}

// Apply registers what events of a payload's type change: Apply(fold, onX).
func Apply[P any, PP EventPayload[P]](f *Fold, fn func(ctx context.Context, tx *Tx, e event.Event, p P) error) {
	f.Apply(PP(nil).EventType(), Applies[P, PP](fn))
}

// Decide registers what a service decides on events of a payload's type, as
// Fold.Decide does: Decide(fold, onX).
func Decide[P any, PP EventPayload[P]](f *Fold, fn func(ctx context.Context, state Reader, e event.Event, p P, now time.Time) ([]event.Event, error)) {
	f.Decide(PP(nil).EventType(), func(ctx context.Context, state Reader, e event.Event, now time.Time) ([]event.Event, error) {
		t, _ := state.(*Tx) // that the event was applied in
		p, err := readPayload[P, PP](t, e)
		if err != nil {
			return nil, err
		}
		return fn(ctx, state, e, p, now)
	})
}

// Applies adapts a typed handler for Fold.Apply, where several event types share
// its payload or it is one of several handlers of an event.
func Applies[P any, PP Payload[P]](fn func(ctx context.Context, tx *Tx, e event.Event, p P) error) ApplyFunc {
	return func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := readPayload[P, PP](tx, e)
		if err != nil {
			return err
		}
		return fn(ctx, tx, e, p)
	}
}

// Apply registers what an event type changes. It panics where the type has a
// handler: one of the two would be lost.
func (f *Fold) Apply(typ string, fn ApplyFunc) { register(f, "apply", f.apply, typ, fn) }

// Decide registers what a service decides on an event type: a fact, or another
// service's decision; never its own decision. Decide runs after the event's own
// apply, in the same transaction; the decisions are applied right after it. It
// panics where the type has a handler.
func (f *Fold) Decide(typ string, fn DecideFunc) { register(f, "decide", f.decide, typ, fn) }

// ApplyFirst registers what every one of the event types changes before what its own
// handler changes, where it has one. It comes after every Apply.
func (f *Fold) ApplyFirst(types []string, fn ApplyFunc) {
	for _, typ := range types {
		own := f.apply[typ]
		if own == nil {
			f.apply[typ] = fn
			continue
		}
		f.apply[typ] = func(ctx context.Context, tx *Tx, e event.Event) error {
			if err := fn(ctx, tx, e); err != nil {
				return err
			}
			return own(ctx, tx, e)
		}
	}
}

func register[F any](f *Fold, verb string, handlers map[string]F, typ string, fn F) {
	if _, ok := handlers[typ]; ok {
		//nolint:forbidigo // a mistake in the program, which no caller can handle
		panic(fmt.Sprintf("the fold of %s has a second %s handler for %s: an event type has one; join the two", f.Service, verb, typ))
	}
	handlers[typ] = fn
}

// readPayload reads an event's payload: once for the apply and the decide of an event.
func readPayload[P any, PP Payload[P]](t *Tx, e event.Event) (P, error) {
	same := t != nil && t.event.Context == e.Context
	if same {
		if known, ok := t.payload.(*P); ok {
			return *known, nil
		}
	}
	p := new(P)
	if err := PP(p).ParseEvent(e); err != nil {
		return *p, Invalid(err)
	}
	if same {
		t.payload = p
	}
	return *p, nil
}
