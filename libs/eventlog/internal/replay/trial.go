package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
)

// A Trial is the fold in a schema of its own that may leave the log's way: from a
// position on it applies and decides whatever events it is given, so that one can
// see what the service would have decided. Nothing of it gets into the log, the
// outbox or the live tables; effects and timers that it opens are never executed.
type Trial struct {
	b         *Shadow
	activated uint64 // up to here the service decided nothing
}

// A TrialStep is what one event led to.
type TrialStep struct {
	Decisions []event.Event // complete but for their sequence
	Opened    []TrialEffect // in the order they were opened
	Stale     bool          // the fact of a timer that had been replaced: it does nothing
	Waits     bool          // it does nothing until an event is answered that was parked: itself, as it was recorded, or one before it
	Failed    string        // why the event cannot be applied; then it is parked now, by a decision
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
func (r *Replay) Trial(ctx context.Context, until uint64, instead ...event.Event) (*Trial, error) {
	conn, err := schema.Dedicated(ctx, r.pool)
	if err != nil {
		return nil, err
	}
	// The place of a trial is its connection's, and free when that has ended.
	place, locked := 0, false
	for !locked && err == nil && place < maxTrials {
		place++
		lock := fmt.Sprintf("freshet/%s/trial/%d", r.engine.Service(), place)
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", lock).Scan(&locked)
	}
	if err == nil && !locked {
		err = ErrTrials
	}
	t := &Trial{}
	if err == nil {
		t.activated, err = r.outbox.Undecided(ctx, conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	if t.b, err = r.shadowOn(ctx, conn, fmt.Sprintf("%s_trial_%d", r.engine.Schema(), place)); err != nil {
		return nil, err
	}
	t.b.instead = make(map[string]event.Event, len(instead))
	for _, e := range instead {
		t.b.instead[e.ID()] = e
	}
	if err := t.b.Fold(ctx, source.FromLog, until, nil); err != nil {
		return nil, errors.Join(err, t.b.Close(ctx))
	}
	t.b.mode = engine.Mode{Through: t.activated, Trial: true}
	return t, nil
}

// Consumes are the event types that the fold applies or decides on, and those that
// resolve an event that was parked.
func (t *Trial) Consumes() []string { return t.b.engine.Consumes() }

// Position is the last event of the log that was folded before the first step.
func (t *Trial) Position() uint64 { return t.b.Position() }

// Close drops everything.
func (t *Trial) Close(ctx context.Context) error { return t.b.Close(ctx) }

// Step applies an event, as if it stood at a position of the log, decides, and
// applies what was decided. The service's own decisions are applied where they are
// made; they are not to be given. What was parked when it came is parked, whatever
// was the matter then.
func (t *Trial) Step(ctx context.Context, e event.Event, at uint64) (TrialStep, error) {
	data, err := json.Marshal(e) // what a parked event is read from again
	if err != nil {
		return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", e.Type(), err)
	}
	v := t.b.engine.Given(e, at, data)
	if v.Decision {
		return TrialStep{}, fmt.Errorf("eventlog: %s is a decision of %s itself", v.Name, v.Service)
	}
	step, err := t.attempt(ctx, v, nil)
	if f := engine.FailureOf(err); f != nil {
		step, err = t.attempt(ctx, v, f)
		step.Failed = f.Error()
	}
	if err != nil {
		return TrialStep{}, fmt.Errorf("eventlog: try %s: %w", v.Name, err)
	}
	return step, nil
}

func (t *Trial) attempt(ctx context.Context, v *engine.Event, park *engine.Failure) (step TrialStep, err error) {
	tx := t.b.engine.Begin(t.b.conn, &t.b.mode)
	defer func() {
		if err != nil {
			tx.Abandon(ctx)
			step = TrialStep{}
		}
	}()
	var recorded []engine.Decision
	if park == nil {
		all, err := tx.Recorded(ctx, t.b.conn, []*engine.Event{v})
		if err != nil {
			return step, err
		}
		recorded = all[v.ID]
	}
	outcome, err := tx.Step(ctx, v, recorded, park)
	if err == nil {
		err = tx.Finish(ctx)
	}
	if err != nil {
		return step, err
	}
	tx.Commit()
	step.Stale, step.Waits = outcome == engine.Stale, outcome == engine.Waits
	for _, n := range tx.Decisions() {
		step.Decisions = append(step.Decisions, n.Event)
	}
	for _, r := range tx.Opened() {
		step.Opened = append(step.Opened, TrialEffect{Kind: r.Kind, Cause: r.Cause.ID})
	}
	return step, nil
}
