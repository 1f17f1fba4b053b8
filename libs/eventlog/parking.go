package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
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

const (
	retried   = "event_retried"
	discarded = "event_discarded"
)

// retryName is which of the service's two answers to a parked event a type is.
func (l *Log) retryName(typ string) string {
	name, own := strings.CutPrefix(typ, l.ownTypes)
	if own && (name == retried || name == discarded) {
		return name
	}
	return ""
}

// parkedBy reads a recorded event_parked.
func (l *Log) parkedBy(e event.Event) (parkedPayload, bool) {
	var p parkedPayload
	if e.Type() != l.parkedType || json.Unmarshal(e.Data(), &p) != nil {
		return parkedPayload{}, false
	}
	return p, true
}

// wasParked says whether the recorded decisions of an event park it.
func wasParked(recorded []pastDecision, id string) bool {
	for _, e := range recorded {
		var p parkedPayload
		if strings.HasSuffix(e.Type(), ".event_parked") && json.Unmarshal(e.Data(), &p) == nil && p.Event == id && Causation(e.Event) == id {
			return true
		}
	}
	return false
}

// park sets an event aside, by a decision: a new one, or the recorded one.
func (l *Log) park(ctx context.Context, t *Tx, v *logEvent, f *failure, recorded []pastDecision) error {
	cause := Cause{ID: v.id, Correlation: v.id}
	at := t.stage.now
	if v.err == nil {
		cause, at = CauseOf(v.event), v.event.Time()
	}
	return l.parkAs(ctx, t, v, f, recorded, cause, at)
}

func (l *Log) parkAs(ctx context.Context, t *Tx, v *logEvent, f *failure, recorded []pastDecision, cause Cause, at time.Time) error {
	row := l.newParked(v)
	var decision event.Event
	for _, e := range recorded {
		if p, ok := l.parkedBy(e.Event); ok && p.Event == v.id {
			decision, row.reason, row.code = e.Event, p.Reason, p.Code
		}
	}
	if decision.Context == nil {
		row.reason, row.code = f.reason, f.code
		payload, err := json.Marshal(parkedPayload{Event: v.id, EventType: v.typ, Sequence: v.stream, Reason: f.reason, Code: f.code})
		if err != nil {
			return err
		}
		draft := jsonDraft(l.service, "event_parked", row.namespace, v.id, payload)
		if decision, err = l.addDecision(t, draft, decisionID(cause.ID, l.parkedType, 0), cause, at); err != nil {
			return alarmf("an event could not be parked: %w", err)
		}
	}
	l.keepParked(t, row)
	return l.callApply(ctx, t, decision, v.stream)
}

func (l *Log) newParked(v *logEvent) *parkedRow {
	row := &parkedRow{id: v.id, sequence: v.stream, typ: v.typ, namespace: "default", data: v.data}
	if v.err == nil {
		row.namespace, row.subject, row.correlation = Namespace(v.event), v.event.Subject(), Correlation(v.event)
	}
	return row
}

func (l *Log) keepParked(t *Tx, row *parkedRow) {
	t.Exec(`INSERT INTO fold_parked (id, sequence, queued, type, namespace, subject, correlation, reason, code, event)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (id) DO UPDATE SET queued = excluded.queued, reason = excluded.reason, code = excluded.code`,
		row.id, int64(row.sequence), row.queued, row.typ, row.namespace, row.subject, row.correlation, row.reason, row.code, row.data)
	t.stage.parked.put(row.id, row)
}

func (l *Log) dropParked(t *Tx, id string) {
	t.Exec("DELETE FROM fold_parked WHERE id = $1", id)
	t.stage.parked.remove(id)
}

// queueBehind keeps an event until the one before it is retried or discarded.
func (l *Log) queueBehind(t *Tx, v *logEvent) {
	row := l.newParked(v)
	row.queued = true
	l.keepParked(t, row)
}

// blocked says whether an event has to wait behind a parked or waiting one: of
// its subject or of its ripple.
func (l *Log) blocked(t *Tx, v *logEvent) bool {
	if t.stage.parked.empty() || v.err != nil {
		return false
	}
	ns, subject, correlation := Namespace(v.event), v.event.Subject(), Correlation(v.event)
	found := false
	t.stage.parked.each(func(id string, r *parkedRow) {
		if id == v.id || r.sequence >= v.stream || r.namespace != ns {
			return
		}
		if subject != "" && r.subject == subject || correlation != "" && r.correlation == correlation {
			found = true
		}
	})
	return found
}

