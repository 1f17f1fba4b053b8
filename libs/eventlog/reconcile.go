package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// reconcile makes the outbox know everything that the log has of the service:
// more than it does where PostgreSQL was restored or lost. It reports whether the
// service never ran on this log.
func (l *Log) reconcile(ctx context.Context, conn *pgx.Conn) (fresh bool, err error) {
	io := quote(l.schema + "_io")
	var count int64
	if err := conn.QueryRow(ctx, "SELECT sequence FROM "+io+".counter").Scan(&count); err != nil {
		return false, fmt.Errorf("read the counter: %w", err)
	}
	l.relay.raise(&l.relay.recorded, uint64(count))
	last, err := l.lastOwn(ctx)
	switch {
	case errors.Is(err, errNotStored):
		// The log is empty, or was lost: whether the outbox may be published into
		// it is for its server's attestation to say.
	case err != nil:
		return false, err
	case last.sequence > uint64(count):
		l.logger.Warn("the log knows more of this service than its database; importing", "database", count, "log", last.sequence)
		if err := l.importOwn(ctx, conn, uint64(count), last); err != nil {
			return false, fmt.Errorf("import from the log: %w", err)
		}
		count = int64(last.sequence)
		l.relay.raise(&l.relay.recorded, last.sequence)
	default:
		var own []byte
		if err := conn.QueryRow(ctx, "SELECT event FROM "+io+".outbox WHERE sequence = $1", int64(last.sequence)).Scan(&own); err != nil {
			return false, fmt.Errorf("read the outbox: %w", err)
		}
		if !bytes.Equal(own, last.data) {
			return false, alarmf("event %d of %s in the log (at %d) is not the one in the outbox: another history", last.sequence, l.service, last.stream)
		}
	}
	l.relay.raise(&l.relay.published, last.sequence)
	var decided bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+io+".decided)").Scan(&decided); err != nil {
		return false, err
	}
	if decided {
		return false, nil
	}
	if count > 0 {
		_, err := conn.Exec(ctx, "INSERT INTO "+io+".decided (through) VALUES (0) ON CONFLICT DO NOTHING")
		return false, err
	}
	return true, nil
}

// importOwn copies the service's events above a sequence from the log into the
// outbox, and facts into the inbox.
func (l *Log) importOwn(ctx context.Context, conn *pgx.Conn, above uint64, last stored) error {
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return err
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{ownSubjects(l.service)}, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
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
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		v, _, err := newLogEvent(m)
		if err != nil {
			return err
		}
		if v.decode(l.codec); v.err != nil {
			return fmt.Errorf("%d of the log: %w", v.stream, v.err)
		}
		if v.sequence >= next {
			if v.sequence > next {
				return alarmf("the log has event %d of %s after %d", v.sequence, l.service, next-1)
			}
			n := &entry{id: v.id, sequence: v.sequence, subject: m.Subject(), bytes: v.data, event: v.event}
			if l.isDecision(v.typ) {
				n.cause = Causation(v.event)
			} else {
				n.digest = factDigest(v.event)
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
func (l *Log) activate(ctx context.Context, conn *pgx.Conn) error {
	_, last, err := l.bounds(ctx)
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

// recordedDecisions are the decisions in the outbox that events of a batch led
// to, by cause, in their order.
func (l *Log) recordedDecisions(ctx context.Context, q Reader, batch []*logEvent) (map[string][]event.Event, error) {
	ids := make([]string, len(batch))
	for i, v := range batch {
		if v.id == "" {
			v.decode(l.codec)
		}
		ids[i] = v.id
	}
	rows, err := q.Query(ctx, "SELECT cause, event FROM "+quote(l.schema+"_io")+".outbox WHERE cause = ANY($1) ORDER BY sequence", ids)
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	found := map[string][]event.Event{}
	var cause string
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&cause, &data}, func() error {
		e, err := l.codec.Decode(data)
		if err != nil {
			return alarmf("a decision in the outbox cannot be read: %w", err)
		}
		found[cause] = append(found[cause], e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	return found, nil
}

// checkPosition holds what was applied against the log.
func (l *Log) checkPosition(ctx context.Context) error {
	first, last, err := l.bounds(ctx)
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
		return alarmf("%s applied the log up to %d, and it begins at %d", l.service, sequence, first)
	case sequence >= first && sequence > 0:
		m, err := l.messageAt(ctx, sequence)
		if err != nil {
			return fmt.Errorf("check the position: %w", err)
		}
		if sum := digestOf(m.data); !bytes.Equal(sum, digest) {
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
