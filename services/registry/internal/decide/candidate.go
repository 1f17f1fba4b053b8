package decide

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/freshet-io/freshet/services/registry/internal/gate"
	"github.com/freshet-io/freshet/services/registry/internal/state"
)

// candidateMeasured makes the candidate a version, judges it by its gates, and offers
// a passed one to the first environment. A run makes one version, however often it is
// measured.
func candidateMeasured(gates *gate.Evaluator) func(context.Context, eventlog.Reader, event.Event, events.CandidateMeasured, time.Time) ([]event.Event, error) {
	return func(ctx context.Context, s eventlog.Reader, e event.Event, p events.CandidateMeasured, _ time.Time) ([]event.Event, error) {
		namespace := eventlog.Namespace(e)
		known, err := state.RunKnown(ctx, s, namespace, p.Model, p.Run)
		if err != nil || known {
			return nil, err
		}
		m, err := state.ModelOf(ctx, s, namespace, p.Model)
		if err != nil {
			return nil, err
		}
		registered := events.ModelVersionRegistered{
			Model: p.Model, Version: m.Latest + 1, Run: p.Run, Artifact: p.Artifact, Profile: p.Profile,
			Columns: p.Columns, Uses: p.Uses, Lineage: p.Lineage, Candidate: p.Candidate, Champion: p.Champion,
			Naive: p.Naive, Rows: p.Rows, From: p.From, To: p.To, RequestFields: p.RequestFields,
			Prediction: p.Prediction, Task: p.Task, Label: p.Label, ExamplesDataset: p.ExamplesDataset,
			Monitor: p.Monitor, Contributors: p.Contributors,
		}
		d := decisions{namespace: namespace, model: p.Model}
		d.Add(events.NewModelVersionRegistered(namespace, p.Model, registered))

		results, passed := gates.Evaluate(p.Gates, gate.MetricsOf(p))
		if !passed {
			d.Add(events.NewCandidateRefused(namespace, p.Model, events.CandidateRefused{Model: p.Model, Version: registered.Version, Gates: results}))
			return d.Result()
		}
		d.Add(events.NewCandidatePassed(namespace, p.Model, events.CandidatePassed{Model: p.Model, Version: registered.Version, Gates: results}))
		if len(p.Environments) == 0 {
			return d.Result()
		}
		v := state.Version{Status: domain.Passed, Registered: registered, Environments: p.Environments, Mode: domain.Mode(p.Mode)}
		d.Append(offer(ctx, s, namespace, v, p.Environments[0]))
		return d.Result()
	}
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
	d := decisions{namespace: namespace, model: model}
	for _, older := range o.Overtakes {
		d.deny(older, env.Environment, domain.Overtaken)
	}
	switch {
	case o.Approve:
		d.approve(ctx, s, v, env, "rule")
	case o.Ask:
		d.Add(events.NewApprovalRequested(namespace, model, events.ApprovalRequested{Model: model, Version: version, Environment: env.Environment}))
	default:
		d.deny(version, env.Environment, o.Deny)
	}
	return d.Result()
}
