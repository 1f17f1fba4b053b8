package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a person may answer to a parked event.
const (
	Retry   = "retry"
	Discard = "discard"
)

// ErrNotParked: no such event is parked here. One that only waits behind another
// is not: answering the one before it lets it go.
var ErrNotParked = errors.New("the event is not parked")

// A ParkedEvent is one that could not be applied and waits for an answer.
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

// AnswerParked records that a parked event is to be tried again or passed over,
// and waits until the service's fold has done so. A retry that fails parks the
// event again. What is not parked is ErrNotParked.
func (l *Log) AnswerParked(ctx context.Context, event, how, actor string) ([]Receipt, error) {
	name := ""
	switch how {
	case Retry:
		name = retried
	case Discard:
		name = discarded
	default:
		return nil, fmt.Errorf("%q is no answer to a parked event: %s or %s is", how, Retry, Discard)
	}
	var namespace string
	var queued bool
	err := l.pool.QueryRow(ctx, "SELECT namespace, queued FROM "+quote(l.schema)+".fold_parked WHERE id = $1", event).Scan(&namespace, &queued)
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
	return l.RecordAndWait(ctx, Fact{Event: jsonDraft(l.service, name, namespace, event, payload), Actor: actor})
}

// ParkedEvents lists what waits for an answer, in the log's order.
func (l *Log) ParkedEvents(ctx context.Context) ([]ParkedEvent, error) {
	rows, err := l.pool.Query(ctx, "SELECT id, sequence, queued, type, namespace, subject, correlation, reason, code, event FROM "+
		quote(l.schema)+".fold_parked ORDER BY sequence")
	if err != nil {
		return nil, fmt.Errorf("read the parked events: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (parkedRow, error) {
		var r parkedRow
		var sequence int64
		err := row.Scan(&r.id, &sequence, &r.queued, &r.typ, &r.namespace, &r.subject, &r.correlation, &r.reason, &r.code, &r.data)
		r.sequence = uint64(sequence) //nolint:gosec // a position of the log
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the parked events: %w", err)
	}
	out := []ParkedEvent{}
	for i, r := range all {
		if !r.queued {
			var at time.Time // stays zero where the event cannot be read
			if e, err := l.codec.Decode(r.data); err == nil {
				at = e.Time().UTC()
			}
			out = append(out, ParkedEvent{Time: at, ID: r.id, Type: r.typ, Namespace: r.namespace, Subject: r.subject,
				Sequence: r.sequence, Reason: r.reason, Code: r.code, Behind: behind(r, all[i+1:])})
		}
	}
	return out, nil
}

// behind counts who waits for a row, or for another that does.
func behind(r parkedRow, later []parkedRow) int {
	type line struct{ namespace, subject, correlation string }
	lines := map[line]bool{}
	join := func(r parkedRow) {
		if r.subject != "" {
			lines[line{namespace: r.namespace, subject: r.subject}] = true
		}
		if r.correlation != "" {
			lines[line{namespace: r.namespace, correlation: r.correlation}] = true
		}
	}
	join(r)
	n := 0
	for _, w := range later {
		if w.queued && (lines[line{namespace: w.namespace, subject: w.subject}] || lines[line{namespace: w.namespace, correlation: w.correlation}]) {
			join(w)
			n++
		}
	}
	return n
}
