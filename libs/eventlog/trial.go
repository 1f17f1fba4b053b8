package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
)

// A Trial is the fold in a schema of its own that may leave the log's way: from a
// position on it applies and decides whatever events it is given, so that one can
// see what the service would have decided. Nothing of it gets into the log, the
// outbox or the live tables; effects and timers that it opens are never executed.
type Trial struct{ b *Beside }

// A TrialStep is what one event led to.
type TrialStep struct {
	Decisions []event.Event // complete but for their sequence
	Opened    []TrialEffect // in the order they were opened
	Stale     bool          // the fact of a timer that had been replaced: it does nothing
	Failed    string        // why the event cannot be applied; then it changed nothing
}

// A TrialEffect is an effect that a step opened. The log of what really happened
// says how it ended, if it has the fact that closes it.
type TrialEffect struct {
	Kind   string
	Cause  string // id of the event whose application opened it
	Closes string // id of the fact that ends it
}

// maxTrials are led of a service at once; each is a copy of its fold.
const maxTrials = 2

// ErrTrials: as many trials as are allowed are open.
var ErrTrials = fmt.Errorf("%d trials are open; wait until one has ended", maxTrials)

// Trial folds the log, as it was decided, up to a position and with it. The caller
// closes it. What a killed process left of a trial makes room for the next one.
func (l *Log) Trial(ctx context.Context, until uint64) (*Trial, error) {
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
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	b, err := l.beside(ctx, conn, fmt.Sprintf("%s_trial_%d", l.schema, place))
	if err != nil {
		return nil, err
	}
	if err := b.Fold(ctx, FromLog, until, nil); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return &Trial{b}, nil
}

// Consumes are the event types that the fold applies or decides on.
func (t *Trial) Consumes() []string { return t.b.log.fold.Types() }

// Close drops everything.
func (t *Trial) Close(ctx context.Context) error { return t.b.Close(ctx) }

// Step applies an event, as if it stood at a position of the log, decides, and
// applies what was decided. The service's own decisions are applied where they are
// made; they are not to be given.
func (t *Trial) Step(ctx context.Context, e event.Event, at uint64) (TrialStep, error) {
	l := t.b.shadow
	v := &logEvent{stream: at, typ: e.Type(), service: serviceOf(e.Type()), id: e.ID(), event: e, decoded: true}
	if l.own(v) && l.isDecision(v.typ) {
		return TrialStep{}, fmt.Errorf("eventlog: %s is a decision of %s itself", v.typ, l.service)
	}
	tx := newTx(l, t.b.conn)
	step, err := t.try(ctx, tx, v)
	switch {
	case err == nil:
		s := tx.stage
		m := &l.mem
		m.now = s.now
		s.effects.commit()
		s.timers.commit()
		s.firing.commit()
		s.stale.commit()
		s.parked.commit()
		return step, nil
	case isDomain(err):
		tx.abandon(ctx)
		return TrialStep{Failed: err.Error()}, nil
	}
	tx.abandon(ctx)
	return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", v.typ, err)
}

func (t *Trial) try(ctx context.Context, tx *Tx, v *logEvent) (TrialStep, error) {
	l, s := t.b.shadow, tx.stage
	if at := v.event.Time(); at.After(s.now) {
		s.now = at.UTC()
	}
	if l.own(v) {
		if _, ok := s.stale.get(v.id); ok {
			tx.Exec("DELETE FROM fold_timers_stale WHERE fact = $1", v.id)
			s.stale.remove(v.id)
			return TrialStep{Stale: true}, tx.finish(ctx)
		}
		tx.closeEffect(v.id)
		tx.fired(v.id)
	}
	if err := l.applyAndDecide(ctx, tx, v, nil, true); err != nil {
		return TrialStep{}, err
	}
	if err := tx.finish(ctx); err != nil {
		return TrialStep{}, err
	}
	var step TrialStep
	for _, n := range tx.entries {
		step.Decisions = append(step.Decisions, n.event)
	}
	for _, r := range s.opened {
		step.Opened = append(step.Opened, TrialEffect{Kind: r.kind, Cause: r.cause.ID, Closes: r.closes})
	}
	return step, nil
}
