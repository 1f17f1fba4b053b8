package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// reconcileAlone reconciles while no other process of the service does, and makes
// the service's first start where it is one.
func (l *Log) reconcileAlone(ctx context.Context, conn *pgx.Conn) error {
	k, err := l.at()
	if err != nil {
		return err
	}
	lock := "freshet/" + l.service + "/open"
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", lock); err != nil {
		return err
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(hashtextextended($1, 0))", lock); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	fresh, err := l.reconcile(ctx, k, conn)
	if err != nil {
		return fmt.Errorf("reconcile with the log: %w", err)
	}
	if fresh {
		return l.activate(ctx, k, conn)
	}
	return nil
}

// reconcile makes the outbox know everything that the log has of the service:
// more than it does where PostgreSQL was restored or lost. It reports whether the
// service never ran on this log.
func (l *Log) reconcile(ctx context.Context, k *link, conn *pgx.Conn) (fresh bool, err error) {
	io := quote(l.schema + "_io")
	// The log before the counter: another process may record and publish meanwhile,
	// and what the log had by then is below a counter that is read later.
	last, lastErr := l.lastOwn(ctx, k)
	if lastErr != nil && !errors.Is(lastErr, epoch.ErrNoMessage) {
		return false, lastErr
	}
	var counter int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+io+".counter").Scan(&counter); err != nil {
		return false, fmt.Errorf("read the counter: %w", err)
	}
	count, err := l.importArchived(ctx, k, conn, uint64(counter))
	if err != nil {
		return false, fmt.Errorf("import from the archive: %w", err)
	}
	switch {
	case lastErr != nil:
		// Nothing was recorded, or all of it lies before the log's first event.
	case last.sequence > count:
		l.logger.Warn("the log knows more of this service than its database; importing", "database", count, "log", last.sequence)
		if err := l.importOwn(ctx, k, conn, count, last); err != nil {
			return false, fmt.Errorf("import from the log: %w", err)
		}
		count = last.sequence
	default:
		var own []byte
		if err := conn.QueryRow(ctx, "SELECT event FROM "+io+".outbox WHERE sequence = $1", int64(last.sequence)).Scan(&own); err != nil {
			return false, fmt.Errorf("read the outbox: %w", err)
		}
		if !bytes.Equal(own, last.data) {
			return false, alarmf("event %d of %s in the log (at %d) is not the one in the outbox: another history", last.sequence, l.service, last.stream)
		}
	}
	if err := l.wasRestored(ctx, conn); err != nil {
		return false, err
	}
	l.relay.raise(&l.relay.recorded, count)
	l.relay.raise(&l.relay.published, last.sequence)
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
	return false, l.learnDecided(ctx, k, conn, count)
}

// recentCauses is how many decisions are looked at to learn how far was decided: one
// on an event that had been parked lies far back.
const recentCauses = 256

