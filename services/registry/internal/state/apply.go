package state

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
)

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, modelWithdrawn)
	eventlog.Apply(f, candidateMeasured)
	eventlog.Apply(f, versionRegistered)
	eventlog.Apply(f, candidatePassed)
	eventlog.Apply(f, candidateRefused)
	eventlog.Apply(f, approvalRequested)
	eventlog.Apply(f, versionApproved)
	eventlog.Apply(f, versionDenied)
	eventlog.Apply(f, rolloutStarted)
	eventlog.Apply(f, championChanged)
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	tx.Exec(`INSERT INTO models (namespace, model, latest, withdrawn, owner, repository, revision, spec_digest, mode, changed_at)
		VALUES ($1, $2, 0, false, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (namespace, model) DO UPDATE SET withdrawn = false, owner = excluded.owner, repository = excluded.repository,
			revision = excluded.revision, spec_digest = excluded.spec_digest, mode = excluded.mode, changed_at = excluded.changed_at`,
		eventlog.Namespace(e), p.Model, p.Spec.Owner, p.Code.Repository, p.Code.Revision, p.SpecDigest, p.Spec.Mode, e.Time())
	return nil
}

func modelWithdrawn(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelWithdrawn) error {
	tx.Exec(`UPDATE models SET withdrawn = true, changed_at = $3 WHERE namespace = $1 AND model = $2`,
		eventlog.Namespace(e), p.Model, e.Time())
	return nil
}

// candidateMeasured keeps what a version needs later and its registration does not
// say. A model may be measured before it was ever declared here: candidates of other
// origin than a freshet.yaml have no declaration.
func candidateMeasured(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidateMeasured) error {
	environments, err := json.Marshal(p.Environments)
	if err != nil {
		return eventlog.Invalid(err)
	}
	slices := []byte("[]")
	if len(p.Slices) > 0 {
		if slices, err = json.Marshal(p.Slices); err != nil {
			return eventlog.Invalid(err)
		}
	}
	tx.Exec(`INSERT INTO models (namespace, model, latest, withdrawn, owner, repository, revision, spec_digest, mode, changed_at)
		VALUES ($1, $2, 0, false, '', $3, $4, $5, $6, $7) ON CONFLICT (namespace, model) DO NOTHING`,
		eventlog.Namespace(e), p.Model, p.Lineage.Code.Repository, p.Lineage.Code.Revision, p.SpecDigest, p.Mode, e.Time())
	tx.Exec(`INSERT INTO candidates (namespace, model, run, event, trigger, spec_digest, mode, environments, slices)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (namespace, model, run) DO NOTHING`,
		eventlog.Namespace(e), p.Model, p.Run, e.ID(), p.Trigger, p.SpecDigest, p.Mode, environments, slices)
	return nil
}

func versionRegistered(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) error {
	tx.Exec(`INSERT INTO versions (namespace, model, version, run, event, at, status, registered, gates)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]')`,
		eventlog.Namespace(e), p.Model, p.Version, p.Run, e.ID(), e.Time(), string(domain.Registered), e.Data())
	tx.Exec(`UPDATE models SET latest = $3 WHERE namespace = $1 AND model = $2`,
		eventlog.Namespace(e), p.Model, p.Version)
	return nil
}

func candidatePassed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidatePassed) error {
	return judged(tx, e, p.Model, p.Version, domain.Passed, p.Gates)
}

func candidateRefused(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidateRefused) error {
	return judged(tx, e, p.Model, p.Version, domain.Refused, p.Gates)
}

func judged(tx *eventlog.Tx, e event.Event, model string, version int64, status domain.Status, gates []events.GateResult) error {
	b, err := json.Marshal(gates)
	if err != nil {
		return eventlog.Invalid(fmt.Errorf("gates: %w", err))
	}
	tx.Exec(`UPDATE versions SET status = $4, gates = $5 WHERE namespace = $1 AND model = $2 AND version = $3`,
		eventlog.Namespace(e), model, version, string(status), b)
	return nil
}

func approvalRequested(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ApprovalRequested) error {
	stage(tx, e, p.Model, p.Environment, p.Version, domain.Asked, "")
	return nil
}

func versionApproved(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionApproved) error {
	stage(tx, e, p.Model, p.Environment, p.Version, domain.Approved, p.By)
	return nil
}

func versionDenied(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionDenied) error {
	stage(tx, e, p.Model, p.Environment, p.Version, domain.Denied, p.Reason)
	return nil
}

func rolloutStarted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStarted) error {
	tx.Exec(`INSERT INTO rollouts (namespace, rollout, kind) VALUES ($1, $2, $3) ON CONFLICT (namespace, rollout) DO NOTHING`,
		eventlog.Namespace(e), p.Rollout, p.Kind)
	return nil
}

func championChanged(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ChampionChanged) error {
	if p.Previous != nil {
		stage(tx, e, p.Model, p.Environment, *p.Previous, domain.Former, "")
	}
	stage(tx, e, p.Model, p.Environment, p.Version, domain.Champion, "")
	tx.Exec(`INSERT INTO champions (namespace, model, environment, version, previous, event, since) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, model, environment) DO UPDATE SET version = excluded.version, previous = excluded.previous,
			event = excluded.event, since = excluded.since`,
		eventlog.Namespace(e), p.Model, p.Environment, p.Version, p.Previous, e.ID(), e.Time())
	return nil
}

// stage moves a version within an environment.
func stage(tx *eventlog.Tx, e event.Event, model, environment string, version int64, to domain.Stage, reason string) {
	tx.Exec(`INSERT INTO stages (namespace, model, environment, version, stage, reason, event, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (namespace, model, environment, version) DO UPDATE SET stage = excluded.stage, reason = excluded.reason,
			event = excluded.event, at = excluded.at`,
		eventlog.Namespace(e), model, environment, version, string(to), reason, e.ID(), e.Time())
}
