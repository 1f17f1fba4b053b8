package main

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// peer folds the log as a plain consumer does, into a schema of its own.
type peer struct {
	postgres, nats string
	conn           *pgx.Conn
}

// state makes the empty table, with the promise of a rebuild: what is lost in a
// crash can be folded again, so that no commit waits for the disk.
func (p *peer) state(ctx context.Context) (err error) {
	if p.conn != nil {
		_ = p.conn.Close(ctx)
	}
	if p.conn, err = pgx.Connect(ctx, p.postgres); err != nil {
		return err
	}
	_, err = p.conn.Exec(ctx, "SET synchronous_commit = off; DROP SCHEMA IF EXISTS peer CASCADE; CREATE SCHEMA peer; SET search_path = peer;"+stateTables)
	return err
}

func (p *peer) check(ctx context.Context, n int) error { return stateIs(ctx, p.conn, n) }

// consume calls fn with the first n events of the log, decoded and parsed.
func (p *peer) consume(ctx context.Context, n int, fn func(event.Event) error) error {
	nc, err := nats.Connect(p.nats)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(8192))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range n {
		m, err := messages.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			return err
		}
		e, err := events.Codec{}.Decode(m.Data())
		if err != nil {
			return err
		}
		if _, err := events.Parse[events.NoteAdded](e); err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// rows commits every event by itself.
func (p *peer) rows(ctx context.Context, n int) error {
	if err := p.state(ctx); err != nil {
		return err
	}
	return p.consume(ctx, n, func(e event.Event) error {
		_, err := p.conn.Exec(ctx, upsert, e.Subject(), int64(eventlog.Sequence(e))) //nolint:gosec // a count
		return err
	})
}

// batches sends 256 events' statements in one pipeline and one transaction.
func (p *peer) batches(ctx context.Context, n int) error {
	if err := p.state(ctx); err != nil {
		return err
	}
	var b pgx.Batch
	flush := func() error {
		err := p.conn.SendBatch(ctx, &b).Close()
		b = pgx.Batch{}
		return err
	}
	err := p.consume(ctx, n, func(e event.Event) error {
		b.Queue(upsert, e.Subject(), int64(eventlog.Sequence(e))) //nolint:gosec // a count
		if b.Len() < 256 {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// decodes writes nothing: what reading and decoding alone cost one consumer.
func (p *peer) decodes(ctx context.Context, n int) error {
	return p.consume(ctx, n, func(event.Event) error { return nil })
}
