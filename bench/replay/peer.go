package main

import (
	"context"
	"fmt"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// A source calls fn with the first n events of the log.
type source func(ctx context.Context, n int, fn func(data []byte) error) error

// peer folds the log as a plain consumer does, into a schema of its own.
type peer struct {
	postgres string
	conn     *pgx.Conn
}

// empty makes the empty table, with the promise of a rebuild: what is lost in a
// crash can be folded again, so that no commit waits for the disk.
func (p *peer) empty(ctx context.Context) (err error) {
	if p.conn != nil {
		_ = p.conn.Close(ctx)
	}
	if p.conn, err = pgx.Connect(ctx, p.postgres); err != nil {
		return err
	}
	_, err = p.conn.Exec(ctx, "SET synchronous_commit = off; DROP SCHEMA IF EXISTS peer CASCADE; CREATE SCHEMA peer; SET search_path = peer;"+stateTables)
	return err
}

func (p *peer) state() eventlog.Reader { return p.conn }

// statement is what an event of the log writes.
func statement(data []byte) (sql string, args []any, err error) {
	e, err := events.Codec{}.Decode(data)
	if err != nil {
		return "", nil, err
	}
	switch e.Type() {
	case events.TypeDataChecked:
		p, err := events.Parse[events.DataChecked](e)
		return factSQL, []any{p.Dataset, int64(eventlog.Sequence(e))}, err //nolint:gosec // a count
	case events.TypeDataRejected:
		p, err := events.Parse[events.DataRejected](e)
		return decisionSQL, []any{p.Dataset, p.Failed}, err
	}
	return "", nil, fmt.Errorf("%s is not an event of this log", e.Type())
}

// rows commits every event by itself.
func (p *peer) rows(from source) func(ctx context.Context, n int) error {
	return func(ctx context.Context, n int) error {
		if err := p.empty(ctx); err != nil {
			return err
		}
		return from(ctx, n, func(data []byte) error {
			sql, args, err := statement(data)
			if err == nil {
				_, err = p.conn.Exec(ctx, sql, args...)
			}
			return err
		})
	}
}

// batches sends 256 events' statements in one pipeline and one transaction.
func (p *peer) batches(from source) func(ctx context.Context, n int) error {
	return func(ctx context.Context, n int) error {
		if err := p.empty(ctx); err != nil {
			return err
		}
		var b pgx.Batch
		flush := func() error {
			err := p.conn.SendBatch(ctx, &b).Close()
			b = pgx.Batch{}
			return err
		}
		err := from(ctx, n, func(data []byte) error {
			sql, args, err := statement(data)
			if err != nil {
				return err
			}
			b.Queue(sql, args...)
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
}

// decodes writes nothing: what reading and decoding alone cost one consumer.
func decodes(from source) func(ctx context.Context, n int) error {
	return func(ctx context.Context, n int) error {
		return from(ctx, n, func(data []byte) error {
			_, _, err := statement(data)
			return err
		})
	}
}
