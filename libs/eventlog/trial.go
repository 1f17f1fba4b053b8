package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
)

// A Trial is the fold in a schema of its own that may leave the log's way: from a
// position on it applies and decides whatever events it is given, so that one can
// see what the service would have decided. Nothing of it gets into the log, the
// outbox or the live tables; effects and timers that it opens are never executed.
type Trial struct {
	b         *Beside
	activated uint64 // up to here the service decided nothing
}

// A TrialStep is what one event led to.
type TrialStep struct {
	Decisions []event.Event // complete but for their sequence
	Opened    []TrialEffect // in the order they were opened
	Stale     bool          // the fact of a timer that had been replaced: it does nothing
	Waits     bool          // it does nothing until an event is answered that was set aside: itself, as it was recorded, or one before it
	Failed    string        // why the event cannot be applied; then it is set aside now, by a decision
}

// A TrialEffect is an effect that a step opened. The log of what really happened
// says how it ended, if it has the fact that closes it.
type TrialEffect struct {
	Kind  string
	Cause string // id of the event whose application opened it
}

// maxTrials are led of a service at once; each is a copy of its fold.
const maxTrials = 2

// ErrTrials: as many trials as are allowed are open.
var ErrTrials = fmt.Errorf("%d trials are open; wait until one has ended", maxTrials)

// Trial folds the log, as it was decided, up to a position and with it. An event
// that is given stands in the place of the one in the log that has its id: what was
// decided because of that stays. The caller closes it. What a killed process left of
// a trial makes room for the next one.
func (l *Log) Trial(ctx context.Context, until uint64, instead ...event.Event) (*Trial, error) {
	conn, err := l.dedicated(ctx)
	if err != nil {
		return nil, err
	}
	// The place of a trial is its connection's, and free when that has ended.
	place, mine := 0, false
	for !mine && err == nil && place < maxTrials {
		place++
		lock := fmt.Sprintf("freshet/%s/trial/%d", l.service, place)
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", lock).Scan(&mine)
	}
	if err == nil && !mine {
		err = ErrTrials
	}
	t := &Trial{}
	if err == nil {
		t.activated, err = l.undecided(ctx, conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	if t.b, err = l.beside(ctx, conn, fmt.Sprintf("%s_trial_%d", l.schema, place)); err != nil {
		return nil, err
	}
	t.b.instead = make(map[string]event.Event, len(instead))
	for _, e := range instead {
		t.b.instead[e.ID()] = e
	}
	if err := t.b.Fold(ctx, FromLog, until, nil); err != nil {
		return nil, errors.Join(err, t.b.Close(ctx))
	}
	t.b.shadow.anew = true
	return t, nil
}

// Consumes are the event types that the fold applies or decides on, and those that
// answer an event that was set aside.
func (t *Trial) Consumes() []string {
	own := t.b.log.ownTypes
	return append(t.b.log.fold.Types(), own+retried, own+discarded)
}

// Close drops everything.
func (t *Trial) Close(ctx context.Context) error { return t.b.Close(ctx) }

// Step applies an event, as if it stood at a position of the log, decides, and
// applies what was decided. The service's own decisions are applied where they are
// made; they are not to be given. What was set aside when it came is set aside, whatever
// was the matter then.
func (t *Trial) Step(ctx context.Context, e event.Event, at uint64) (TrialStep, error) {
	l := t.b.shadow
	v := &logEvent{stream: at, eventType: l.eventType(e.Type()), id: e.ID(), event: e, decoded: true}
	if v.decision {
		return TrialStep{}, fmt.Errorf("eventlog: %s is a decision of %s itself", v.typ, l.service)
	}
	var err error
	if v.data, err = json.Marshal(e); err != nil { // what an event set aside is read from again
		return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", v.typ, err)
	}
	parked, err := l.decisionsOf(ctx, t.b.conn, []*logEvent{v})
	if err != nil {
		return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", v.typ, err)
	}
	step, err := t.attempt(ctx, v, parked[v.id], nil)
	if f := failureOf(err); f != nil {
		step, err = t.attempt(ctx, v, nil, f)
		step.Failed = f.Error()
	}
	if err != nil {
		return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", v.typ, err)
	}
	return step, nil
}

func (t *Trial) attempt(ctx context.Context, v *logEvent, parked []pastDecision, park *failure) (step TrialStep, err error) {
	tx := newTx(t.b.shadow, t.b.conn)
	if err = t.try(ctx, tx, v, parked, park, &step); err == nil {
		err = tx.finish(ctx)
	}
	if err != nil {
		tx.abandon(ctx)
		return TrialStep{}, err
	}
	s, m := tx.stage, &t.b.shadow.mem
	m.now = s.now
	s.commit()
	for _, n := range tx.entries {
		step.Decisions = append(step.Decisions, n.event)
	}
	for _, r := range s.opened {
		step.Opened = append(step.Opened, TrialEffect{Kind: r.kind, Cause: r.cause.ID})
	}
	return step, nil
}

// try does with an event what the processor does with one of the log.
func (t *Trial) try(ctx context.Context, tx *Tx, v *logEvent, parked []pastDecision, park *failure, step *TrialStep) error {
	l, s := t.b.shadow, tx.stage
	if at := v.event.Time(); at.After(s.now) {
		s.now = at.UTC()
	}
	if v.own {
		if _, ok := s.stale.get(v.id); ok {
			tx.Exec("DELETE FROM fold_timers_stale WHERE fact = $1", uuid.MustParse(v.id))
			s.stale.remove(v.id)
			step.Stale = true
			return nil
		}
		tx.closeEffect(v.id)
		tx.fired(v.id)
	}
	switch {
	case park != nil:
		return l.park(ctx, tx, v, park, nil)
	case v.answer == "" && l.blocked(tx, v):
		step.Waits = true
		l.queueBehind(tx, v)
		return nil
	case wasParked(parked, v.id):
		step.Waits = true
		return l.park(ctx, tx, v, nil, parked)
	}
	deciding := v.stream > t.activated
	if err := l.applyAndDecide(ctx, tx, v, nil, deciding); err != nil {
		return err
	}
	if v.answer != "" {
		one := &processor{l: l, conn: t.b.conn}
		return one.resumeParked(ctx, tx, v, parked, deciding)
	}
	return nil
}
