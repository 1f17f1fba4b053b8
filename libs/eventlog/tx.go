package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Tx is what an apply writes with. Its statements are queued and sent together;
// a read sends what is queued first. It is valid during the apply only.
type Tx struct {
	l     *Log
	conn  *pgx.Conn
	batch *pgx.Batch
	begun bool
	stage *staged

	merger *sqlbatch.Merger // of a replay; else nil
	ahead  chan error       // outcome of what is being sent while the caller goes on; nil if nothing is

	entries []*entry // decisions, for the outbox
	tail    tailOf   // what was applied beyond the archive

	event   event.Event // being applied
	stream  uint64      // where its cause is in the log
	payload any         // of the event, a pointer, once it was read
	timers  map[string]int
	err     error
}

func newTx(l *Log, conn *pgx.Conn) *Tx {
	return &Tx{l: l, conn: conn, batch: &pgx.Batch{}, stage: l.stage()}
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
	b := t.take(ctx)
	if b.Len() == 0 {
		return t.conn.Query(ctx, sql, args...)
	}
	ahead := b.Len()
	b.Queue(sql, args...)
	results := t.conn.SendBatch(ctx, b)
	for range ahead {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // it says the same
			return nil, err
		}
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close() // it says the same
		return nil, err
	}
	return &lastRows{Rows: rows, batch: results}, nil
}

