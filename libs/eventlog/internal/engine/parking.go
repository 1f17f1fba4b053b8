package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
)

// A parkedRow is an event that could not be applied, or one that waits behind it.
type parkedRow struct {
	id          string
	sequence    uint64 // in the log
	queued      bool
	typ         string
	namespace   string
	subject     string
	correlation string
	reason      string
	code        string
	data        []byte
}

func (r *parkedRow) err() error {
	if r.queued {
		return fmt.Errorf("%w: it waits behind another event of %s", ErrParked, r.subject)
	}
	if r.code != "" {
		return fmt.Errorf("%w: %s %s", ErrParked, r.reason, r.code)
	}
	return fmt.Errorf("%w: %s", ErrParked, r.reason)
}

// parkedPayload is the payload of event_parked, as its contract says.
type parkedPayload struct {
	Event     string `json:"event"`
	EventType string `json:"event_type"`
	Sequence  uint64 `json:"sequence"`
	Reason    string `json:"reason"`
	Code      string `json:"code,omitempty"`
}

// Facts that resolve a parked event.
const (
	Retried   = "event_retried"
	Discarded = "event_discarded"
)

// resolution is which of the service's two ways to resolve a parked event a type is.
func (g *Engine) resolution(typ string) string {
	name, own := strings.CutPrefix(typ, g.ownTypes)
	if own && (name == Retried || name == Discarded) {
		return name
	}
	return ""
}

// parkedBy reads a recorded event_parked.
func (g *Engine) parkedBy(e event.Event) (parkedPayload, bool) {
	var p parkedPayload
	if e.Type() != g.parkedType || json.Unmarshal(e.Data(), &p) != nil {
		return parkedPayload{}, false
	}
	return p, true
}

// wasParked says whether the recorded decisions of an event park it.
func wasParked(recorded []Decision, id string) bool {
	for _, e := range recorded {
		var p parkedPayload
		if strings.HasSuffix(e.Type(), ".event_parked") && json.Unmarshal(e.Data(), &p) == nil && p.Event == id && envelope.Causation(e.Event) == id {
			return true
		}
	}
	return false
}

// park sets an event aside, by a decision: a new one, or the recorded one.
func (t *Transaction) park(ctx context.Context, v *Event, f *Failure, recorded []Decision) error {
	cause := envelope.Cause{ID: v.ID, Correlation: v.ID}
	at := t.stage.now
	if v.Err == nil {
		cause, at = envelope.CauseOf(v.Event), v.Event.Time()
	} else if at.IsZero() { // nothing came before it that says what time it is
		at = time.Unix(0, 0).UTC()
	}
	return t.parkAs(ctx, v, f, recorded, cause, at)
}

func (t *Transaction) parkAs(ctx context.Context, v *Event, f *Failure, recorded []Decision, cause envelope.Cause, at time.Time) error {
	row := t.newParked(v)
	var decision event.Event
	for _, e := range recorded {
		if p, ok := t.g.parkedBy(e.Event); ok && p.Event == v.ID {
			decision, row.reason, row.code = e.Event, p.Reason, p.Code
		}
	}
	if decision.Context == nil {
		row.reason, row.code = f.Reason, f.Code
		payload, err := json.Marshal(parkedPayload{Event: v.ID, EventType: v.Name, Sequence: v.Stream, Reason: f.Reason, Code: f.Code})
		if err != nil {
			return err
		}
		draft := envelope.Draft(t.g.service, "event_parked", row.namespace, v.ID, payload)
		if decision, err = t.addDecision(draft, envelope.DecisionID(cause.ID, t.g.parkedType, 0), cause, at); err != nil {
			return stall.Alarmf("an event could not be parked: %w", err)
		}
	}
	t.keepParked(row)
	return t.callApply(ctx, decision, v.Stream)
}

func (t *Transaction) newParked(v *Event) *parkedRow {
	row := &parkedRow{id: v.ID, sequence: v.Stream, typ: v.Name, namespace: "default", data: v.Data}
	if row.data == nil {
		row.data = []byte{} // a message may hold nothing
	}
	if v.Err == nil {
		row.namespace, row.subject, row.correlation = envelope.Namespace(v.Event), v.Event.Subject(), envelope.Correlation(v.Event)
	}
	return row
}

func (t *Transaction) keepParked(row *parkedRow) {
	t.Exec(`INSERT INTO fold_parked (id, sequence, queued, type, namespace, subject, correlation, reason, code, event)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (id) DO UPDATE SET queued = excluded.queued, reason = excluded.reason, code = excluded.code`,
		row.id, int64(row.sequence), row.queued, row.typ, row.namespace, row.subject, row.correlation, row.reason, row.code, row.data)
	t.stage.parked.put(row.id, row)
}

func (t *Transaction) dropParked(id string) {
	t.Exec("DELETE FROM fold_parked WHERE id = $1", id)
	t.stage.parked.remove(id)
}

// queueBehind keeps an event until the one before it is retried or discarded.
func (t *Transaction) queueBehind(v *Event) {
	row := t.newParked(v)
	row.queued = true
	t.keepParked(row)
}

// blocked says whether an event has to wait behind a parked or waiting one: of
// its subject or of its ripple.
func (t *Transaction) blocked(v *Event) bool {
	if t.stage.parked.empty() || v.Err != nil {
		return false
	}
	ns, subject, correlation := envelope.Namespace(v.Event), v.Event.Subject(), envelope.Correlation(v.Event)
	found := false
	t.stage.parked.each(func(id string, r *parkedRow) {
		if id == v.ID || r.sequence >= v.Stream || r.namespace != ns {
			return
		}
		if subject != "" && r.subject == subject || correlation != "" && r.correlation == correlation {
			found = true
		}
	})
	return found
}
