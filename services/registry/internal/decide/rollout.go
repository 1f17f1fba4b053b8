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

// rolloutCompleted makes the version champion and, unless it was a rollback, offers
// it to the next environment.
func rolloutCompleted(ctx context.Context, s eventlog.Reader, e event.Event, p events.RolloutCompleted, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	v, known, err := state.VersionOf(ctx, s, namespace, p.Model, p.Version)
	if err != nil || !known || v.Status != domain.Passed {
		return nil, err
	}
	champion, err := state.ChampionOf(ctx, s, namespace, p.Model, p.Environment)
	if err != nil {
		return nil, err
	}
	d := decisions{namespace: namespace, model: p.Model}
	if champion == nil || *champion != p.Version {
		d.Add(events.NewChampionChanged(namespace, p.Model, events.ChampionChanged{
			Model: p.Model, Environment: p.Environment, Version: p.Version, Previous: champion}))
	}
	kind, err := state.RolloutKind(ctx, s, namespace, p.Rollout)
	if d.Fail(err); err != nil || kind == "rollback" {
		return d.Result()
	}
	i, _, ok := v.Environment(p.Environment)
	if !ok {
		return d.Result()
	}
	next, more := domain.Next(i, len(v.Environments))
	if !more {
		return d.Result()
	}
	to := v.Environments[next]
	stage, err := state.StageOf(ctx, s, namespace, p.Model, to.Environment, p.Version)
	if d.Fail(err); err != nil || stage != "" {
		return d.Result() // it came there before: only a person brings it there again
	}
	d.Append(offer(ctx, s, namespace, v, to))
	return d.Result()
}

// rolloutRolledBack says that the version is not to serve there after all.
func rolloutRolledBack(ctx context.Context, s eventlog.Reader, e event.Event, p events.RolloutRolledBack, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	stage, err := state.StageOf(ctx, s, namespace, p.Model, p.Environment, p.Version)
	if err != nil || stage != domain.Approved {
		return nil, err
	}
	reason := domain.RolledBack
	if p.Reason == "superseded" {
		reason = domain.Overtaken
	}
	d := decisions{namespace: namespace, model: p.Model}
	d.deny(p.Version, p.Environment, reason)
	return d.Result()
}
