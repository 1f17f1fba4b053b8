package state

import (
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// What each event says about the things that have a past. The fields are named as the
// owning services' lists name them, so that what was then and what is now compare.

// codeCommitted: a repository declares exactly the datasets that its newest revision has.
func codeCommitted(tx *eventlog.Tx, e event.Event, p events.CodeCommitted) []change {
	names := make([]string, len(p.Datasets))
	out := make([]change, len(p.Datasets))
	for i, d := range p.Datasets {
		names[i] = d.Dataset
		out[i] = change{kind: Datasets, key: d.Dataset, mode: replaced, value: map[string]any{
			"dataset": d.Dataset, "repository": p.Repository, "revision": p.Revision, "keys": d.Keys, "time": d.Time}}
	}
	tx.Exec(`UPDATE past SET until_sequence = greatest($3, from_sequence) WHERE namespace = $1 AND kind = $2 AND until_sequence = $4
		AND value->>'repository' = $5 AND NOT key = ANY($6)`,
		eventlog.Namespace(e), Datasets, int64(tx.Sequence()), Open, p.Repository, names)
	return out
}

func dataCommitted(tx *eventlog.Tx, e event.Event, p events.DataCommitted) []change {
	tx.Exec(`INSERT INTO commits (namespace, dataset, number, commit, event, sequence, committed, rows, added_rows, quarantined, min_time, max_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (dataset, namespace, number) DO NOTHING`,
		eventlog.Namespace(e), p.Dataset, p.Number, p.Commit, e.ID(), int64(tx.Sequence()), e.Time(), p.Rows, p.AddedRows, p.Quarantined, p.MinTime, p.MaxTime)
	return nil
}

func modelDeclared(_ *eventlog.Tx, e event.Event, p events.ModelDeclared) []change {
	s := p.Spec
	environments := make([]map[string]any, len(s.Environments))
	for i, env := range s.Environments {
		environments[i] = map[string]any{"environment": env.Environment, "approve": env.Approve, "canary": env.Rollout.Canary, "rollback_if": env.RollbackIf}
	}
	return []change{{kind: Models, key: p.Model, model: p.Model, value: map[string]any{
		"model": p.Model, "withdrawn": false, "owner": s.Owner, "repository": p.Code.Repository, "revision": p.Code.Revision,
		"spec_digest": p.SpecDigest, "mode": s.Mode, "changed_at": moment(e.Time()), "dataset": s.Examples.Dataset,
		"features": s.Features, "gates": s.Gates, "environments": environments, "alarms": s.Monitor.Alarms, "retrain": s.Retrain.When,
	}}}
}

func modelWithdrawn(_ *eventlog.Tx, e event.Event, p events.ModelWithdrawn) []change {
	return []change{{kind: Models, key: p.Model, model: p.Model, mode: known, value: map[string]any{"withdrawn": true, "changed_at": moment(e.Time())}}}
}

func viewDeclared(_ *eventlog.Tx, e event.Event, p events.FeatureViewDeclared) []change {
	return []change{{kind: Views, key: VersionKey(p.View, p.Version), mode: replaced, value: map[string]any{
		"view": p.View, "version": p.Version, "digest": p.Digest, "spec": p.Spec, "error": some(p.Error), "declared_at": moment(e.Time())}}}
}

func viewMaterialized(tx *eventlog.Tx, e event.Event, p events.FeatureViewMaterialized) []change {
	tx.Exec(`INSERT INTO materialisations (namespace, view, version, commit, sequence, number, rows, through, error, at)
		SELECT $1, $2, $3, $4, $5, coalesce((SELECT c.number FROM links l JOIN commits c ON c.namespace = l.namespace AND c.event = l.event AND c.dataset = $10
			WHERE l.namespace = $1 AND l.kind = 'commit' AND l.key = $4 || '@' || $10), 0), $6, $7, $8, $9
		ON CONFLICT DO NOTHING`,
		eventlog.Namespace(e), p.View, p.Version, p.Commit, int64(tx.Sequence()), p.Rows, p.Through, p.Error, e.Time(), p.Dataset)
	return nil
}

func trainingRequested(_ *eventlog.Tx, e event.Event, p events.TrainingRequested) []change {
	return []change{{kind: Trainings, key: e.ID(), model: p.Model, value: map[string]any{
		"request": e.ID(), "model": p.Model, "trigger": p.Trigger, "revision": p.Code.Revision, "requested_at": moment(e.Time())}}}
}

func runStarted(_ *eventlog.Tx, _ event.Event, p events.RunStarted) []change {
	return []change{{kind: Trainings, key: p.Request, model: p.Model, mode: known, value: map[string]any{"run": p.Run, "training_set": p.TrainingSet}}}
}

func runFailed(tx *eventlog.Tx, e event.Event, p events.RunFailed) []change {
	end(tx, e, Trainings, p.Request)
	return nil
}

func runCancelled(tx *eventlog.Tx, e event.Event, p events.RunCancelled) []change {
	tx.Exec(`UPDATE past SET until_sequence = greatest($3, from_sequence) WHERE namespace = $1 AND kind = $2 AND until_sequence = $4
		AND (key = $5 OR value->>'run' = $5)`, eventlog.Namespace(e), Trainings, int64(tx.Sequence()), Open, p.Run)
	return nil
}

// candidateMeasured: a candidate of other origin than a freshet.yaml brings its model.
func candidateMeasured(tx *eventlog.Tx, e event.Event, p events.CandidateMeasured) []change {
	end(tx, e, Trainings, p.Request)
	return []change{{kind: Models, key: p.Model, model: p.Model, mode: missing, value: map[string]any{
		"model": p.Model, "withdrawn": false, "owner": "", "repository": p.Lineage.Code.Repository, "revision": p.Lineage.Code.Revision,
		"spec_digest": p.SpecDigest, "mode": p.Mode, "changed_at": moment(e.Time()), "dataset": p.ExamplesDataset, "gates": p.Gates}}}
}

func versionRegistered(_ *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) []change {
	return []change{
		{kind: Versions, key: VersionKey(p.Model, p.Version), model: p.Model, value: map[string]any{
			"model": p.Model, "version": p.Version, "run": p.Run, "status": "registered", "registered_at": moment(e.Time()), "event": e.ID(),
			"training_set": p.Lineage.TrainingSet, "revision": p.Lineage.Code.Revision, "data": p.Lineage.Data}},
		{kind: Models, key: p.Model, model: p.Model, mode: known, value: map[string]any{"latest": p.Version}},
	}
}

func candidatePassed(_ *eventlog.Tx, _ event.Event, p events.CandidatePassed) []change {
	return judged(p.Model, p.Version, "passed", p.Gates)
}

func candidateRefused(_ *eventlog.Tx, _ event.Event, p events.CandidateRefused) []change {
	return judged(p.Model, p.Version, "refused", p.Gates)
}

func judged(model string, version int64, status string, gates []events.GateResult) []change {
	return []change{{kind: Versions, key: VersionKey(model, version), model: model, mode: known, value: map[string]any{"status": status, "gates": gates}}}
}

// stage is where a version stands in an environment.
func stage(e event.Event, environment, model string, version int64, to, reason string) change {
	return change{kind: Stages, key: EnvironmentKey(environment, VersionKey(model, version)), model: model, mode: replaced, value: map[string]any{
		"model": model, "version": version, "environment": environment, "stage": to, "reason": some(reason), "at": moment(e.Time()), "event": e.ID()}}
}

func approvalRequested(_ *eventlog.Tx, e event.Event, p events.ApprovalRequested) []change {
	return []change{stage(e, p.Environment, p.Model, p.Version, "asked", ""),
		{kind: Approvals, key: EnvironmentKey(p.Environment, VersionKey(p.Model, p.Version)), model: p.Model, mode: replaced, value: map[string]any{
			"model": p.Model, "version": p.Version, "environment": p.Environment, "since": moment(e.Time()), "ripple": eventlog.Correlation(e), "event": e.ID()}}}
}

func versionApproved(tx *eventlog.Tx, e event.Event, p events.ModelVersionApproved) []change {
	end(tx, e, Approvals, EnvironmentKey(p.Environment, VersionKey(p.Model, p.Version)))
	return []change{stage(e, p.Environment, p.Model, p.Version, "approved", p.By)}
}

func versionDenied(tx *eventlog.Tx, e event.Event, p events.ModelVersionDenied) []change {
	end(tx, e, Approvals, EnvironmentKey(p.Environment, VersionKey(p.Model, p.Version)))
	return []change{stage(e, p.Environment, p.Model, p.Version, "denied", p.Reason)}
}

func championChanged(_ *eventlog.Tx, e event.Event, p events.ChampionChanged) []change {
	out := []change{{kind: Champions, key: EnvironmentKey(p.Environment, p.Model), model: p.Model, mode: replaced, value: map[string]any{
		"model": p.Model, "environment": p.Environment, "version": p.Version, "previous": p.Previous, "since": moment(e.Time()), "event": e.ID()}}}
	if p.Previous != nil {
		out = append(out, stage(e, p.Environment, p.Model, *p.Previous, "former", ""))
	}
	return append(out, stage(e, p.Environment, p.Model, p.Version, "champion", ""))
}

func rolloutStarted(_ *eventlog.Tx, e event.Event, p events.RolloutStarted) []change {
	return []change{
		{kind: Rollouts, key: p.Rollout, model: p.Model, mode: replaced, value: map[string]any{
			"rollout": p.Rollout, "model": p.Model, "environment": p.Environment, "version": p.Version, "previous": p.Previous, "kind": p.Kind,
			"state": "loading", "step": 0, "weight": 0, "steps": p.Steps, "started": moment(e.Time()), "moved": moment(e.Time())}},
		environment(e, p.Environment, p.Model, map[string]any{"rollout": p.Rollout, "candidate": p.Version, "state": "loading", "weight": 0, "step": 0}),
	}
}

func rolloutStepped(_ *eventlog.Tx, e event.Event, p events.RolloutStepped) []change {
	return []change{
		{kind: Rollouts, key: p.Rollout, model: p.Model, mode: known, value: map[string]any{
			"state": "stepping", "step": p.Step, "weight": p.Weight, "moved": moment(e.Time())}},
		environment(e, p.Environment, p.Model, map[string]any{"state": "stepping", "weight": p.Weight, "step": p.Step}),
	}
}

func rolloutCompleted(tx *eventlog.Tx, e event.Event, p events.RolloutCompleted) []change {
	end(tx, e, Rollouts, p.Rollout)
	return []change{environment(e, p.Environment, p.Model, map[string]any{
		"version": p.Version, "rollout": nil, "candidate": nil, "state": nil, "weight": 0, "step": 0})}
}

func rolloutRolledBack(tx *eventlog.Tx, e event.Event, p events.RolloutRolledBack) []change {
	end(tx, e, Rollouts, p.Rollout)
	return []change{environment(e, p.Environment, p.Model, map[string]any{"rollout": nil, "candidate": nil, "state": nil, "weight": 0, "step": 0})}
}

func environment(e event.Event, name, model string, value map[string]any) change {
	value["environment"], value["model"], value["changed"] = name, model, moment(e.Time())
	return change{kind: Environments, key: EnvironmentKey(name, model), model: model, value: value}
}

func alertRaised(_ *eventlog.Tx, e event.Event, p events.AlertRaised) []change {
	return []change{{kind: Alerts, key: p.Alert, model: p.Model, mode: replaced, value: map[string]any{
		"alert": p.Alert, "model": p.Model, "environment": p.Environment, "kind": p.Kind, "name": p.Name, "values": p.Values,
		"raised": moment(e.Time()), "event": e.ID()}}}
}

func alertResolved(tx *eventlog.Tx, e event.Event, p events.AlertResolved) []change {
	end(tx, e, Alerts, p.Alert)
	return nil
}

// some is a text that is left out where it is empty.
func some(s string) any {
	if s == "" {
		return nil
	}
	return s
}
