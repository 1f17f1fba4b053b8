// Package decide holds what the registry decides, one file per event that makes it
// decide. Each is a function of the fold's tables and the event alone.
package decide

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/freshet-io/freshet/services/registry/internal/gate"
	"github.com/freshet-io/freshet/services/registry/internal/state"
)

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) error {
	gates, err := gate.New()
	if err != nil {
		return err
	}
	eventlog.Decide(f, candidateMeasured(gates))
	eventlog.Decide(f, rolloutCompleted)
	eventlog.Decide(f, rolloutRolledBack)
	eventlog.Decide(f, approvalGiven)
	eventlog.Decide(f, approvalDenied)
	eventlog.Decide(f, promotionAsked)
	eventlog.Decide(f, modelWithdrawn)
	return nil
}

// offer returns what happens when a passed version comes to an environment.
func offer(ctx context.Context, s eventlog.Reader, namespace string, v state.Version, env events.EnvironmentSpec) ([]event.Event, error) {
	model, version := v.Registered.Model, v.Registered.Version
	m, err := state.ModelOf(ctx, s, namespace, model)
	if err != nil {
		return nil, err
	}
	standing, err := state.Standing(ctx, s, namespace, model, env.Environment)
	if err != nil {
		return nil, err
	}
	o := domain.Route(domain.Arrival{Version: version, Mode: v.Mode, Approve: env.Approve, Withdrawn: m.Withdrawn, Standing: standing})
	d := drafts{namespace: namespace, model: model}
	for _, older := range o.Overtakes {
		d.deny(older, env.Environment, domain.Overtaken)
	}
	switch {
	case o.Approve:
		if err := d.approve(ctx, s, v, env, "rule"); err != nil {
			return nil, err
		}
	case o.Ask:
		d.add(events.NewApprovalRequested(namespace, model, events.ApprovalRequested{Model: model, Version: version, Environment: env.Environment}))
	default:
		d.deny(version, env.Environment, o.Deny)
	}
	return d.events, d.err
}

// drafts collects decisions about one model; the first error stays.
type drafts struct {
	namespace, model string
	events           []event.Event
	err              error
}

func (d *drafts) add(e event.Event, err error) {
	if err != nil && d.err == nil {
		d.err = err
	}
	d.events = append(d.events, e)
}

func (d *drafts) deny(version int64, environment, reason string) {
	d.add(events.NewModelVersionDenied(d.namespace, d.model, events.ModelVersionDenied{
		Model: d.model, Version: version, Environment: environment, Reason: reason}))
}

// approve adds the approval with all that a server needs to load and watch the version.
func (d *drafts) approve(ctx context.Context, s eventlog.Reader, v state.Version, env events.EnvironmentSpec, by string) error {
	champion, err := state.ChampionOf(ctx, s, d.namespace, d.model, env.Environment)
	if err != nil {
		return err
	}
	r := v.Registered
	d.add(events.NewModelVersionApproved(d.namespace, d.model, events.ModelVersionApproved{
		Model: d.model, Version: r.Version, Environment: env.Environment, By: by,
		Artifact: r.Artifact, Profile: r.Profile, Columns: r.Columns, Uses: r.Uses,
		RequestFields: r.RequestFields, Prediction: r.Prediction, Task: r.Task,
		Rollout: env.Rollout, RollbackIf: env.RollbackIf, Monitor: r.Monitor, Champion: champion,
	}))
	return nil
}
