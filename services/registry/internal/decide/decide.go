// Package decide holds what the registry decides, one file per subject. Each decision
// is a function of the fold's tables and the event alone.
package decide

import (
	"context"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
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

// decisions are those about one model.
type decisions struct {
	eventlog.Decisions
	namespace, model string
}

func (d *decisions) deny(version int64, environment, reason string) {
	d.Add(events.NewModelVersionDenied(d.namespace, d.model, events.ModelVersionDenied{
		Model: d.model, Version: version, Environment: environment, Reason: reason}))
}

// approve adds the approval with all that a server needs to load and watch the version.
func (d *decisions) approve(ctx context.Context, s eventlog.Reader, v state.Version, env events.EnvironmentSpec, by string) {
	champion, err := state.ChampionOf(ctx, s, d.namespace, d.model, env.Environment)
	if err != nil {
		d.Fail(err)
		return
	}
	r := v.Registered
	d.Add(events.NewModelVersionApproved(d.namespace, d.model, events.ModelVersionApproved{
		Model: d.model, Version: r.Version, Environment: env.Environment, By: by,
		Artifact: r.Artifact, Profile: r.Profile, Columns: r.Columns, Uses: r.Uses,
		RequestFields: r.RequestFields, Prediction: r.Prediction, Task: r.Task,
		Rollout: env.Rollout, RollbackIf: env.RollbackIf, Monitor: r.Monitor, Champion: champion,
	}))
}
