package decide

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/freshet-io/freshet/services/registry/internal/state"
)

// approvalGiven approves a version that waits for a person. One that does not wait
// any more, because another person was faster or a newer version overtook it, stays
// where it is.
func approvalGiven(ctx context.Context, s eventlog.Reader, e event.Event, p events.ApprovalGiven, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	stage, err := state.StageOf(ctx, s, namespace, p.Model, p.Environment, p.Version)
	if err != nil || stage != domain.Asked {
		return nil, err
	}
	v, known, err := state.VersionOf(ctx, s, namespace, p.Model, p.Version)
	if err != nil || !known {
		return nil, err
	}
	_, env, ok := v.Environment(p.Environment)
	if !ok {
		return nil, nil
	}
	d := decisions{namespace: namespace, model: p.Model}
	d.approve(ctx, s, v, env, "person")
	return d.Result()
}

// approvalDenied denies a version that waits for a person.
func approvalDenied(ctx context.Context, s eventlog.Reader, e event.Event, p events.ApprovalDenied, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	stage, err := state.StageOf(ctx, s, namespace, p.Model, p.Environment, p.Version)
	if err != nil || stage != domain.Asked {
		return nil, err
	}
	d := decisions{namespace: namespace, model: p.Model}
	d.deny(p.Version, p.Environment, domain.ByPerson)
	return d.Result()
}

// promotionAsked approves the version that a person names, passed at any time before,
// for the environment that they name. It needs no other person, and overtakes what
// waits there for one.
func promotionAsked(ctx context.Context, s eventlog.Reader, e event.Event, p events.PromotionAsked, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	v, known, err := state.VersionOf(ctx, s, namespace, p.Model, p.Version)
	if err != nil || !known {
		return nil, err
	}
	_, env, ok := v.Environment(p.Environment)
	if !ok {
		return nil, nil
	}
	m, err := state.ModelOf(ctx, s, namespace, p.Model)
	if err != nil {
		return nil, err
	}
	d := decisions{namespace: namespace, model: p.Model}
	stage, err := state.StageOf(ctx, s, namespace, p.Model, p.Environment, p.Version)
	if err != nil {
		return nil, err
	}
	switch {
	case stage == domain.Champion || stage == domain.Approved:
		return nil, nil // it is there, or on its way
	case v.Status != domain.Passed:
		d.deny(p.Version, p.Environment, domain.NotPassed)
		return d.Result()
	case m.Withdrawn:
		d.deny(p.Version, p.Environment, domain.Withdrawn)
		return d.Result()
	}
	standing, err := state.Standing(ctx, s, namespace, p.Model, p.Environment)
	if err != nil {
		return nil, err
	}
	for _, other := range standing {
		if other.Stage == domain.Asked && other.Version != p.Version {
			d.deny(other.Version, p.Environment, domain.Overtaken)
		}
	}
	d.approve(ctx, s, v, env, "person")
	return d.Result()
}
