package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
)

// Ways to resolve a parked event.
const (
	Retry   = "retry"
	Discard = "discard"
)

// ErrNotParked: no such event is parked here. One that only waits behind another
// is not: resolving the one before it lets it go.
var ErrNotParked = errors.New("the event is not parked")

// ResolveParked records that a parked event is to be tried again or skipped,
// and waits until the service's fold has done so. A retry that fails parks the
// event again. What is not parked is ErrNotParked.
func (l *Log) ResolveParked(ctx context.Context, event, how, actor string) ([]Receipt, error) {
	name := ""
	switch how {
	case Retry:
		name = engine.Retried
	case Discard:
		name = engine.Discarded
	default:
		return nil, fmt.Errorf("%q does not resolve a parked event: give %s or %s", how, Retry, Discard)
	}
	var namespace string
	var queued bool
	err := l.pool.QueryRow(ctx, "SELECT namespace, queued FROM "+schema.Quote(l.engine.Schema())+".fold_parked WHERE id = $1", event).Scan(&namespace, &queued)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("%w: %s", ErrNotParked, event)
	case err != nil:
		return nil, fmt.Errorf("read the parked event: %w", err)
	case queued:
		return nil, fmt.Errorf("%w: %s waits behind one that is", ErrNotParked, event)
	}
	payload, err := json.Marshal(map[string]string{"event": event})
	if err != nil {
		return nil, err
	}
	return l.RecordAndWait(ctx, Fact{Event: envelope.Draft(l.engine.Service(), name, namespace, event, payload), Actor: actor})
}

// A ParkedEvent is one that could not be applied and is to be resolved.
type ParkedEvent struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Namespace string    `json:"namespace"`
	Subject   string    `json:"subject"`
	Sequence  uint64    `json:"sequence"` // in the log
	Reason    string    `json:"reason"`   // panic, sql or invalid
	Code      string    `json:"code,omitempty"`
	Behind    int       `json:"behind"` // events that wait behind it
	Time      time.Time `json:"time"`   // the event's, on the suite's clock
}

// ParkedEvents lists what is to be resolved, in the log's order.
func (l *Log) ParkedEvents(ctx context.Context) ([]ParkedEvent, error) {
	rows, err := l.pool.Query(ctx, "SELECT id, sequence, queued, type, namespace, subject, correlation, reason, code, event FROM "+
		schema.Quote(l.engine.Schema())+".fold_parked ORDER BY sequence")
	if err != nil {
		return nil, fmt.Errorf("read the parked events: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (parkedRow, error) {
		var r parkedRow
		var sequence int64
		err := row.Scan(&r.ID, &sequence, &r.queued, &r.Type, &r.Namespace, &r.Subject, &r.correlation, &r.Reason, &r.Code, &r.data)
		r.Sequence = uint64(sequence) //nolint:gosec // a position of the log
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the parked events: %w", err)
	}
	out := []ParkedEvent{}
	for i, r := range all {
		if !r.queued {
			if e, err := l.engine.Codec.Decode(r.data); err == nil { // else its time stays zero
				r.Time = e.Time().UTC()
			}
			r.Behind = behind(r, all[i+1:])
			out = append(out, r.ParkedEvent)
		}
	}
	return out, nil
}

// A parkedRow is a row of fold_parked.
type parkedRow struct {
	ParkedEvent
	queued      bool
	correlation string
	data        []byte
}

// behind counts who waits for a row, or for another that does.
func behind(r parkedRow, later []parkedRow) int {
	type line struct{ namespace, subject, correlation string }
	lines := map[line]bool{}
	join := func(r parkedRow) {
		if r.Subject != "" {
			lines[line{namespace: r.Namespace, subject: r.Subject}] = true
		}
		if r.correlation != "" {
			lines[line{namespace: r.Namespace, correlation: r.correlation}] = true
		}
	}
	join(r)
	n := 0
	for _, w := range later {
		if w.queued && (lines[line{namespace: w.Namespace, subject: w.Subject}] || lines[line{namespace: w.Namespace, correlation: w.correlation}]) {
			join(w)
			n++
		}
	}
	return n
}
