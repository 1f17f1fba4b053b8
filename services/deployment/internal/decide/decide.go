// Package decide holds what deployment decides, one event at a time. It only
// reads the fold.
package decide

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/deployment/internal/domain"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
)

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Decide(f, approved)
	eventlog.Decide(f, ready)
	eventlog.Decide(f, failed)
	eventlog.Decide(f, judged)
	eventlog.Decide(f, due)
	eventlog.Decide(f, rollbackAsked)
}

// approved begins a rollout, unless the version already serves or is on its way.
// A newer approval takes the place of an open rollout.
func approved(ctx context.Context, db eventlog.Reader, e event.Event, p events.ModelVersionApproved, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	serving, open, err := state.Serves(ctx, db, ns, p.Model, p.Environment)
	if err != nil {
		return nil, err
	}
	if open != nil && open.Version == p.Version {
		return nil, nil
	}
	d := decisions{namespace: ns}
	if open != nil {
		d.back(*open, domain.BySuperseded)
	}
	if serving != nil && *serving == p.Version {
		return d.Result()
	}
	start := events.RolloutStarted{
		Rollout: e.ID(), Model: p.Model, Environment: p.Environment, Version: p.Version, Previous: serving,
		Steps: []int64{}, Weight: 100, Kind: domain.Promotion,
	}
	if serving != nil && len(p.Rollout.Canary) > 0 {
		start.Steps, start.Weight = p.Rollout.Canary, p.Rollout.Canary[0]
		start.Requests, start.AtLeast, start.AtMost = p.Rollout.Requests, p.Rollout.AtLeast, p.Rollout.AtMost
		start.RollbackIf = p.RollbackIf
	}
	d.Add(events.NewRolloutStarted(ns, start.Rollout, start))
	return d.Result()
}

func ready(ctx context.Context, db eventlog.Reader, e event.Event, p events.ReplicaReady, _ time.Time) ([]event.Event, error) {
	return move(ctx, db, e, p.Rollout, domain.Rollout.Ready)
}

func failed(ctx context.Context, db eventlog.Reader, e event.Event, p events.ReplicaFailed, _ time.Time) ([]event.Event, error) {
	return move(ctx, db, e, p.Rollout, domain.Rollout.Failed)
}

func judged(ctx context.Context, db eventlog.Reader, e event.Event, p events.CanaryJudged, _ time.Time) ([]event.Event, error) {
	return move(ctx, db, e, p.Rollout, func(r domain.Rollout) (domain.Move, bool) { return r.Judged(p.Step, p.Verdict == "pass") })
}

func due(ctx context.Context, db eventlog.Reader, e event.Event, p events.StepDue, _ time.Time) ([]event.Event, error) {
	return move(ctx, db, e, p.Rollout, func(r domain.Rollout) (domain.Move, bool) { return r.Due(p.Step) })
}

// rollbackAsked ends an open rollout, or brings back the version before or the
// one named. What cannot be done is refused with its reason.
func rollbackAsked(ctx context.Context, db eventlog.Reader, e event.Event, p events.RollbackAsked, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	d := decisions{namespace: ns}
	refuse := func(reason string) ([]event.Event, error) {
		d.Add(events.NewRollbackRefused(ns, p.Model, events.RollbackRefused{
			Model: p.Model, Environment: p.Environment, Version: p.Version, Reason: reason}))
		return d.Result()
	}
	serving, open, err := state.Serves(ctx, db, ns, p.Model, p.Environment)
	if err != nil {
		return nil, err
	}
	if open != nil && (p.Version == nil || serving != nil && *p.Version == *serving) {
		d.back(*open, domain.ByPerson)
		return d.Result()
	}
	if serving == nil {
		return refuse("nothing_serving")
	}
	target := p.Version
	if target == nil {
		if target, err = state.Before(ctx, db, ns, p.Model, p.Environment, *serving); err != nil {
			return nil, err
		}
		if target == nil {
			return refuse("nothing_before")
		}
	}
	if *target == *serving {
		return refuse("already_serving")
	}
	// An approval alone does not do: a version in its canary has one, and so has one that failed it.
	served, err := state.Served(ctx, db, ns, p.Model, p.Environment, *target)
	if err != nil {
		return nil, err
	}
	if !served {
		return refuse("unknown_version")
	}
	if open != nil {
		d.back(*open, domain.ByPerson)
	}
	d.Add(events.NewRolloutStarted(ns, e.ID(), events.RolloutStarted{
		Rollout: e.ID(), Model: p.Model, Environment: p.Environment, Version: *target, Previous: serving,
		Steps: []int64{}, Weight: 100, Kind: domain.Rollback,
	}))
	return d.Result()
}

// move is the decision that a rollout's state machine makes of an event; late
// events make none.
func move(ctx context.Context, db eventlog.Reader, e event.Event, rollout string, next func(domain.Rollout) (domain.Move, bool)) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	r, err := state.Rollout(ctx, db, ns, rollout)
	if errors.Is(err, state.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, ok := next(r)
	if !ok {
		return nil, nil
	}
	d := decisions{namespace: ns}
	switch m.To {
	case domain.Stepping:
		d.Add(events.NewRolloutStepped(ns, r.ID, events.RolloutStepped{
			Rollout: r.ID, Model: r.Model, Environment: r.Environment, Version: r.Version, Step: m.Step, Weight: m.Weight}))
	case domain.Completed:
		d.Add(events.NewRolloutCompleted(ns, r.ID, events.RolloutCompleted{
			Rollout: r.ID, Model: r.Model, Environment: r.Environment, Version: r.Version, Previous: r.Previous}))
	default:
		d.back(r, m.Reason)
	}
	return d.Result()
}

// decisions are those about rollouts of one namespace.
type decisions struct {
	eventlog.Decisions
	namespace string
}

func (d *decisions) back(r domain.Rollout, reason string) {
	if _, ok := r.Back(reason); !ok {
		return
	}
	d.Add(events.NewRolloutRolledBack(d.namespace, r.ID, events.RolloutRolledBack{
		Rollout: r.ID, Model: r.Model, Environment: r.Environment, Version: r.Version, Previous: r.Previous, Reason: reason}))
}
