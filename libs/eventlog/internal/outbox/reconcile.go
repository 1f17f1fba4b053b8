package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
)

// Reconcile reconciles while no other process of the service does, and makes
// the service's first start where it is one.
func (o *Outbox) Reconcile(ctx context.Context, conn *pgx.Conn) error {
	k, err := o.sessions.Current()
	if err != nil {
		return err
	}
	unlock, err := lead.LockOpen(ctx, conn, o.service)
	if err != nil {
		return err
	}
	defer unlock()
	fresh, err := o.reconcile(ctx, k, conn)
	if err != nil {
		return fmt.Errorf("reconcile with the log: %w", err)
	}
	if fresh {
		return o.activate(ctx, k, conn)
	}
	return nil
}

// reconcile makes the outbox know everything that the log has of the service:
// more than it does where PostgreSQL was restored or lost. It reports whether the
// service never ran on this log.
func (o *Outbox) reconcile(ctx context.Context, k *lead.LogSession, conn *pgx.Conn) (fresh bool, err error) {
	io := schema.IO(o.schema)
	// The log before the counter: another process may record and publish meanwhile,
	// and what the log had by then is below a counter that is read later.
	last, lastErr := o.source.LastOwn(ctx, k)
	if lastErr != nil && !errors.Is(lastErr, attest.ErrNoMessage) {
		return false, lastErr
	}
	var counter int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+io+".counter").Scan(&counter); err != nil {
		return false, fmt.Errorf("read the counter: %w", err)
	}
	count, err := o.importArchived(ctx, k, conn, uint64(counter))
	if err != nil {
		return false, fmt.Errorf("import from the archive: %w", err)
	}
	switch {
	case lastErr != nil:
		// Nothing was recorded, or all of it lies before the log's first event.
	case last.Sequence > count:
		o.logger.Warn("the log knows more of this service than its database; importing", "database", count, "log", last.Sequence)
		if err := o.importOwn(ctx, k, conn, count, last); err != nil {
			return false, fmt.Errorf("import from the log: %w", err)
		}
		count = last.Sequence
	default:
		var own []byte
		if err := conn.QueryRow(ctx, "SELECT event FROM "+io+".outbox WHERE sequence = $1", int64(last.Sequence)).Scan(&own); err != nil {
			return false, fmt.Errorf("read the outbox: %w", err)
		}
		if !bytes.Equal(own, last.Data) {
			return false, stall.Alarmf("event %d of %s in the log (at %d) is not the one in the outbox: another history", last.Sequence, o.service, last.Stream)
		}
	}
	if err := o.detectRollback(ctx, conn); err != nil {
		return false, err
	}
	o.Relay.raise(&o.Relay.recorded, count)
	o.Relay.raise(&o.Relay.published, last.Sequence)
	var decided bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+io+".decided)").Scan(&decided); err != nil {
		return false, err
	}
	if !decided && count == 0 {
		return true, nil
	}
	if _, err := conn.Exec(ctx, "INSERT INTO "+io+".decided (through) VALUES (0) ON CONFLICT DO NOTHING"); err != nil {
		return false, err
	}
	return false, o.learnDecided(ctx, k, conn, count)
}

// recentCauses is how many decisions are looked at to learn how far was decided: one
// on an event that had been parked lies far back.
const recentCauses = 256

// learnDecided raises how far was decided to what the outbox tells that the tables do
// not know yet, because they were restored or lost. A service decides in the log's
// order: what comes before the cause of a decision was decided on, also where nothing
// followed from it, and a newer version of the fold has no say in it.
func (o *Outbox) learnDecided(ctx context.Context, k *lead.LogSession, conn *pgx.Conn, count uint64) error {
	io, fold := schema.IO(o.schema), schema.Quote(o.schema)
	rows, err := conn.Query(ctx, "SELECT sequence, cause FROM "+io+".outbox WHERE cause IS NOT NULL AND sequence > coalesce((SELECT sequence FROM "+fold+
		".fold_sources WHERE source = $1), 0) ORDER BY sequence DESC LIMIT $2",
		envelope.SourcePrefix+o.service, recentCauses)
	if err != nil {
		return fmt.Errorf("read what was decided on: %w", err)
	}
	causes := map[string]bool{} // whether all that was decided on it is known
	var sequence int64
	var cause string
	_, err = pgx.ForEachRow(rows, []any{&sequence, &cause}, func() error {
		// The log may have the first of some decisions only, and that as the service's last event.
		if _, newer := causes[cause]; !newer {
			causes[cause] = uint64(sequence) < count //nolint:gosec // a count
		}
		return nil
	})
	if err != nil || len(causes) == 0 {
		return err
	}
	var position int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+fold+".fold_position").Scan(&position); err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	_, last, err := k.Bounds(ctx)
	if err != nil {
		return err
	}
	var through uint64
	err = o.source.Past(ctx, k, source.FromLog, uint64(position), last, func(c source.Chunk) error { //nolint:gosec // a position of the log
		for _, v := range c {
			o.engine.Open(v)
			if all, known := causes[v.ID]; known {
				if through = v.Stream; !all {
					through--
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "UPDATE "+io+".decided SET through = $1 WHERE through < $1", int64(through)) //nolint:gosec // a position of the log
	return err
}

// detectRollback tells what a database that was rolled back while this process lives has
// lost: what was recorded and is in neither the log nor the archive. Nothing is
// recorded while it looks.
func (o *Outbox) detectRollback(ctx context.Context, conn *pgx.Conn) error {
	o.counter.mu.Lock()
	defer o.counter.mu.Unlock()
	var counter int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+schema.IO(o.schema)+".counter").Scan(&counter); err != nil {
		return fmt.Errorf("read the counter: %w", err)
	}
	if count := uint64(counter); o.counter.value > count {
		o.logger.Error("PostgreSQL was rolled back while this process ran, and facts that were not in the log yet are gone", "first", count+1, "last",
			o.counter.value)
		o.Relay.recorded.Store(count)
		o.Relay.published.Store(min(o.Relay.published.Load(), count))
		o.counter.value = 0
	}
	o.counter.known = false
	return nil
}
