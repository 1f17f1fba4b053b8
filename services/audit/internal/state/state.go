// Package state is audit's fold: an index of every event, what rests on what, which
// event stands behind a name, and how everything stood at every position of the log.
// Nothing else writes these tables.
package state

import (
	"context"
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 4

// Tables are the fold's tables.
const Tables = indexTables + graphTables + pastTables + checkpointTables

// Indexes that are looked up by an id begin with it: no plan can then be tempted, while a
// table has no statistics, to read all of a namespace instead.
const indexTables = `
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
	PRIMARY KEY (id, namespace)
);
CREATE INDEX events_sequence ON events (sequence);
CREATE INDEX events_correlation ON events (correlation, namespace, sequence);
CREATE INDEX events_type ON events (type, namespace, sequence);
CREATE INDEX events_subject ON events (subject, namespace, sequence);
CREATE TABLE moments (                -- where in the log the suite's time moved on
	at       timestamptz PRIMARY KEY,
	sequence bigint NOT NULL
);
CREATE INDEX moments_sequence ON moments (sequence);
`

// Register adds an apply for every event of the contracts.
func Register(f *eventlog.Fold) {
	signed := eventlog.Applies(checkpointSigned)
	for typ := range events.Channels { //purity:allow each type gets its own handler
		more := []eventlog.ApplyFunc{graphOf(typ), past[typ]}
		if typ == events.TypeCheckpointSigned {
			more = append(more, signed)
		}
		f.Apply(typ, func(ctx context.Context, tx *eventlog.Tx, e event.Event) error {
			index(tx, e)
			for _, fn := range more {
				if fn == nil {
					continue
				}
				if err := fn(ctx, tx, e); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// index keeps where an event stands. It reads no payload but for its contributors:
// what another service could not apply must still be findable.
func index(tx *eventlog.Tx, e event.Event) {
	contributors := []string{}
	var p struct {
		Contributors []string `json:"contributors"`
	}
	if json.Unmarshal(e.Data(), &p) == nil && p.Contributors != nil {
		contributors = p.Contributors
	}
	tx.Exec(`INSERT INTO events (namespace, id, sequence, type, source, subject, correlation, causation, source_sequence, hops, actor, time, contributors)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id, namespace) DO NOTHING`,
		eventlog.Namespace(e), e.ID(), int64(tx.Sequence()), e.Type(), e.Source(), e.Subject(), eventlog.Correlation(e), eventlog.Causation(e),
		int64(eventlog.Sequence(e)), eventlog.Hops(e), eventlog.Actor(e), e.Time(), contributors)
	tx.Exec(`INSERT INTO moments (at, sequence) SELECT $1::timestamptz, $2::bigint
		WHERE NOT EXISTS (SELECT FROM moments WHERE at >= $1) ON CONFLICT DO NOTHING`, e.Time(), int64(tx.Sequence()))
	if cause := eventlog.Causation(e); cause != "" {
		tx.Exec(edgeSQL, eventlog.Namespace(e), e.ID(), cause, Caused)
	}
	for _, c := range contributors {
		if c != eventlog.Causation(e) {
			tx.Exec(edgeSQL, eventlog.Namespace(e), e.ID(), c, Contributed)
		}
	}
}
