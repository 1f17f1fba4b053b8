package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Tx is what an apply writes with. Its statements are queued and sent together;
// a read sends what is queued first. It is valid during the apply only.
type Tx struct {
	g     *Engine
	conn  *pgx.Conn
	batch *pgx.Batch
	begun bool
	stage *stage

	merge func(context.Context, *pgx.Batch) *pgx.Batch // of a replay; else nil
	ahead chan error                                   // outcome of what is being sent while the caller continues; nil if nothing is

	entries []*envelope.Entry // decisions, for the outbox

	event   event.Event // being applied
	stream  uint64      // where its cause is in the log
	payload any         // of the event, a pointer, once it was read
	timers  map[string]int
	err     error
}

// Exec queues a statement. Its error surfaces when the queue is sent, and fails
// the event.
func (t *Tx) Exec(sql string, args ...any) { t.batch.Queue(sql, args...) }

// Query reads the fold's tables, with everything written so far: what is queued goes
// ahead of the question, in the same round trip.
func (t *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.arrived(); err != nil {
		return nil, err
	}
	b, begun := t.take()
	return sqlbatch.Ask(ctx, t.conn, t.whole(ctx, b, begun), sql, args...)
}

// QueryRow reads one row, with everything written so far.
func (t *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return sqlbatch.Row(t.Query(ctx, sql, args...))
}

// Open opens an effect: it is executed until the fact that ends it is applied.
func (t *Tx) Open(e Effect) {
	if e.Kind == "" {
		t.fail(errors.New("an effect has no kind"))
		return
	}
	args, err := json.Marshal(e.Args)
	if err != nil {
		t.fail(fmt.Errorf("effect %s: %w", e.Kind, err))
		return
	}
	r := &EffectRow{
		ID: envelope.EffectID(t.event.ID(), e.Kind, e.Ordinal), Kind: e.Kind, Namespace: envelope.Namespace(t.event),
		Cause: envelope.CauseOf(t.event), Args: args, Opened: t.stream, Ordinal: e.Ordinal,
	}
	r.Closes = envelope.ResultID(t.g.service, r.ID, 0)
	if _, twice := t.stage.effects.get(r.Closes); twice {
		t.fail(fmt.Errorf("effect %s with ordinal %d is opened twice", e.Kind, e.Ordinal))
		return
	}
	t.Exec(`INSERT INTO fold_effects (id, kind, namespace, cause, correlation, hops, traceparent, args, opened, ordinal)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		uuid.MustParse(r.ID), r.Kind, r.Namespace, r.Cause.ID, r.Cause.Correlation, r.Cause.Hops, r.Cause.Traceparent, string(args), int64(r.Opened), r.Ordinal)
	t.stage.effects.put(r.Closes, r)
	t.stage.opened = append(t.stage.opened, r)
}

// CancelEffect closes an effect without a fact; an execution of it is stopped and
// its result dropped. An effect that is not open is no error.
func (t *Tx) CancelEffect(id string) { t.closeEffect(envelope.ResultID(t.g.service, id, 0)) }

func (t *Tx) closeEffect(closes string) {
	r, ok := t.stage.effects.get(closes)
	if !ok {
		return
	}
	t.Exec("DELETE FROM fold_effects WHERE id = $1", uuid.MustParse(r.ID))
	t.stage.effects.remove(closes)
	t.stage.closed = append(t.stage.closed, r.ID)
}

// SetTimer sets or replaces a timer. Names are per namespace: that of the fact,
// else that of the event.
func (t *Tx) SetTimer(m Timer) {
	fact, err := newTimerFact(m.Fact)
	if err != nil {
		t.fail(fmt.Errorf("timer %s: %w", m.Name, err))
		return
	}
	r := &TimerRow{Namespace: envelope.Namespace(t.event), Name: m.Name, Due: m.Due.UTC().Truncate(time.Microsecond), Root: m.Root, Generation: 1, Fact: fact}
	if !m.Root {
		r.Cause = envelope.CauseOf(t.event)
	}
	if old, ok := t.stage.timers.get(r.Key()); ok {
		r.Generation = old.Generation + 1
		t.retire(old)
	}
	if t.timers == nil {
		t.timers = map[string]int{}
	}
	r.ID = envelope.EffectID(t.event.ID(), "timer/"+m.Name, t.timers[m.Name])
	t.timers[m.Name]++
	body, err := json.Marshal(fact)
	if err != nil {
		t.fail(fmt.Errorf("timer %s: %w", m.Name, err))
		return
	}
	t.Exec(`INSERT INTO fold_timers (namespace, name, id, generation, due, root, cause, correlation, hops, traceparent, fact)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (namespace, name) DO UPDATE SET id = excluded.id, generation = excluded.generation, due = excluded.due, root = excluded.root,
			cause = excluded.cause, correlation = excluded.correlation, hops = excluded.hops, traceparent = excluded.traceparent, fact = excluded.fact`,
		r.Namespace, r.Name, uuid.MustParse(r.ID), r.Generation, r.Due, r.Root, r.Cause.ID, r.Cause.Correlation, r.Cause.Hops, r.Cause.Traceparent, string(body))
	t.stage.timers.put(r.Key(), r)
	t.stage.firing.put(envelope.ResultID(t.g.service, r.ID, 0), r.Key())
}

// CancelTimer removes a timer of the event's namespace; if its fact is on its way
// already, it will do nothing.
func (t *Tx) CancelTimer(name string) {
	key := timerKey(envelope.Namespace(t.event), name)
	old, ok := t.stage.timers.get(key)
	if !ok {
		return
	}
	t.Exec("DELETE FROM fold_timers WHERE namespace = $1 AND name = $2", old.Namespace, old.Name)
	t.stage.timers.remove(key)
	t.retire(old)
}

// retire makes a timer's fact stale, should it still come.
func (t *Tx) retire(old *TimerRow) {
	fact := envelope.ResultID(t.g.service, old.ID, 0)
	t.Exec("INSERT INTO fold_timers_stale (fact, due) VALUES ($1, $2)", uuid.MustParse(fact), old.Due)
	t.stage.firing.remove(fact)
	t.stage.stale.put(fact, old.Due)
}

// fired removes the timer whose fact arrived.
func (t *Tx) fired(fact string) {
	key, ok := t.stage.firing.get(fact)
	if !ok {
		return
	}
	r, _ := t.stage.timers.get(key)
	t.Exec("DELETE FROM fold_timers WHERE namespace = $1 AND name = $2", r.Namespace, r.Name)
	t.stage.firing.remove(fact)
	t.stage.timers.remove(key)
}

func (t *Tx) fail(err error) {
	if t.err == nil {
		t.err = Invalid(err)
	}
}

// at begins the application of an event.
func (t *Tx) at(e event.Event, stream uint64) {
	t.event, t.stream, t.payload, t.timers, t.err = e, stream, nil, nil, nil
}

// Sequence is where the event being applied is in the log; for a decision of the
// service's own, where its cause is.
func (t *Tx) Sequence() uint64 { return t.stream }
