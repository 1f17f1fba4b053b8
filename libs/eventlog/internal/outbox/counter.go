package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The counter is the service's next sequence, as this process knows it. Its lock
// is held from numbering to commit, so that sequences commit in order.
type counter struct {
	mu    sync.Mutex
	value uint64
	known bool

	buffer []byte // of the COPY under way
}

// ErrCounter: another process recorded; read the counter again.
var ErrCounter = errors.New("the counter was moved by another process")

// refresh reads the counter where it is not known. The lock is held.
func (o *Outbox) refreshCounter(ctx context.Context, q engine.Reader) error {
	if o.counter.known {
		return nil
	}
	var v int64
	if err := q.QueryRow(ctx, "SELECT sequence FROM "+schema.IO(o.schema)+".counter").Scan(&v); err != nil {
		return fmt.Errorf("read the counter: %w", err)
	}
	if uint64(v) < o.counter.value {
		o.rolledBack()
		return fmt.Errorf("%w: its counter is %d and was %d", ErrRolledBack, v, o.counter.value)
	}
	o.counter.value, o.counter.known = uint64(v), true
	return nil
}

// recorded moves the counter and hands committed entries to the relay. The
// counter's lock is held.
func (o *Outbox) recorded(entries []*envelope.Entry) {
	o.counter.value += uint64(len(entries))
	o.Relay.offer(entries)
	o.count(len(entries))
}

// counterError tells a lost counter or outbox race from other errors.
func (o *Outbox) counterError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.SchemaName == o.schema+"_io" &&
		(pg.Code == "23502" && pg.TableName == "counter" || pg.Code == "23505" && pg.ConstraintName == "outbox_pkey") {
		return ErrCounter
	}
	return err
}

// LockCounter holds the counter until unlock is called: whoever numbers decisions in a
// transaction holds it until that is committed. It says whether the counter is known.
func (o *Outbox) LockCounter() (known bool, unlock func()) {
	o.counter.mu.Lock()
	return o.counter.known, o.counter.mu.Unlock
}

// RefreshCounter reads the counter where it is not known. The counter is held.
func (o *Outbox) RefreshCounter(ctx context.Context, q engine.Reader) error {
	return o.refreshCounter(ctx, q)
}

// QueueDecisions numbers decisions and queues the statements that record them in the
// transaction that applies their causes, the counter's last. The counter is held, and
// known.
func (o *Outbox) QueueDecisions(b *pgx.Batch, decisions []*envelope.Entry) {
	o.queueDecisions(b, decisions)
}

// Decided says what became of the transaction that QueueDecisions queued for. The counter
// is held.
func (o *Outbox) Decided(decisions []*envelope.Entry, err error) error {
	if err != nil {
		o.counter.known = false
		return o.counterError(err)
	}
	o.recorded(decisions)
	return nil
}

// ForgetCounter has the counter read again: another process may have recorded meanwhile.
func (o *Outbox) ForgetCounter() {
	o.counter.mu.Lock()
	defer o.counter.mu.Unlock()
	o.counter.known = false
}

// ErrRolledBack: the database was rolled back to an earlier state.
var ErrRolledBack = errors.New("PostgreSQL was rolled back to an earlier state")
