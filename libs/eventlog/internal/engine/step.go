package engine

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
)

// A Mode is what differs between the folds that step over events.
type Mode struct {
	// Through: events up to here were decided on; of them only what was recorded is applied.
	Through uint64
	// Trial: events are not the log's next ones, and what was decided on them counts only
	// as far as it parked them.
	Trial bool
	// Verifier decides every event again; nil where nobody verifies.
	Verifier Verifier
}

// A Verifier holds what is decided again against what was recorded, and that against the log.
type Verifier interface {
	// Logged: an event of the log is stepped over.
	Logged(v *Event)
	// Note: these decisions of the outbox are applied.
	Note(recorded []Decision)
	// Decide: an event was applied, and these decisions were recorded because of it.
	Decide(ctx context.Context, t *Transaction, v *Event, recorded []Decision) error
}

// A Decision is one of the outbox: as folds see it, without its sequence, and as
// it was recorded.
type Decision struct {
	event.Event
	Raw []byte
}

// An Outcome is what a step did with an event.
type Outcome int

// Outcomes.
const (
	Applied Outcome = iota // or it changes nothing here
	Stale                  // the fact of a timer that had been replaced: it does nothing
	Waits                  // it is parked as it was then, or waits behind an event that is
)

// Step is the one way in which an event changes a service's state: it applies the event,
// decides on it, and applies what was decided, or parks it. Recorded are the decisions
// that it led to when it came; with park, the event is at fault.
func (t *Transaction) Step(ctx context.Context, v *Event, recorded []Decision, park *Failure) (Outcome, error) {
	s := t.stage
	if !t.mode.Trial {
		again, err := t.advance(v)
		if err != nil || again {
			return Applied, err
		}
		if x := t.mode.Verifier; x != nil {
			if !v.Foreign() {
				x.Logged(v)
			}
			x.Note(recorded)
		}
		if v.Decision {
			return Applied, nil
		}
	}
	if v.Own {
		if _, ok := s.stale.get(v.ID); ok {
			t.Exec("DELETE FROM fold_timers_stale WHERE fact = $1", uuid.MustParse(v.ID))
			s.stale.remove(v.ID)
			return Stale, nil
		}
		t.closeEffect(v.ID)
		t.fired(v.ID)
	}
	// What a rebuild only applies moves the folded time as it did when it was decided on.
	if v.apply == nil && v.decide == nil && len(recorded) == 0 && v.Resolves == "" && park == nil {
		return Applied, nil
	}
	v.Decode(t.g.Codec)
	if v.Err == nil {
		if at := v.Event.Time(); at.After(s.now) {
			s.now = at.UTC()
		}
	}
	switch {
	case park != nil:
		return Applied, t.park(ctx, v, park, nil)
	case v.Resolves == "" && t.blocked(v):
		// Before what was recorded of it: an event that waited here and was parked
		// only when its turn came must wait in a rebuild too.
		t.queueBehind(v)
		return Waits, nil
	case wasParked(recorded, v.ID):
		return Waits, t.park(ctx, v, nil, recorded)
	}
	deciding := v.Stream > t.mode.Through
	if err := t.applyAndDecide(ctx, v, recorded, deciding); err != nil {
		return Applied, err
	}
	if v.Resolves != "" {
		return Applied, t.resolveParked(ctx, v, recorded, deciding)
	}
	return Applied, nil
}

// advance moves the position to an event, which must be the log's next one, and the
// next one of its source. It tells one that is in the log once more.
func (t *Transaction) advance(v *Event) (again bool, err error) {
	s := t.stage
	if v.Stream != s.sequence+1 {
		return false, stall.Alarmf("the log goes from %d to %d", s.sequence, v.Stream)
	}
	if v.ID == "" || v.Sequence == 0 {
		v.Decode(t.g.Codec)
	}
	if again, err = t.follows(v); err != nil {
		return false, err
	}
	s.sequence = v.Stream
	s.applied++
	return again, nil
}

