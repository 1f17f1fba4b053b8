package replay

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
)

// moveSQL moves the position of a fold that nobody else moves.
const moveSQL = `WITH sources AS (
	INSERT INTO %[1]s.fold_sources (source, sequence, digest) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
	ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest
)
UPDATE %[1]s.fold_position SET sequence = $4, epoch = $5, digest = $6, now = $7`

// A Shadow is the service's fold in a schema of its own, side by side with the live
// one. It applies what was decided, at the positions where it was decided, and adds nothing
// to the log: effects and timers that are opened are rows, and stay rows.
type Shadow struct {
	r        *Replay
	engine   *engine.Engine
	session  *lead.LogSession
	mode     engine.Mode
	move     string // moves the position
	conn     *pgx.Conn
	schema   string
	merger   *sqlbatch.Merger // nil where statements are sent as they are
	verifier *verifier        // decides again; nil in a rebuild
	// Of a trial: what is applied in the place of events of the log, by their id.
	instead map[string]event.Event
	parks   bool // an event at fault is parked, as when it came live; else it ends the fold

	entries []*envelope.Entry // decisions to park, for the outbox, at the swap
	parked  int
	traced  bool // the database knows of every statement which event it is of

	// The outbox' numbers of the decisions up to a number, by the hash of their cause:
	// the first of each cause, and those after it.
	seed    maphash.Seed
	first   map[uint64]int64
	further map[uint64][]int64
	located int64
}

// An UnappliableError is an event that was applied or decided on when it came, and
// cannot be any more.
type UnappliableError struct {
	Sequence uint64
	ID, Type string
	err      error
}

func (e *UnappliableError) Error() string {
	return fmt.Sprintf("event %d (%s, %s) cannot be applied: %v", e.Sequence, e.Type, e.ID, e.err)
}
func (e *UnappliableError) Unwrap() error { return e.err }

// NewShadow makes the fold's empty tables in a schema, in the place of what is there.
// The caller closes it, which drops the schema.
func (r *Replay) NewShadow(ctx context.Context, schemaName string) (*Shadow, error) {
	conn, err := schema.Dedicated(ctx, r.pool)
	if err != nil {
		return nil, err
	}
	return r.shadowOn(ctx, conn, schemaName)
}

// shadowOn owns the connection from here on.
func (r *Replay) shadowOn(ctx context.Context, conn *pgx.Conn, name string) (_ *Shadow, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	k, err := r.sessions.Current()
	if err != nil {
		return nil, err
	}
	b := &Shadow{
		r: r, engine: r.engine.Empty(), session: k, mode: engine.Mode{Through: math.MaxUint64}, move: fmt.Sprintf(moveSQL, schema.Quote(name)),
		conn: conn, schema: name, seed: maphash.MakeSeed(), first: map[uint64]int64{}, further: map[uint64][]int64{},
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema.Quote(name)+" CASCADE"); err != nil {
			return err
		}
		return r.engine.Tables().Create(ctx, tx, name)
	})
	if err != nil {
		return nil, fmt.Errorf("make schema %s: %w", name, err)
	}
	settings := []string{"SET synchronous_commit = off", "SET timezone = 'UTC'", "SET jit = off", "SET search_path = " + schema.Quote(name)}
	if _, err := conn.Exec(ctx, strings.Join(settings, "; ")); err != nil {
		return nil, err
	}
	tables, err := sqlbatch.Tables(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	// What can be folded again need not survive a crash of the server meanwhile.
	for table := range tables {
		if _, err := conn.Exec(ctx, "ALTER TABLE "+schema.Quote(name)+"."+schema.Quote(table)+" SET UNLOGGED"); err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
	}
	if !r.plainSQL {
		b.merger = sqlbatch.New(conn, tables)
	}
	return b, nil
}

// Position is the last event of the log that was folded.
func (b *Shadow) Position() uint64 { return b.engine.Position() }

// State reads the tables, as of the position. Not while Fold runs.
func (b *Shadow) State() engine.Reader { return b.conn }

// Close drops the schema and ends the connection.
func (b *Shadow) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var err error
	if !b.conn.IsClosed() {
		if b.conn.PgConn().TxStatus() != 'I' {
			_, err = b.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
		}
		if err == nil {
			_, err = b.conn.PgConn().Exec(ctx, "DROP SCHEMA IF EXISTS "+schema.Quote(b.schema)+" CASCADE").ReadAll()
		}
	}
	return errors.Join(err, schema.Release(ctx, b.conn))
}
