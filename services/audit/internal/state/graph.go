package state

import (
	"context"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// Kinds of edges: how an event depends on an earlier one.
const (
	Caused      = "cause"       // its envelope's causationid
	Contributed = "contributor" // one of its payload's contributors
	OfCode      = "code"        // made with this code commit
	OfData      = "data"        // its training set has the rows of this data commit
	OfView      = "view"        // its training set has the features of this view
	OfVersion   = "version"     // is about this model version
	OfVerdict   = "verdict"     // depends on what the gates said
	OfRollout   = "rollout"     // the step before, of the same rollout
	OfChampion  = "champion"    // was seen of what this made champion
	OfAlert     = "alert"       // ends this alert
	OfEvent     = "event"       // answers or annotates this event
)

// Kinds of links.
const (
	Rollout     = "rollout"      // id → rollout_started
	Version     = "version"      // model@version → model_version_registered
	Verdict     = "verdict"      // model@version → candidate_passed or candidate_refused
	Revision    = "revision"     // revision@repository → code_committed
	Commit      = "commit"       // digest@dataset → data_committed
	Number      = "number"       // dataset#number → data_committed
	View        = "view"         // view@version → feature_view_declared
	TrainingSet = "training_set" // id → training_set_built
	Run         = "run"          // id → run_completed or run_failed, else run_started
	Alert       = "alert"        // id → alert_raised
)

// VersionKey is the key of a version of a model, or of a view, among the links.
func VersionKey(name string, version int64) string {
	return name + "@" + strconv.FormatInt(version, 10)
}

// NumberKey is a data commit's key among the links.
func NumberKey(dataset string, number int64) string {
	return dataset + "#" + strconv.FormatInt(number, 10)
}

const (
	edgeSQL   = `INSERT INTO edges (namespace, effect, cause, kind) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	toLinkSQL = `INSERT INTO edges (namespace, effect, cause, kind)
		SELECT $1, $2, event, $3 FROM links WHERE namespace = $1 AND kind = $4 AND key = $5 AND event <> $2 ON CONFLICT DO NOTHING`
	// The event that a thing's present state comes from.
	toPresentSQL = `INSERT INTO edges (namespace, effect, cause, kind)
		SELECT $1, $2, event, $3 FROM past WHERE namespace = $1 AND kind = $4 AND key = $5 AND until_sequence = $6 AND event <> $2 ON CONFLICT DO NOTHING`
)

func link(tx *eventlog.Tx, e event.Event, kind, key string) {
	tx.Exec(`INSERT INTO links (namespace, kind, key, event) VALUES ($1, $2, $3, $4) ON CONFLICT (namespace, kind, key) DO NOTHING`,
		eventlog.Namespace(e), kind, key, e.ID())
}

func relink(tx *eventlog.Tx, e event.Event, kind, key string) {
	tx.Exec(`INSERT INTO links (namespace, kind, key, event) VALUES ($1, $2, $3, $4)
		ON CONFLICT (namespace, kind, key) DO UPDATE SET event = excluded.event`, eventlog.Namespace(e), kind, key, e.ID())
}

// addDependency adds an edge to the event behind a name, if the log has named it before.
func addDependency(tx *eventlog.Tx, e event.Event, kind, linked, key string) {
	tx.Exec(toLinkSQL, eventlog.Namespace(e), e.ID(), kind, linked, key)
}

// follows adds an edge to the event that something's present state comes from.
func follows(tx *eventlog.Tx, e event.Event, kind, thing, key string) {
	tx.Exec(toPresentSQL, eventlog.Namespace(e), e.ID(), kind, thing, key, Open)
}

// graph are the applies that add edges and links. They run before those of past, so
// that what follows finds the state before its own event.
var graph = []handler{
	applies(func(tx *eventlog.Tx, e event.Event, p events.DataCommitted) {
		link(tx, e, Commit, p.Commit+"@"+p.Dataset)
		link(tx, e, Number, NumberKey(p.Dataset, p.Number))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.CodeCommitted) {
		link(tx, e, Revision, RevisionKey(p.Repository, p.Revision))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.ModelDeclared) {
		addDependency(tx, e, OfCode, Revision, RevisionKey(p.Code.Repository, p.Code.Revision))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.FeatureViewDeclared) {
		link(tx, e, View, VersionKey(p.View, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.TrainingRequested) {
		addDependency(tx, e, OfCode, Revision, RevisionKey(p.Code.Repository, p.Code.Revision))
		for _, d := range p.Data {
			tx.Exec(`INSERT INTO uses (namespace, dataset, number, event) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				eventlog.Namespace(e), d.Dataset, d.Number, e.ID())
		}
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.TrainingSetBuilt) {
		link(tx, e, TrainingSet, p.TrainingSet)
		for _, u := range p.Uses {
			addDependency(tx, e, OfView, View, VersionKey(u.View, u.Version))
		}
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RunStarted) {
		link(tx, e, Run, p.Run)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RunCompleted) {
		relink(tx, e, Run, p.Run)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RunFailed) {
		relink(tx, e, Run, p.Run)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) {
		link(tx, e, Version, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.CandidatePassed) {
		verdict(tx, e, p.Model, p.Version)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.CandidateRefused) {
		verdict(tx, e, p.Model, p.Version)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.ApprovalRequested) {
		addDependency(tx, e, OfVerdict, Verdict, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.ModelVersionApproved) {
		addDependency(tx, e, OfVerdict, Verdict, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.ModelVersionDenied) {
		addDependency(tx, e, OfVersion, Version, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.PromotionAsked) {
		addDependency(tx, e, OfVersion, Version, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RolloutStarted) {
		link(tx, e, Rollout, p.Rollout)
		addDependency(tx, e, OfVersion, Version, VersionKey(p.Model, p.Version))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RolloutStepped) {
		follows(tx, e, OfRollout, Rollouts, p.Rollout)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RolloutCompleted) {
		follows(tx, e, OfRollout, Rollouts, p.Rollout)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.RolloutRolledBack) {
		follows(tx, e, OfRollout, Rollouts, p.Rollout)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.DriftDetected) {
		follows(tx, e, OfChampion, Champions, EnvironmentKey(p.Environment, p.Model))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.QualityDegraded) {
		follows(tx, e, OfChampion, Champions, EnvironmentKey(p.Environment, p.Model))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.AlertRaised) {
		link(tx, e, Alert, p.Alert)
		follows(tx, e, OfChampion, Champions, EnvironmentKey(p.Environment, p.Model))
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.AlertResolved) {
		addDependency(tx, e, OfAlert, Alert, p.Alert)
	}),
	applies(func(tx *eventlog.Tx, e event.Event, p events.NoteAdded) {
		about(tx, e, p.On)
	}),
}

// answered is the apply that adds the edges of an answer to a parked event; nil for
// other types. Every service has types of its own for these answers.
func answered(typ string) eventlog.ApplyFunc {
	_, name, _ := strings.Cut(typ, ".v1.")
	switch name {
	case "event_retried":
		return eventlog.Applies(func(_ context.Context, tx *eventlog.Tx, e event.Event, p events.EventRetried) error {
			about(tx, e, p.Event)
			return nil
		})
	case "event_discarded":
		return eventlog.Applies(func(_ context.Context, tx *eventlog.Tx, e event.Event, p events.EventDiscarded) error {
			about(tx, e, p.Event)
			return nil
		})
	}
	return nil
}

// about adds an edge to an event that is answered or annotated.
func about(tx *eventlog.Tx, e event.Event, id string) {
	tx.Exec(`INSERT INTO edges (namespace, effect, cause, kind)
		SELECT namespace, $2, id, $3 FROM events WHERE namespace = $1 AND id = $4 AND id <> $2 ON CONFLICT DO NOTHING`,
		eventlog.Namespace(e), e.ID(), OfEvent, id)
}

func verdict(tx *eventlog.Tx, e event.Event, model string, version int64) {
	link(tx, e, Verdict, VersionKey(model, version))
	addDependency(tx, e, OfVersion, Version, VersionKey(model, version))
}

// RevisionKey is a revision's key among the links.
func RevisionKey(repository, revision string) string { return revision + "@" + repository }

// EnvironmentKey is the key of what one environment does with one model.
func EnvironmentKey(environment, model string) string { return environment + "/" + model }

// applies is a handler that cannot fail.
func applies[P any, PP eventlog.EventPayload[P]](fn func(*eventlog.Tx, event.Event, P)) handler {
	return on[P, PP](func(_ context.Context, tx *eventlog.Tx, e event.Event, p P) error {
		fn(tx, e, p)
		return nil
	})
}
