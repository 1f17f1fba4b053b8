// Package state is audit's fold: an index of every event, and which event began,
// registered or committed what. Nothing else writes these tables.
package state

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 2

// Tables are the fold's tables.
const Tables = `
CREATE TABLE events (
	namespace       text COLLATE "C" NOT NULL,
	id              text COLLATE "C" NOT NULL,
	sequence        bigint NOT NULL,  -- in the log
	type            text COLLATE "C" NOT NULL,
	source          text COLLATE "C" NOT NULL,
	subject         text COLLATE "C" NOT NULL,
	correlation     text COLLATE "C" NOT NULL,
	causation       text COLLATE "C" NOT NULL,
	source_sequence bigint NOT NULL,
	hops            integer NOT NULL,
	actor           text NOT NULL,
	time            timestamptz NOT NULL,
	contributors    text[] NOT NULL,
	PRIMARY KEY (namespace, id)
);
CREATE INDEX events_sequence ON events (sequence);
CREATE INDEX events_correlation ON events (namespace, correlation, sequence);
CREATE INDEX events_causation ON events (namespace, causation, sequence);
CREATE INDEX events_type ON events (namespace, type, sequence);
CREATE INDEX events_subject ON events (namespace, subject, sequence);
CREATE TABLE links (                  -- the event behind a name that other events use
	namespace text COLLATE "C" NOT NULL,
	kind      text COLLATE "C" NOT NULL,
	key       text COLLATE "C" NOT NULL,
	event     text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, kind, key)
);
CREATE TABLE champions (              -- every change, kept
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	event       text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	sequence    bigint NOT NULL,
	since       timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment, event)
);
` + checkpointTables

// Kinds of links.
const (
	Rollout  = "rollout"  // rollout id → rollout_started
	Version  = "version"  // model/version → model_version_registered
	Revision = "revision" // repository@revision → code_committed
)

// VersionKey is a model version's key among the links.
func VersionKey(model string, version int64) string {
	return model + "/" + strconv.FormatInt(version, 10)
}

// RevisionKey is a revision's key among the links.
func RevisionKey(repository, revision string) string { return repository + "@" + revision }

// Register adds an apply for every event of the contracts.
func Register(f *eventlog.Fold) {
	extra := map[string]eventlog.ApplyFunc{
		events.TypeRolloutStarted:         eventlog.Applies(events.Parse[events.RolloutStarted], rolloutStarted),
		events.TypeModelVersionRegistered: eventlog.Applies(events.Parse[events.ModelVersionRegistered], versionRegistered),
		events.TypeCodeCommitted:          eventlog.Applies(events.Parse[events.CodeCommitted], codeCommitted),
		events.TypeChampionChanged:        eventlog.Applies(events.Parse[events.ChampionChanged], championChanged),
		events.TypeCheckpointSigned:       eventlog.Applies(events.Parse[events.CheckpointSigned], checkpointSigned),
	}
	for typ := range events.Channels { //purity:allow each type gets its own handler
		more := extra[typ]
		f.Apply(typ, func(ctx context.Context, tx *eventlog.Tx, e event.Event) error {
			if err := index(tx, e); err != nil || more == nil {
				return err
			}
			return more(ctx, tx, e)
		})
	}
}

// index keeps where an event stands. It reads no payload but for its contributors:
// what another service could not apply must still be findable.
func index(tx *eventlog.Tx, e event.Event) error {
	contributors := []string{}
	var p struct {
		Contributors []string `json:"contributors"`
	}
	if json.Unmarshal(e.Data(), &p) == nil && p.Contributors != nil {
		contributors = p.Contributors
	}
	tx.Exec(`INSERT INTO events (namespace, id, sequence, type, source, subject, correlation, causation, source_sequence, hops, actor, time, contributors)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (namespace, id) DO NOTHING`,
		eventlog.Namespace(e), e.ID(), int64(tx.Sequence()), e.Type(), e.Source(), e.Subject(), eventlog.Correlation(e), eventlog.Causation(e),
		int64(eventlog.Sequence(e)), eventlog.Hops(e), eventlog.Actor(e), e.Time(), contributors)
	return nil
}

func link(tx *eventlog.Tx, e event.Event, kind, key string) {
	tx.Exec(`INSERT INTO links (namespace, kind, key, event) VALUES ($1, $2, $3, $4) ON CONFLICT (namespace, kind, key) DO NOTHING`,
		eventlog.Namespace(e), kind, key, e.ID())
}

func rolloutStarted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStarted) error {
	link(tx, e, Rollout, p.Rollout)
	return nil
}

func versionRegistered(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) error {
	link(tx, e, Version, VersionKey(p.Model, p.Version))
	return nil
}

func codeCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CodeCommitted) error {
	link(tx, e, Revision, RevisionKey(p.Repository, p.Revision))
	return nil
}

func championChanged(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ChampionChanged) error {
	tx.Exec(`INSERT INTO champions (namespace, model, environment, event, version, sequence, since) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, model, environment, event) DO NOTHING`,
		eventlog.Namespace(e), p.Model, p.Environment, e.ID(), p.Version, int64(tx.Sequence()), e.Time())
	return nil
}
