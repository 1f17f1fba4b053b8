package state

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/console/internal/status"
)

// Register adds an apply for every event of the contracts.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, modelWithdrawn)
	eventlog.Apply(f, versionRegistered)
	eventlog.Apply(f, candidatePassed)
	eventlog.Apply(f, candidateRefused)
	eventlog.Apply(f, approvalRequested)
	eventlog.Apply(f, versionApproved)
	eventlog.Apply(f, versionDenied)
	eventlog.Apply(f, championChanged)
	f.ApplyFirst(slices.Sorted(maps.Keys(events.Channels)), flow)
}

// flow adds an event to its ripple and moves the ripples that it means something for.
func flow(_ context.Context, tx *eventlog.Tx, e event.Event) error {
	namespace, ripple, at := eventlog.Namespace(e), eventlog.Correlation(e), int64(tx.Sequence())
	s := status.Of(e)
	if ripple == e.ID() {
		tx.Exec(`INSERT INTO ripples (namespace, id, trigger, root_type, subject, events, outcome, detail, started, last, begun, changed)
			VALUES ($1, $2, $3, $4, $5, 0, 'quiet', '', $6, $6, $7, $7) ON CONFLICT (namespace, id) DO NOTHING`,
			namespace, ripple, status.RootTrigger(e.Type()), e.Type(), e.Subject(), e.Time(), at)
	}
	tx.Exec(`INSERT INTO ripple_events (namespace, id, ripple, sequence, type, subject, cause, hops, actor, time, note)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (namespace, id) DO NOTHING`,
		namespace, e.ID(), ripple, at, e.Type(), e.Subject(), eventlog.Causation(e), eventlog.Hops(e), eventlog.Actor(e), e.Time(), s.Note)
	tx.Exec(`UPDATE ripples SET events = events + 1, last = greatest(last, $3), changed = $4,
			trigger = CASE WHEN trigger = 'window' AND $5 <> '' THEN $5 ELSE trigger END
		WHERE namespace = $1 AND id = $2`, namespace, ripple, e.Time(), at, s.Trigger)
	if s.Outcome != "" {
		outcome(tx, namespace, ripple, at, s)
	}
	if len(s.Closes) > 0 {
		tx.Exec(`UPDATE ripples SET changed = $3, last = greatest(last, $4) WHERE namespace = $1
			AND id IN (SELECT ripple FROM pending WHERE namespace = $1 AND key = ANY($2))`, namespace, s.Closes, at, e.Time())
		tx.Exec(`DELETE FROM pending WHERE namespace = $1 AND key = ANY($2)`, namespace, s.Closes)
	}
	for _, key := range s.Opens {
		tx.Exec(`INSERT INTO pending (namespace, key, ripple) VALUES ($1, $2, $3) ON CONFLICT (namespace, key) DO NOTHING`,
			namespace, key, ripple)
	}
	return nil
}

// outcome moves the ripple that the event speaks of: the one that began a matter it
// names, else the one that the update falls back to.
func outcome(tx *eventlog.Tx, namespace, own string, at int64, s status.Update) {
	owners := s.Owners
	if owners == nil {
		owners = []string{}
	}
	fallback := ""
	if s.Fallback == status.OwnRipple {
		fallback = own
	}
	tx.Exec(`UPDATE ripples SET outcome = $4, detail = $5, changed = $6
		WHERE namespace = $1 AND id = coalesce(
			(SELECT ripple FROM pending WHERE namespace = $1 AND key = ANY($2) ORDER BY key LIMIT 1),
			(SELECT ripple FROM versions WHERE namespace = $1 AND $7 AND model = $8 AND version = $9),
			$3)
		AND (NOT $10 OR outcome IN ('running', 'quiet'))`,
		namespace, owners, fallback, s.Outcome, s.Detail, at, s.Fallback == status.VersionRipple, s.Model, s.Version, s.Weak)
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	environments := make([]string, len(p.Spec.Environments))
	for i, env := range p.Spec.Environments {
		environments[i] = env.Environment
	}
	tx.Exec(`INSERT INTO models (namespace, model, withdrawn, environments) VALUES ($1, $2, false, $3)
		ON CONFLICT (namespace, model) DO UPDATE SET withdrawn = false, environments = excluded.environments`,
		eventlog.Namespace(e), p.Model, environments)
	return nil
}

func modelWithdrawn(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelWithdrawn) error {
	tx.Exec(`UPDATE models SET withdrawn = true WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model)
	return nil
}

func versionRegistered(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) error {
	candidate, champion, naive, err := measures(p)
	if err != nil {
		return eventlog.Invalid(err)
	}
	tx.Exec(`INSERT INTO models (namespace, model, withdrawn, environments) VALUES ($1, $2, false, '{}') ON CONFLICT (namespace, model) DO NOTHING`,
		eventlog.Namespace(e), p.Model)
	tx.Exec(`INSERT INTO versions (namespace, model, version, ripple, passed, candidate, champion, naive, rows, gates)
		VALUES ($1, $2, $3, $4, false, $5, $6, $7, $8, '[]') ON CONFLICT (namespace, model, version) DO NOTHING`,
		eventlog.Namespace(e), p.Model, p.Version, eventlog.Correlation(e), candidate, champion, naive, p.Rows)
	return nil
}

func candidatePassed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidatePassed) error {
	return judged(tx, e, p.Model, p.Version, true, p.Gates)
}

func candidateRefused(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidateRefused) error {
	return judged(tx, e, p.Model, p.Version, false, p.Gates)
}

func judged(tx *eventlog.Tx, e event.Event, model string, version int64, passed bool, gates []events.GateResult) error {
	b, err := encode(gates)
	if err != nil {
		return eventlog.Invalid(err)
	}
	tx.Exec(`UPDATE versions SET passed = $4, gates = $5 WHERE namespace = $1 AND model = $2 AND version = $3`,
		eventlog.Namespace(e), model, version, passed, b)
	return nil
}

func approvalRequested(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ApprovalRequested) error {
	tx.Exec(`INSERT INTO approvals (namespace, model, version, environment, event, ripple, hops, since, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting')
		ON CONFLICT (namespace, model, version, environment) DO UPDATE SET event = excluded.event, ripple = excluded.ripple,
			hops = excluded.hops, since = excluded.since, state = excluded.state`,
		eventlog.Namespace(e), p.Model, p.Version, p.Environment, e.ID(), eventlog.Correlation(e), eventlog.Hops(e), e.Time())
	return nil
}

func versionApproved(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionApproved) error {
	settle(tx, e, p.Model, p.Version, p.Environment, "approved")
	return nil
}

func versionDenied(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionDenied) error {
	settle(tx, e, p.Model, p.Version, p.Environment, "denied")
	return nil
}

func settle(tx *eventlog.Tx, e event.Event, model string, version int64, environment, to string) {
	tx.Exec(`UPDATE approvals SET state = $5 WHERE namespace = $1 AND model = $2 AND version = $3 AND environment = $4 AND state = 'waiting'`,
		eventlog.Namespace(e), model, version, environment, to)
}

func championChanged(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ChampionChanged) error {
	tx.Exec(`INSERT INTO champions (namespace, model, environment, version, previous, since) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (namespace, model, environment) DO UPDATE SET version = excluded.version, previous = excluded.previous, since = excluded.since`,
		eventlog.Namespace(e), p.Model, p.Environment, p.Version, p.Previous, e.Time())
	return nil
}

// VersionName is how people call a version.
func VersionName(version int64) string { return "v" + strconv.FormatInt(version, 10) }