// resumeParked answers event_retried and event_discarded: the named event is
// applied or dropped, and then whatever waited and no longer has to, in the log's
// order. What fails is parked again.
func (p *processor) resumeParked(ctx context.Context, t *Tx, v *logEvent, recorded []pastDecision, deciding bool) error {
	l := p.l
	var named struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(v.event.Data(), &named); err != nil {
		return Invalid(err)
	}
	row, ok := t.stage.parked.get(named.Event)
	if !ok || row.queued {
		return nil
	}
	l.dropParked(t, row.id)
	if v.answer == retried {
		if err := p.again(ctx, t, row, v, recorded, deciding); err != nil {
			return err
		}
	}
	for {
		var waiting []*parkedRow
		t.stage.parked.each(func(_ string, r *parkedRow) {
			if r.queued {
				waiting = append(waiting, r)
			}
		})
		slices.SortFunc(waiting, func(a, b *parkedRow) int { return int(int64(a.sequence) - int64(b.sequence)) })
		progress := false
		for _, r := range waiting {
			w := l.reread(r)
			if l.blocked(t, w) {
				continue
			}
			l.dropParked(t, r.id)
			if err := p.again(ctx, t, r, nil, nil, deciding); err != nil {
				return err
			}
			progress = true
		}
		if !progress {
			return nil
		}
	}
}

func (l *Log) reread(r *parkedRow) *logEvent {
	v := &logEvent{stream: r.sequence, eventType: l.eventType(r.typ), id: r.id, data: r.data}
	v.decode(l.codec)
	return v
}

// again tries an event that was set aside. Its failure undoes its own changes
// only, and parks it: because of the retry that failed, or of itself where it was
// only waiting.
func (p *processor) again(ctx context.Context, t *Tx, r *parkedRow, retry *logEvent, recorded []pastDecision, deciding bool) error {
	l := p.l
	v := l.reread(r)
	cause, at := Cause{ID: v.id, Correlation: v.id}, t.stage.now
	if v.err == nil {
		cause, at = CauseOf(v.event), v.event.Time()
	}
	if retry != nil {
		cause, at = CauseOf(retry.event), retry.event.Time()
	}
	old, err := l.decisionsOf(ctx, t, []*logEvent{v})
	if err != nil {
		return err
	}
	own := old[v.id]
	l.judge.note(own)
	if retry == nil {
		recorded = own
	}
	for _, e := range recorded {
		if q, ok := l.parkedBy(e.Event); ok && q.Event == v.id {
			return l.parkAs(ctx, t, v, nil, recorded, cause, at)
		}
	}
	t.Exec("SAVEPOINT again")
	if err := t.flush(ctx); err != nil {
		return err
	}
	before := t.stage.snapshot()
	entries := len(t.entries)
	err = l.applyAndDecide(ctx, t, v, own, deciding)
	if err == nil {
		t.Exec("RELEASE SAVEPOINT again")
		err = t.flush(ctx)
	}
	if err == nil {
		return nil
	}
	f := failureOf(err)
	if f == nil {
		return err
	}
	l.logger.Error("event parked again", "id", v.id, "type", v.typ, "reason", f.reason, "code", f.code, "err", err)
	t.batch.QueuedQueries = nil
	if _, err := t.conn.PgConn().Exec(ctx, "ROLLBACK TO SAVEPOINT again").ReadAll(); err != nil {
		return errors.Join(errors.New("undo a failed retry"), err)
	}
	t.stage.restore(before)
	t.entries = t.entries[:entries]
	return l.parkAs(ctx, t, v, f, nil, cause, at)
}

// snapshot copies what a retry may change.
func (s *staged) snapshot() staged {
	c := *s
	c.effects.changed = clone(s.effects.changed)
	c.timers.changed = clone(s.timers.changed)
	c.firing.changed = clone(s.firing.changed)
	c.stale.changed = clone(s.stale.changed)
	c.parked.changed = clone(s.parked.changed)
	c.opened, c.closed = slices.Clone(s.opened), slices.Clone(s.closed)
	return c
}

func (s *staged) restore(c staged) { *s = c }

func clone[V any](m map[string]*V) map[string]*V {
	c := make(map[string]*V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