// learnDecided raises how far was decided to what the outbox tells that the tables do
// not know yet, because they were restored or lost. A service decides in the log's
// order: what comes before the cause of a decision was decided on, also where nothing
// came of it, and a newer version of the fold has no say in it.
func (l *Log) learnDecided(ctx context.Context, k *link, conn *pgx.Conn, count uint64) error {
	io, fold := quote(l.schema+"_io"), quote(l.schema)
	rows, err := conn.Query(ctx, "SELECT sequence, cause FROM "+io+".outbox WHERE cause IS NOT NULL AND sequence > coalesce((SELECT sequence FROM "+fold+".fold_sources WHERE source = $1), 0) ORDER BY sequence DESC LIMIT $2",
		sourcePrefix+l.service, recentCauses)
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
	_, last, err := k.bounds(ctx)
	if err != nil {
		return err
	}
	var through uint64
	err = l.readPast(ctx, FromLog, uint64(position), last, func(c chunk) error { //nolint:gosec // a position of the log
		for _, v := range c {
			l.open(v)
			if all, known := causes[v.id]; known {
				if through = v.stream; !all {
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

// wasRestored tells what a database that went back while this process lives has
// lost: what was recorded and is in neither the log nor the archive. Nothing is
// recorded while it looks.
func (l *Log) wasRestored(ctx context.Context, conn *pgx.Conn) error {
	l.counter.mu.Lock()
	defer l.counter.mu.Unlock()
	var counter int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+quote(l.schema+"_io")+".counter").Scan(&counter); err != nil {
		return fmt.Errorf("read the counter: %w", err)
	}
	if count := uint64(counter); l.counter.value > count {
		l.logger.Error("PostgreSQL went back while this process ran, and facts that were not in the log yet are gone", "first", count+1, "last", l.counter.value)
		l.relay.recorded.Store(count)
		l.relay.published.Store(min(l.relay.published.Load(), count))
		l.counter.value = 0
	}
	l.counter.known = false
	return nil
}

// importArchived copies the service's events above a counter from the archive into
// the outbox, where the log no longer has what follows the position: it was trimmed
// or a newer epoch begins later. It returns the new counter.
func (l *Log) importArchived(ctx context.Context, k *link, conn *pgx.Conn, counter uint64) (uint64, error) {
	first, _, err := k.bounds(ctx)
	if err != nil {
		return 0, err
	}
	var position, own int64
	err = conn.QueryRow(ctx, "SELECT sequence, coalesce((SELECT sequence FROM "+quote(l.schema)+".fold_sources WHERE source = $1), 0) FROM "+quote(l.schema)+".fold_position",
		sourcePrefix+l.service).Scan(&position, &own)
	if err != nil {
		return 0, fmt.Errorf("read the position: %w", err)
	}
	from := uint64(position) + 1
	if counter < uint64(own) {
		from = 1 // the outbox is older than the fold
	}
	if from >= first || first <= 1 {
		return counter, nil
	}
	if l.archive == nil {
		return 0, alarmf("%s applied the log up to %d, the log begins at %d, and there is no archive to read", l.service, position, first)
	}
	var entries []*entry
	next := counter + 1
	flush := func() error {
		err := l.importChunk(ctx, conn, entries)
		entries = nil
		return err
	}
	err = l.readPast(ctx, FromLog, from-1, first-1, func(batch chunk) error {
		for _, v := range batch {
			l.open(v)
			if !v.own || v.sequence < next {
				continue
			}
			n, err := l.imported(v, next)
			if err != nil {
				return err
			}
			entries = append(entries, n)
			next++
		}
		if len(entries) < maxPublish {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil && next > counter+1 {
		l.logger.Warn("the archive knew more of this service than its database; imported", "database", counter, "archive", next-1)
	}
	return next - 1, err
}

// imported makes an outbox' entry of an event of the service's own.
func (l *Log) imported(v *logEvent, next uint64) (*entry, error) {
	if v.decode(l.codec); v.err != nil {
		return nil, fmt.Errorf("%d of the log: %w", v.stream, v.err)
	}
	if v.sequence != next {
		return nil, alarmf("the log has event %d of %s after %d", v.sequence, l.service, next-1)
	}
	subject, err := Subject(v.event)
	if err != nil {
		return nil, fmt.Errorf("%d of the log: %w", v.stream, err)
	}
	n := &entry{id: v.id, sequence: v.sequence, subject: subject, bytes: v.data, event: v.event}
	if v.decision {
		n.cause = Causation(v.event)
	} else {
		n.digest = factDigest(v.event)
	}
	return n, nil
}

// importOwn copies the service's events above a sequence from the log into the
// outbox, and facts into the inbox.
func (l *Log) importOwn(ctx context.Context, k *link, conn *pgx.Conn, above uint64, last stored) error {
	s, err := k.js.Stream(ctx, k.stream)
	if err != nil {
		return err
	}
	own := epoch.ReadFrom(1)
	own.FilterSubjects = []string{ownSubjects(l.service)}
	c, err := s.OrderedConsumer(ctx, own)
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	next := above + 1
	var chunk []*entry
	for {
		soon, cancel := context.WithTimeout(ctx, silence) // it is there
		m, err := messages.Next(jetstream.NextContext(soon))
		cancel()
		if err != nil {
			return fmt.Errorf("the service's own events in the log: %w", err)
		}
		where, err := m.Metadata()
		if err != nil {
			return err
		}
		v := l.newLogEvent(where.Sequence.Stream, m.Subject(), m.Headers(), m.Data())
		if v.sequence == 0 {
			v.decode(l.codec)
		}
		if v.sequence >= next {
			n, err := l.imported(v, next)
			if err != nil {
				return err
			}
			chunk = append(chunk, n)
			next++
		}
		done := v.stream >= last.stream
		if len(chunk) >= maxPublish || done {
			if err := l.importChunk(ctx, conn, chunk); err != nil {
				return err
			}
			chunk = nil
		}
		if done {
			return nil
		}
	}
}

func (l *Log) importChunk(ctx context.Context, conn *pgx.Conn, chunk []*entry) error {
	if len(chunk) == 0 {
		return nil
	}
	io := quote(l.schema + "_io")
	var b pgx.Batch
	for _, n := range chunk {
		id := uuid.MustParse(n.id)
		var cause *string
		if n.digest == nil {
			cause = &n.cause
		} else {
			b.Queue("INSERT INTO "+io+".inbox (id, digest, sequence) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", id, n.digest, int64(n.sequence))
		}
		b.Queue("INSERT INTO "+io+".outbox (sequence, id, cause, digest, subject, event) VALUES ($1, $2, $3, $4, $5, $6)", int64(n.sequence), id, cause, n.digest, n.subject, n.bytes)
		if through := l.activatedThrough(n.event); through > 0 {
			b.Queue("INSERT INTO "+io+".decided (through) VALUES ($1) ON CONFLICT (one) DO UPDATE SET through = greatest(decided.through, excluded.through)", through)
		}
	}
	b.Queue("UPDATE "+io+".counter SET sequence = $1", int64(chunk[len(chunk)-1].sequence))
	return conn.SendBatch(ctx, &b).Close()
}

const activated = "service_activated"

// activatedThrough reads service_activated: up to where the service decided nothing.
func (l *Log) activatedThrough(e event.Event) int64 {
	var p struct {
		Through int64 `json:"through"`
	}
	if e.Type() != typePrefix+l.service+".v1."+activated || json.Unmarshal(e.Data(), &p) != nil {
		return 0
	}
	return p.Through
}

// activate is a service's first start: what the log has already, it applies
// without deciding, and says so.
func (l *Log) activate(ctx context.Context, k *link, conn *pgx.Conn) error {
	_, last, err := k.bounds(ctx)
	if err != nil {
		return err
	}
	decided := fmt.Sprintf("INSERT INTO %s.decided (through) VALUES (%d);", quote(l.schema+"_io"), last)
	if last == 0 {
		if _, err := conn.Exec(ctx, decided); err != nil {
			return fmt.Errorf("first start: %w", err)
		}
		return nil
	}
	payload := fmt.Appendf(nil, `{"service":%q,"through":%d}`, l.service, last)
	draft := jsonDraft(l.service, activated, "default", l.service, payload)
	n, err := l.factEntry(draft, keyID(l.service, "default", []string{activated}), Cause{}, "")
	if err != nil {
		return err
	}
	l.counter.mu.Lock()
	defer l.counter.mu.Unlock()
	if err := l.refreshCounter(ctx, conn); err != nil {
		return err
	}
	if err := l.copyFacts(ctx, conn, []*entry{n}, decided); err != nil {
		return fmt.Errorf("first start: %w", err)
	}
	l.recorded([]*entry{n})
	l.mu.Lock()
	l.through = last
	l.mu.Unlock()
	return nil
}

// The index is looked into once per event or number, whatever the planner knows of the
// outbox: of a young one it knows nothing, and would read all of it for every batch.
const (
	decisionsOfSQL = `SELECT o.cause, o.event FROM unnest($1::text[]) AS v(id)
	CROSS JOIN LATERAL (SELECT sequence, cause, event FROM %s.outbox WHERE cause = v.id OFFSET 0) o ORDER BY o.sequence`
	decisionsAtSQL = `SELECT o.cause, o.event FROM unnest($1::bigint[]) AS v(sequence)
	CROSS JOIN LATERAL (SELECT cause, event FROM %s.outbox WHERE sequence = v.sequence OFFSET 0) o ORDER BY v.sequence`
)

// A pastDecision is one of the outbox: as folds see it, without its sequence, and as
// it was recorded.
type pastDecision struct {
	event.Event
	data []byte
}

// decisionsOf are the decisions in the outbox that events of a batch led to, by cause,
// in their order. A trial asks only what was set aside.
func (l *Log) decisionsOf(ctx context.Context, q Reader, batch []*logEvent) (map[string][]pastDecision, error) {
	ids := make([]string, len(batch))
	for i, v := range batch {
		if v.id == "" {
			v.decode(l.codec)
		}
		ids[i] = v.id
	}
	// An event may be in the log twice, and its decisions were made once.
	slices.Sort(ids)
	return l.readDecisions(ctx, q, decisionsOfSQL, slices.Compact(ids))
}

// decisionsAt are the decisions that have these numbers in the outbox.
func (l *Log) decisionsAt(ctx context.Context, q Reader, sequences []int64) (map[string][]pastDecision, error) {
	return l.readDecisions(ctx, q, decisionsAtSQL, sequences)
}

func (l *Log) readDecisions(ctx context.Context, q Reader, sql string, which any) (map[string][]pastDecision, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(sql, quote(l.schema+"_io")), which)
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	found := map[string][]pastDecision{}
	var cause string
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&cause, &data}, func() error {
		e, err := l.codec.Decode(data)
		if err != nil {
			return alarmf("a decision in the outbox cannot be read: %w", err)
		}
		if !l.anew || e.Type() == l.parkedType {
			e.SetExtension(extSequence, nil)
			found[cause] = append(found[cause], pastDecision{e, data})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	return found, nil
}

// checkPosition holds what was applied against the log.
func (l *Log) checkPosition(ctx context.Context, k *link) error {
	first, last, err := k.bounds(ctx)
	if err != nil {
		return err
	}
	l.sawEnd(last)
	l.mu.Lock()
	sequence, digest := l.mem.sequence, l.mem.digest
	l.mu.Unlock()
	switch {
	case sequence > last:
		return alarmf("%s applied the log up to %d, and it ends at %d", l.service, sequence, last)
	case sequence+1 < first && l.archive == nil:
		return alarmf("%s applied the log up to %d, it begins at %d, and there is no archive to read", l.service, sequence, first)
	case sequence > 0:
		var data []byte
		if sequence >= first {
			m, err := l.messageAt(ctx, k, sequence)
			if err != nil {
				return fmt.Errorf("check the position: %w", err)
			}
			data = m.data
		} else if l.archive != nil {
			err := l.readPast(ctx, FromLog, sequence-1, sequence, func(c chunk) error {
				data = c[0].data
				return nil
			})
			if err != nil {
				return fmt.Errorf("check the position: %w", err)
			}
		}
		if sum := digestOf(data); data != nil && !bytes.Equal(sum, digest) {
			return alarmf("event %d of the log is not the one that %s applied", sequence, l.service)
		}
	}
	l.mu.Lock()
	l.horizon = last
	l.mu.Unlock()
	return nil
}

// hintEvery is how often a process that does not lead looks at what was applied.
const hintEvery = 200 * time.Millisecond
