package state

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// A handler applies a part of what events of one type change.
type handler struct {
	typ   string
	apply eventlog.ApplyFunc
}

// on is a handler of the events of a payload's type.
func on[P any, PP eventlog.EventPayload[P]](fn func(context.Context, *eventlog.Tx, event.Event, P) error) handler {
	return handler{PP(nil).EventType(), eventlog.Applies[P, PP](fn)}
}

// Register adds an apply for every event of the contracts.
func Register(f *eventlog.Fold) {
	more := map[string][]eventlog.ApplyFunc{}
	for _, h := range slices.Concat(graph, past, []handler{on(checkpointSigned)}) {
		more[h.typ] = append(more[h.typ], h.apply)
	}
	for _, typ := range slices.Sorted(maps.Keys(events.Channels)) {
		handlers := more[typ]
		if answer := answered(typ); answer != nil {
			handlers = append(handlers, answer)
		}
		f.Apply(typ, func(ctx context.Context, tx *eventlog.Tx, e event.Event) error {
			index(tx, e)
			for _, apply := range handlers {
				if err := apply(ctx, tx, e); err != nil {
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
