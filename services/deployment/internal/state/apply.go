package state

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/deployment/internal/domain"
)

// LoadKind is the effect that loads a version.
const LoadKind = "load"

// LoadArgs is what a load effect works on.
type LoadArgs struct {
	Rollout     string                 `json:"rollout"`
	Model       string                 `json:"model"`
	Environment string                 `json:"environment"`
	Version     int64                  `json:"version"`
	Artifact    string                 `json:"artifact"`
	Columns     []events.FeatureColumn `json:"columns"`
}

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, modelWithdrawn)
	eventlog.Apply(f, dataCommitted)
	eventlog.Apply(f, versionApproved)
	eventlog.Apply(f, rolloutStarted)
	eventlog.Apply(f, rolloutStepped)
	eventlog.Apply(f, rolloutCompleted)
	eventlog.Apply(f, rolloutRolledBack)
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	names := make([]string, len(p.Spec.Environments))
	for i, env := range p.Spec.Environments {
		names[i] = env.Environment
	}
	tx.Exec(`INSERT INTO models (namespace, model, dataset, environments, withdrawn) VALUES ($1, $2, $3, $4, false)
		ON CONFLICT (namespace, model) DO UPDATE SET dataset = excluded.dataset, environments = excluded.environments, withdrawn = false`,
		eventlog.Namespace(e), p.Model, p.Spec.Examples.Dataset, names)
	return nil
}

// A withdrawn model continues serving: deleting a file must not take production
// down. Its environments are shown as withdrawn.
func modelWithdrawn(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelWithdrawn) error {
	tx.Exec(`UPDATE models SET withdrawn = true WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model)
	return nil
}

func dataCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataCommitted) error {
	keys := p.Spec.Keys
	if keys == nil {
		keys = []string{}
	}
	tx.Exec(`INSERT INTO datasets (namespace, dataset, keys) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, dataset) DO UPDATE SET keys = excluded.keys`,
		eventlog.Namespace(e), p.Dataset, keys)
	return nil
}

func versionApproved(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionApproved) error {
	tx.Exec(`INSERT INTO approvals (namespace, model, environment, version, payload) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, model, environment, version) DO UPDATE SET payload = excluded.payload`,
		eventlog.Namespace(e), p.Model, p.Environment, p.Version, string(e.Data()))
	return nil
}

func rolloutStarted(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStarted) error {
	ns := eventlog.Namespace(e)
	steps := p.Steps
	if steps == nil {
		steps = []int64{}
	}
	tx.Exec(`INSERT INTO rollouts (namespace, rollout, model, environment, ordinal, version, previous, kind, state, step,
			weight, steps, requests, at_least, at_most, reason, started, moved)
		SELECT $1::text, $2::text, $3::text, $4::text, count(*) + 1, $5::bigint, $6::bigint, $7::text, $8::text, 0, 0,
			$9::bigint[], $10::bigint, $11::bigint, $12::bigint, '', $13::timestamptz, $13::timestamptz
		FROM rollouts WHERE namespace = $1 AND model = $3 AND environment = $4`,
		ns, p.Rollout, p.Model, p.Environment, p.Version, p.Previous, p.Kind, string(domain.Loading), steps,
		p.Requests, int64(p.AtLeast), int64(p.AtMost), e.Time())
	tx.Exec(`INSERT INTO environments (namespace, model, environment, serving, rollout, changed) VALUES ($1, $2, $3, NULL, $4, $5)
		ON CONFLICT (namespace, model, environment) DO UPDATE SET rollout = excluded.rollout, changed = excluded.changed`,
		ns, p.Model, p.Environment, p.Rollout, e.Time())

	var payload string
	if err := tx.QueryRow(ctx, `SELECT payload FROM approvals WHERE namespace = $1 AND model = $2 AND environment = $3 AND version = $4`,
		ns, p.Model, p.Environment, p.Version).Scan(&payload); err != nil {
		return err
	}
	var approved events.ModelVersionApproved
	if err := json.Unmarshal([]byte(payload), &approved); err != nil {
		return err
	}
	tx.Open(eventlog.Effect{Kind: LoadKind, Args: LoadArgs{
		Rollout: p.Rollout, Model: p.Model, Environment: p.Environment, Version: p.Version,
		Artifact: approved.Artifact.Digest, Columns: approved.Columns,
	}})
	return nil
}

func rolloutStepped(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStepped) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`UPDATE rollouts SET state = $3, step = $4, weight = $5, moved = $6 WHERE namespace = $1 AND rollout = $2`,
		ns, p.Rollout, string(domain.Stepping), p.Step, p.Weight, e.Time())
	touch(tx, e, p.Model, p.Environment)
	var atMost int64
	if err := tx.QueryRow(ctx, `SELECT at_most FROM rollouts WHERE namespace = $1 AND rollout = $2`, ns, p.Rollout).Scan(&atMost); err != nil {
		return err
	}
	if atMost <= 0 {
		return nil
	}
	due, err := events.NewStepDue(ns, p.Rollout, events.StepDue{Rollout: p.Rollout, Step: p.Step})
	if err != nil {
		return err
	}
	tx.SetTimer(eventlog.Timer{Name: timer(ns, p.Rollout), Due: e.Time().Add(time.Duration(atMost)), Fact: due})
	return nil
}

func rolloutCompleted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutCompleted) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`UPDATE rollouts SET state = $3, weight = 100, moved = $4 WHERE namespace = $1 AND rollout = $2`,
		ns, p.Rollout, string(domain.Completed), e.Time())
	tx.Exec(`UPDATE environments SET serving = $4, rollout = '', changed = $5 WHERE namespace = $1 AND model = $2 AND environment = $3`,
		ns, p.Model, p.Environment, p.Version, e.Time())
	tx.CancelTimer(timer(ns, p.Rollout))
	return nil
}

func rolloutRolledBack(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutRolledBack) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`UPDATE rollouts SET state = $3, weight = 0, reason = $4, moved = $5 WHERE namespace = $1 AND rollout = $2`,
		ns, p.Rollout, string(domain.RolledBack), p.Reason, e.Time())
	tx.Exec(`UPDATE environments SET rollout = '', changed = $5 WHERE namespace = $1 AND model = $2 AND environment = $3 AND rollout = $4`,
		ns, p.Model, p.Environment, p.Rollout, e.Time())
	tx.CancelTimer(timer(ns, p.Rollout))
	return nil
}

func touch(tx *eventlog.Tx, e event.Event, model, environment string) {
	tx.Exec(`UPDATE environments SET changed = $4 WHERE namespace = $1 AND model = $2 AND environment = $3`,
		eventlog.Namespace(e), model, environment, e.Time())
}

func timer(namespace, rollout string) string { return "step/" + namespace + "/" + rollout }