// QueryRow reads one row, with everything written so far.
func (t *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, args...)
	return oneRow{rows, err}
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
	r := &effectRow{
		id: EffectID(t.event.ID(), e.Kind, e.Ordinal), kind: e.Kind, namespace: Namespace(t.event),
		cause: CauseOf(t.event), args: args, opened: t.stream, ordinal: e.Ordinal,
	}
	r.closes = resultID(t.l.service, r.id, 0)
	if _, twice := t.stage.effects.get(r.closes); twice {
		t.fail(fmt.Errorf("effect %s with ordinal %d is opened twice", e.Kind, e.Ordinal))
		return
	}
	t.Exec(`INSERT INTO fold_effects (id, kind, namespace, cause, correlation, hops, traceparent, args, opened, ordinal)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		uuid.MustParse(r.id), r.kind, r.namespace, r.cause.ID, r.cause.Correlation, r.cause.Hops, r.cause.Traceparent, string(args), int64(r.opened), r.ordinal)
	t.stage.effects.put(r.closes, r)
	t.stage.opened = append(t.stage.opened, r)
}

// CancelEffect closes an effect without a fact; an execution of it is stopped and
// its result dropped. An effect that is not open is no error.
func (t *Tx) CancelEffect(id string) { t.closeEffect(resultID(t.l.service, id, 0)) }

func (t *Tx) closeEffect(closes string) {
	r, ok := t.stage.effects.get(closes)
	if !ok {
		return
	}
	t.Exec("DELETE FROM fold_effects WHERE id = $1", uuid.MustParse(r.id))
	t.stage.effects.remove(closes)
	t.stage.closed = append(t.stage.closed, r.id)
}

// SetTimer sets or replaces a timer. Names are per namespace: that of the fact,
// else that of the event.
func (t *Tx) SetTimer(m Timer) {
	fact, err := newTimerFact(m.Fact)
	if err != nil {
		t.fail(fmt.Errorf("timer %s: %w", m.Name, err))
		return
	}
	r := &timerRow{namespace: Namespace(t.event), name: m.Name, due: m.Due.UTC().Truncate(time.Microsecond), root: m.Root, generation: 1, fact: fact}
	if !m.Root {
		r.cause = CauseOf(t.event)
	}
	if old, ok := t.stage.timers.get(r.key()); ok {
		r.generation = old.generation + 1
		t.retire(old)
	}
	if t.timers == nil {
		t.timers = map[string]int{}
	}
	r.id = EffectID(t.event.ID(), "timer/"+m.Name, t.timers[m.Name])
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
		r.namespace, r.name, uuid.MustParse(r.id), r.generation, r.due, r.root, r.cause.ID, r.cause.Correlation, r.cause.Hops, r.cause.Traceparent, string(body))
	t.stage.timers.put(r.key(), r)
	t.stage.firing.put(resultID(t.l.service, r.id, 0), r.key())
}

// CancelTimer removes a timer of the event's namespace; if its fact is on its way
// already, it will do nothing.
func (t *Tx) CancelTimer(name string) {
	key := timerKey(Namespace(t.event), name)
	old, ok := t.stage.timers.get(key)
	if !ok {
		return
	}
	t.Exec("DELETE FROM fold_timers WHERE namespace = $1 AND name = $2", old.namespace, old.name)
	t.stage.timers.remove(key)
	t.retire(old)
}

// retire makes a timer's fact stale, should it still come.
func (t *Tx) retire(old *timerRow) {
	fact := resultID(t.l.service, old.id, 0)
	t.Exec("INSERT INTO fold_timers_stale (fact, due) VALUES ($1, $2)", uuid.MustParse(fact), old.due)
	t.stage.firing.remove(fact)
	t.stage.stale.put(fact, old.due)
}

// fired removes the timer whose fact arrived.
func (t *Tx) fired(fact string) {
	key, ok := t.stage.firing.get(fact)
	if !ok {
		return
	}
	r, _ := t.stage.timers.get(key)
	t.Exec("DELETE FROM fold_timers WHERE namespace = $1 AND name = $2", r.namespace, r.name)
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

// flush sends what is queued, in a transaction that stays open.
func (t *Tx) flush(ctx context.Context) error {
	if err := t.arrived(); err != nil {
		return err
	}
	b := t.take(ctx)
	if b.Len() == 0 {
		return nil
	}
	return t.conn.SendBatch(ctx, b).Close()
}

// goOn sends what is queued, as flush does, while the caller queues more. What becomes
// of it is known when the connection is needed next.
func (t *Tx) goOn(ctx context.Context) error {
	if err := t.arrived(); err != nil {
		return err
	}
	b, begun := t.batch, t.begun
	t.batch, t.begun = &pgx.Batch{}, true
	t.ahead = make(chan error, 1)
	go func() { t.ahead <- t.conn.SendBatch(ctx, t.whole(ctx, b, begun)).Close() }()
	return nil
}

// arrived waits for what is being sent; the connection is free then.
func (t *Tx) arrived() error {
	if t.ahead == nil {
		return nil
	}
	err := <-t.ahead
	t.ahead = nil
	return err
}

// take is what is queued, to be sent; the transaction stays open after it.
func (t *Tx) take(ctx context.Context) *pgx.Batch {
	b, begun := t.batch, t.begun
	t.batch, t.begun = &pgx.Batch{}, true
	return t.whole(ctx, b, begun)
}

// whole is what is queued, behind the transaction's begin where it has not begun.
func (t *Tx) whole(ctx context.Context, b *pgx.Batch, begun bool) *pgx.Batch {
	b = t.merged(ctx, b)
	if !begun {
		queued := b.QueuedQueries
		b = &pgx.Batch{}
		b.Queue("BEGIN")
		b.QueuedQueries = append(b.QueuedQueries, queued...)
	}
	return b
}

// merged is what is queued, in as few statements as may be where that is asked for.
func (t *Tx) merged(ctx context.Context, b *pgx.Batch) *pgx.Batch {
	if t.merger == nil {
		return b
	}
	return t.merger.Merge(ctx, b)
}

// finish commits everything. Where nothing was read on the way, all statements
// are one round trip and, without BEGIN, one implicit transaction.
func (t *Tx) finish(ctx context.Context) error {
	if err := t.arrived(); err != nil {
		return err
	}
	if t.begun {
		t.Exec("COMMIT")
	}
	if t.batch.Len() == 0 {
		return nil
	}
	err := t.conn.SendBatch(ctx, t.merged(ctx, t.batch)).Close()
	if err == nil {
		t.begun = false
	}
	return err
}

// abandon leaves the connection ready for the next transaction.
func (t *Tx) abandon(ctx context.Context) {
	_ = t.arrived() // whatever became of it is rolled back
	if t.conn.IsClosed() || t.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := t.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		_ = t.conn.Close(ctx)
	}
}

// Sequence is where the event being applied is in the log; for a decision of the
// service's own, where its cause is.
func (t *Tx) Sequence() uint64 { return t.stream }
