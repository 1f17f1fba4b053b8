package outbox

import (
	"context"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// importArchived copies the service's events above a counter from the archive into
// the outbox, where the log no longer has what follows the position: it was trimmed
// or a newer epoch begins later. It returns the new counter.
func (o *Outbox) importArchived(ctx context.Context, k *lead.LogSession, conn *pgx.Conn, counter uint64) (uint64, error) {
	first, _, err := k.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	var position, own int64
	err = conn.QueryRow(ctx, "SELECT sequence, coalesce((SELECT sequence FROM "+schema.Quote(o.schema)+".fold_sources WHERE source = $1), 0) FROM "+
		schema.Quote(o.schema)+".fold_position",
		envelope.SourcePrefix+o.service).Scan(&position, &own)
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
	if !o.source.HasArchive() {
		return 0, stall.Alarmf("%s applied the log up to %d, the log begins at %d, and there is no archive to read", o.service, position, first)
	}
	var entries []*envelope.Entry
	next := counter + 1
	flush := func() error {
		err := o.importChunk(ctx, conn, entries)
		entries = nil
		return err
	}
	err = o.source.Past(ctx, k, source.FromLog, from-1, first-1, func(batch source.Chunk) error {
		for _, v := range batch {
			o.engine.Open(v)
			if !v.Own || v.Sequence < next {
				continue
			}
			n, err := o.imported(v, next)
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
		o.logger.Warn("the archive knew more of this service than its database; imported", "database", counter, "archive", next-1)
	}
	return next - 1, err
}

// imported makes an outbox' entry of an event of the service's own.
func (o *Outbox) imported(v *engine.Event, next uint64) (*envelope.Entry, error) {
	if v.Decode(o.engine.Codec); v.Err != nil {
		return nil, fmt.Errorf("%d of the log: %w", v.Stream, v.Err)
	}
	if v.Sequence != next {
		return nil, stall.Alarmf("the log has event %d of %s after %d", v.Sequence, o.service, next-1)
	}
	subject, err := envelope.Subject(v.Event)
	if err != nil {
		return nil, fmt.Errorf("%d of the log: %w", v.Stream, err)
	}
	n := &envelope.Entry{ID: v.ID, Sequence: v.Sequence, Subject: subject, Bytes: v.Data, Event: v.Event}
	if v.Decision {
		n.Cause = envelope.Causation(v.Event)
	} else {
		n.Digest = envelope.FactDigest(v.Event)
	}
	return n, nil
}

// importOwn copies the service's events above a sequence from the log into the
// outbox, and facts into the inbox.
func (o *Outbox) importOwn(ctx context.Context, k *lead.LogSession, conn *pgx.Conn, above uint64, last source.Stored) error {
	s, err := k.JS.Stream(ctx, k.Stream)
	if err != nil {
		return err
	}
	own := attest.ReadFrom(1)
	own.FilterSubjects = []string{envelope.OwnSubjects(o.service)}
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
	var chunk []*envelope.Entry
	for {
		soon, cancel := context.WithTimeout(ctx, source.Silence) // it is there
		m, err := messages.Next(jetstream.NextContext(soon))
		cancel()
		if err != nil {
			return fmt.Errorf("the service's own events in the log: %w", err)
		}
		where, err := m.Metadata()
		if err != nil {
			return err
		}
		v := o.source.Message(where.Sequence.Stream, m.Subject(), m.Headers(), m.Data())
		if v.Sequence == 0 {
			v.Decode(o.engine.Codec)
		}
		if v.Sequence >= next {
			n, err := o.imported(v, next)
			if err != nil {
				return err
			}
			chunk = append(chunk, n)
			next++
		}
		done := v.Stream >= last.Stream
		if len(chunk) >= maxPublish || done {
			if err := o.importChunk(ctx, conn, chunk); err != nil {
				return err
			}
			chunk = nil
		}
		if done {
			return nil
		}
	}
}

func (o *Outbox) importChunk(ctx context.Context, conn *pgx.Conn, chunk []*envelope.Entry) error {
	if len(chunk) == 0 {
		return nil
	}
	io := schema.IO(o.schema)
	var b pgx.Batch
	for _, n := range chunk {
		id := uuid.MustParse(n.ID)
		var cause *string
		if n.Digest == nil {
			cause = &n.Cause
		} else {
			b.Queue("INSERT INTO "+io+".inbox (id, digest, sequence) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", id, n.Digest, int64(n.Sequence))
		}
		b.Queue("INSERT INTO "+io+".outbox (sequence, id, cause, digest, subject, event) VALUES ($1, $2, $3, $4, $5, $6)", int64(n.Sequence), id, cause,
			n.Digest, n.Subject, n.Bytes)
		if through := o.ActivatedThrough(n.Event); through > 0 {
			b.Queue("INSERT INTO "+io+".decided (through) VALUES ($1) ON CONFLICT (one) DO UPDATE SET through = greatest(decided.through, excluded.through)", through)
		}
	}
	b.Queue("UPDATE "+io+".counter SET sequence = $1", int64(chunk[len(chunk)-1].Sequence))
	return conn.SendBatch(ctx, &b).Close()
}