// follows checks that an event is the next one of its source. The last one once
// more, byte for byte, is told apart and skipped.
func (t *Transaction) follows(v *Event) (again bool, err error) {
	s := t.stage
	if v.Sequence == 0 {
		// Nothing that a service recorded: it has no place in any order.
		t.g.Logger.Error("a message of the log is no event", "sequence", v.Stream, "id", v.ID, "error", v.Err)
		return v.Service == "" || v.apply == nil && v.decide == nil, nil
	}
	source := v.Source
	last := s.sources[source]
	if v.Sequence == last.sequence+1 {
		s.sources[source] = sourceState{sequence: v.Sequence}
		s.touched[source] = v.Data
		return false, nil
	}
	if data, ok := s.touched[source]; ok {
		last.digest = envelope.Digest(data)
	}
	if v.Sequence == last.sequence && bytes.Equal(envelope.Digest(v.Data), last.digest) {
		return true, nil
	}
	return false, stall.Alarmf("%s goes from %d to %d at %d of the log", source, last.sequence, v.Sequence, v.Stream)
}

// applyAndDecide applies an event, decides, and applies what was decided.
// Decisions that were recorded before stand as they are.
func (t *Transaction) applyAndDecide(ctx context.Context, v *Event, recorded []Decision, deciding bool) error {
	if v.Err != nil {
		return Invalid(v.Err)
	}
	if err := t.callApply(ctx, v.Event, v.Stream); err != nil {
		return err
	}
	if x := t.mode.Verifier; x != nil {
		if err := x.Decide(ctx, t, v, recorded); err != nil {
			return err
		}
	}
	var decisions []event.Event
	var drafts []event.Event
	if deciding {
		var err error
		if drafts, err = t.Decide(ctx, v); err != nil {
			return err
		}
	}
	if len(drafts) == 0 && len(recorded) == 0 {
		return nil
	}
	have := make(map[string]event.Event, len(recorded))
	for _, e := range recorded {
		if e.Type() != t.g.parkedType {
			have[e.ID()] = e.Event
		}
	}
	cause := envelope.CauseOf(v.Event)
	for i, d := range drafts {
		id := envelope.DecisionID(v.ID, d.Type(), i)
		if e, ok := have[id]; ok {
			decisions = append(decisions, e)
			delete(have, id)
			continue
		}
		e, err := t.addDecision(d, id, cause, v.Event.Time())
		if err != nil {
			return err
		}
		decisions = append(decisions, e)
	}
	for _, e := range recorded {
		if _, left := have[e.ID()]; left {
			decisions = append(decisions, e.Event)
		}
	}
	for _, e := range decisions {
		if err := t.callApply(ctx, e, v.Stream); err != nil {
			return err
		}
	}
	return nil
}

// addDecision completes a decision and puts it in the transaction's outbox.
func (t *Transaction) addDecision(draft event.Event, id string, cause envelope.Cause, at time.Time) (event.Event, error) {
	if !t.g.IsDecision(draft.Type()) {
		return event.Event{}, Invalid(fmt.Errorf("%s is not a decision", draft.Type()))
	}
	e, err := envelope.Place(draft, t.g.service, id, cause, at, "")
	if err != nil {
		return event.Event{}, Invalid(err)
	}
	n, err := envelope.NewEntry(t.g.Codec, e)
	if err != nil {
		return event.Event{}, Invalid(fmt.Errorf("%s: %w", draft.Type(), err))
	}
	n.Cause = cause.ID
	t.entries = append(t.entries, n)
	return e, nil
}

func (t *Transaction) callApply(ctx context.Context, e event.Event, stream uint64) (err error) {
	fn := t.g.Fold.apply[e.Type()]
	if fn == nil {
		return nil
	}
	t.at(e, stream)
	defer recovered(&err)
	if err := fn(ctx, &t.Tx, e); err != nil {
		return domain(err)
	}
	return t.err
}

// Decide returns what the fold decides on an event that was just applied.
func (t *Transaction) Decide(ctx context.Context, v *Event) (_ []event.Event, err error) {
	if v.decide == nil {
		return nil, nil
	}
	defer recovered(&err)
	drafts, err := v.decide(ctx, &t.Tx, v.Event, t.stage.now)
	if err != nil {
		return nil, domain(err)
	}
	return drafts, nil
}
