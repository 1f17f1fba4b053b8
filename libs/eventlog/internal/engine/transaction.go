package engine

import (
	"context"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/jackc/pgx/v5"
)

// A Transaction is a Tx as whoever steps through events has it: handlers see the Tx.
type Transaction struct {
	Tx
	mode *Mode
}

// Merge has what is queued rewritten before it is sent.
func (t *Transaction) Merge(merge func(context.Context, *pgx.Batch) *pgx.Batch) { t.merge = merge }

// Queued is how many statements wait to be sent.
func (t *Transaction) Queued() int { return t.batch.Len() }

// Batch is what waits to be sent.
func (t *Transaction) Batch() *pgx.Batch { return t.batch }

// Unchanged says that the transaction moved the position and did nothing else.
func (t *Transaction) Unchanged() bool {
	return t.batch.Len() == 0 && !t.begun && len(t.entries) == 0
}

// Decisions are those that the transaction adds, for the outbox.
func (t *Transaction) Decisions() []*envelope.Entry { return t.entries }

// Opened are the effects that the transaction opened, in their order.
func (t *Transaction) Opened() []*EffectRow { return t.stage.opened }

// Position is what the position becomes.
func (t *Transaction) Position() uint64 { return t.stage.sequence }

// Digest is that of the event at the position.
func (t *Transaction) Digest() []byte { return t.stage.digest }

// Now is the folded time at the position.
func (t *Transaction) Now() time.Time { return t.stage.now }

// Seal completes the position by the last event that was stepped over, and each source's
// number by that source's last.
func (t *Transaction) Seal(last *Event) {
	t.stage.digest = envelope.Digest(last.Data)
	for name, data := range t.stage.touched {
		t.stage.sources[name] = sourceState{t.stage.sources[name].sequence, envelope.Digest(data)}
	}
}

// Touched calls with the name of every source that had an event.
func (t *Transaction) Touched(name func(string)) {
	for n := range t.stage.touched {
		name(n)
	}
}

// Sources are the numbers and digests of the sources that had an event, and of more.
func (t *Transaction) Sources(more map[string]bool) (names []string, sequences []int64, digests [][]byte) {
	t.Touched(func(name string) { names = append(names, name) })
	for name := range more {
		if _, ok := t.stage.touched[name]; !ok {
			names = append(names, name)
		}
	}
	sequences, digests = make([]int64, len(names)), make([][]byte, len(names))
	for i, name := range names {
		sequences[i], digests[i] = int64(t.stage.sources[name].sequence), t.stage.sources[name].digest //nolint:gosec // a count
	}
	return names, sequences, digests
}

// Flush sends what is queued, in a transaction that stays open.
func (t *Transaction) Flush(ctx context.Context) error { return t.flush(ctx) }

// Commit makes what was committed visible to the process.
func (t *Transaction) Commit() Changes { return t.g.commit(t.stage) }

// Recorded are the decisions that events led to when they came, by cause, in their
// order. Of a trial they count only as far as they park events.
func (t *Transaction) Recorded(ctx context.Context, q Reader, batch []*Event) (map[string][]Decision, error) {
	ids := make([]string, len(batch))
	for i, v := range batch {
		if v.ID == "" {
			v.Decode(t.g.Codec)
		}
		ids[i] = v.ID
	}
	// An event may be in the log twice, and its decisions were made once.
	slices.Sort(ids)
	found, err := t.g.Decisions(ctx, q, slices.Compact(ids))
	if err != nil || !t.mode.Trial {
		return found, err
	}
	for cause, all := range found {
		found[cause] = slices.DeleteFunc(all, func(d Decision) bool { return d.Type() != t.g.parkedType })
	}
	return found, nil
}

// flush sends what is queued, in a transaction that stays open.
func (t *Tx) flush(ctx context.Context) error {
	if err := t.arrived(); err != nil {
		return err
	}
	b, begun := t.take()
	if b = t.whole(ctx, b, begun); b.Len() == 0 {
		return nil
	}
	return t.conn.SendBatch(ctx, b).Close()
}

// SendAhead sends what is queued, as flush does, while the caller queues more. What becomes
// of it is known when the connection is needed next.
func (t *Transaction) SendAhead(ctx context.Context) error {
	if err := t.arrived(); err != nil {
		return err
	}
	b, begun := t.take()
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

// take is what is queued, for whole, which may be called beside what is queued next;
// the transaction stays open after it.
func (t *Tx) take() (b *pgx.Batch, begun bool) {
	b, begun = t.batch, t.begun
	t.batch, t.begun = &pgx.Batch{}, true
	return b, begun
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
	if t.merge == nil {
		return b
	}
	return t.merge(ctx, b)
}

// Finish commits everything. Where nothing was read on the way, all statements
// are one round trip and, without BEGIN, one implicit transaction.
func (t *Transaction) Finish(ctx context.Context) error {
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

// Abandon leaves the connection ready for the next transaction.
func (t *Transaction) Abandon(ctx context.Context) {
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
