package eventlog

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// A Beside is the service's fold in a schema of its own, beside the live one. It
// applies what was decided, at the positions where it was decided, and adds nothing
// to the log: effects and timers that are opened are rows, and stay rows.
type Beside struct {
	log    *Log // the live one
	shadow *Log // its copy, whose memory and tables are this fold's
	conn   *pgx.Conn
	schema string
	merger *sqlbatch.Merger // nil where statements are sent as they are
	judge  *judge           // decides again; nil in a rebuild
	// Of a trial: what is applied in the place of events of the log, by their id.
	instead map[string]event.Event
	parks   bool // an event at fault is parked, as when it came live; else it ends the fold

	entries []*entry // decisions to park, for the outbox, at the swap
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

// newBeside makes the fold's empty tables in a schema, in the place of what is there.
// The caller closes it, which drops the schema.
func (l *Log) newBeside(ctx context.Context, schema string) (_ *Beside, err error) {
	conn, err := l.dedicated(ctx)
	if err != nil {
		return nil, err
	}
	return l.beside(ctx, conn, schema)
}

// dedicated is a connection of its own, out of the pool.
func (l *Log) dedicated(ctx context.Context) (*pgx.Conn, error) {
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return pooled.Hijack(), nil
}

// beside owns the connection from here on.
func (l *Log) beside(ctx context.Context, conn *pgx.Conn, schema string) (_ *Beside, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	b := &Beside{log: l, conn: conn, schema: schema, seed: maphash.MakeSeed(), first: map[uint64]int64{}, further: map[uint64][]int64{}}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+quote(schema)+" CASCADE"); err != nil {
			return err
		}
		return l.createFold(ctx, tx, schema)
	})
	if err != nil {
		return nil, fmt.Errorf("make schema %s: %w", schema, err)
	}
	settings := []string{"SET synchronous_commit = off", "SET timezone = 'UTC'", "SET jit = off", "SET search_path = " + quote(schema)}
	if _, err := conn.Exec(ctx, strings.Join(settings, "; ")); err != nil {
		return nil, err
	}
	tables, err := sqlbatch.Tables(ctx, conn, schema)
	if err != nil {
		return nil, err
	}
	// What can be folded again need not survive a crash of the server meanwhile.
	for name := range tables {
		if _, err := conn.Exec(ctx, "ALTER TABLE "+quote(schema)+"."+quote(name)+" SET UNLOGGED"); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	if !l.plainSQL {
		b.merger = sqlbatch.New(conn, tables)
	}
	b.shadow = l.shadowOf(schema)
	return b, nil
}

// shadowOf is a log that applies as this one, in other tables, and does nothing else.
func (l *Log) shadowOf(schema string) *Log {
	shadow := &Log{
		fold: l.fold, service: l.service, ownTypes: l.ownTypes, parkedType: l.parkedType, schema: l.schema, tables: l.tables,
		isDecision: l.isDecision, types: l.types, codec: l.codec, nc: l.nc, archive: l.archive, logger: slog.New(slog.DiscardHandler),
		moveSQL: fmt.Sprintf(moveBesideSQL, quote(schema)), through: math.MaxUint64, horizon: math.MaxUint64,
		mem: memory{sources: map[string]sourceState{}, effects: index[*effectRow]{}, timers: index[*timerRow]{},
			firing: index[string]{}, stale: index[time.Time]{}, parked: index[*parkedRow]{}, now: time.Time{}, digest: []byte{}},
	}
	shadow.link.Store(l.link.Load())
	return shadow
}

// Position is the last event of the log that was folded.
func (b *Beside) Position() uint64 { return b.shadow.mem.sequence }

// State reads the tables, as of the position. Not while Fold runs.
func (b *Beside) State() Reader { return b.conn }

// Close drops the schema and ends the connection.
func (b *Beside) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var err error
	if !b.conn.IsClosed() {
		if b.conn.PgConn().TxStatus() != 'I' {
			_, err = b.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
		}
		if err == nil {
			_, err = b.conn.PgConn().Exec(ctx, "DROP SCHEMA IF EXISTS "+quote(b.schema)+" CASCADE").ReadAll()
		}
	}
	return errors.Join(err, release(ctx, b.conn))
}

// release ends a connection and the locks that it holds, at once: a server that is
// only told goodbye takes its time.
func release(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if !conn.IsClosed() && conn.PgConn().TxStatus() == 'I' {
		_, err = conn.PgConn().Exec(ctx, "SELECT pg_advisory_unlock_all()").ReadAll()
	}
	return errors.Join(err, conn.Close(ctx))
}

// Fold folds the log from the position on, up to and with an event. Progress is
// called after every transaction.
func (b *Beside) Fold(ctx context.Context, origin Origin, until uint64, progress func(position uint64)) error {
	if b.Position() >= until {
		return nil
	}
	// Its statements are short and many: compiling them costs more than it saves.
	outbox, err := b.log.dedicated(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = outbox.Close(context.WithoutCancel(ctx)) }()
	if _, err := outbox.Exec(ctx, "SET jit = off"); err != nil {
		return err
	}
	// The first error ends all stages, and is the one to be told.
	g, inner := errgroup.WithContext(ctx)
	// No stage waits for another that is slow for a moment.
	read, ready := make(chan chunk, 4), make(chan *prepared, 4)
	g.Go(func() error {
		defer close(read)
		return b.shadow.readPast(inner, origin, b.Position(), until, func(c chunk) error { return send(inner, read, c) })
	})
	g.Go(func() error {
		defer close(ready)
		if err := b.locateDecisions(inner, outbox); err != nil {
			return err
		}
		for c := range read {
			p, err := b.prepare(inner, outbox, c)
			if err != nil {
				return err
			}
			if err := send(inner, ready, p); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for p := range ready {
			if err := b.apply(inner, p); err != nil {
				return err
			}
			if progress != nil {
				progress(b.Position())
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if b.Position() != until {
		return fmt.Errorf("the log ended at %d, and %d was to be reached", b.Position(), until)
	}
	return nil
}

// locateDecisions learns where in the outbox the decisions are that each event led to,
// so that it is asked for these only, and by number. What was decided on an event that
// was applied is in there with it; later come only decisions on events that had been
// parked, which are looked up where these are tried again. The service goes on deciding
// meanwhile: one statement sees everything up to a number, and the next one what came
// after it, so that no decision is found twice.
func (b *Beside) locateDecisions(ctx context.Context, outbox Reader) error {
	// All of them are in the index, the later ones in few rows.
	sql, args := "SELECT cause, sequence FROM "+quote(b.log.schema+"_io")+".outbox WHERE cause IS NOT NULL", []any{}
	if b.located > 0 {
		sql, args = sql+" AND sequence > $1", []any{b.located}
	}
	rows, err := outbox.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("read what was decided on: %w", err)
	}
	var cause string
	var sequence int64
	_, err = pgx.ForEachRow(rows, []any{&cause, &sequence}, func() error {
		hash := maphash.String(b.seed, cause)
		if _, some := b.first[hash]; some {
			b.further[hash] = append(b.further[hash], sequence)
		} else {
			b.first[hash] = sequence
		}
		b.located = max(b.located, sequence)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was decided on: %w", err)
	}
	return nil
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepared is a chunk with everything that its application needs.
type prepared struct {
	chunk
	recorded map[string][]pastDecision // by cause
}

// prepare decodes a chunk and finds the decisions that its events led to.
func (b *Beside) prepare(ctx context.Context, outbox Reader, c chunk) (*prepared, error) {
	var all sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 4)
	share := (len(c) + workers - 1) / workers
	for at := 0; at < len(c); at += share {
		part := c[at:min(at+share, len(c))]
		all.Go(func() {
			for i, v := range part {
				if i%32 == 0 {
					runtime.Gosched() // whoever has heard from the database goes first: it has nothing to do until then
				}
				b.shadow.open(v)
				if e, ok := b.instead[v.id]; ok && v.decoded && v.err == nil {
					v.event = e
				}
			}
		})
	}
	all.Wait()
	// Any event may have led to decisions, also of a type that is no longer consumed.
	var decided []int64
	for _, v := range c {
		hash := maphash.String(b.seed, v.id)
		if first, some := b.first[hash]; some {
			decided = append(append(decided, first), b.further[hash]...)
		}
	}
	// An event may be in the log twice, and its decisions were made once.
	slices.Sort(decided)
	decided = slices.Compact(decided)
	p := &prepared{chunk: c}
	if len(decided) == 0 {
		return p, nil
	}
	var err error
	if p.recorded, err = b.shadow.decisionsAt(ctx, outbox, decided); err != nil {
		return nil, err
	}
	return p, nil
}

// sendAhead is how many statements of a chunk are sent while more events are applied.
const sendAhead = 1024

// apply applies a chunk in one transaction. Where an event is at fault, the chunk
// is applied one by one up to it.
func (b *Beside) apply(ctx context.Context, p *prepared) error {
	err := b.attempt(ctx, p, p.chunk, nil)
	if !isDomain(err) {
		return err
	}
	for i, v := range p.chunk {
		err := b.attempt(ctx, p, p.chunk[i:i+1], nil)
		f := failureOf(err)
		if f != nil && b.judge != nil {
			// Is it the event's application that fails, or the decision on it?
			b.judge.skip = v.stream
			if again := b.attempt(ctx, p, p.chunk[i:i+1], nil); again == nil {
				b.judge.fails(v, err)
				continue
			}
		}
		if err == nil {
			continue
		}
		if f == nil {
			return err
		}
		if !b.parks {
			return &UnappliableError{Sequence: v.stream, ID: v.id, Type: v.typ, err: err}
		}
		b.log.logger.Error("event parked by a rebuild", "id", v.id, "type", v.typ, "sequence", v.stream, "reason", f.reason, "code", f.code, "err", err)
		if err := b.attempt(ctx, p, p.chunk[i:i+1], f); err != nil {
			return err
		}
		b.parked++
	}
	return nil
}

func (b *Beside) attempt(ctx context.Context, p *prepared, events chunk, park *failure) (err error) {
	t := newTx(b.shadow, b.conn)
	if !b.traced {
		t.merger = b.merger
	}
	defer func() {
		if err != nil {
			t.abandon(ctx)
		}
	}()
	b.judge.begin()
	one := &processor{l: b.shadow, conn: b.conn}
	for _, v := range events {
		if b.traced {
			t.Exec("SELECT set_config('freshet.event', $1, true)", fmt.Sprintf("%d %s %s", v.stream, v.id, v.typ))
		}
		if err := one.one(ctx, t, v, p.recorded[v.id], park); err != nil {
			return err
		}
		if t.batch.Len() >= sendAhead {
			if err := t.goOn(ctx); err != nil {
				return err
			}
		}
	}
	s := t.stage
	if len(t.entries) > 0 && !b.parks {
		return alarmf("a replay decided %s, because of %s", t.entries[0].event.Type(), t.entries[0].cause)
	}
	s.digest = digestOf(events[len(events)-1].data)
	names := make([]string, 0, len(s.touched))
	sequences, digests := make([]int64, 0, len(s.touched)), make([][]byte, 0, len(s.touched))
	for name, data := range s.touched {
		state := sourceState{s.sources[name].sequence, digestOf(data)}
		s.sources[name] = state
		names, sequences, digests = append(names, name), append(sequences, int64(state.sequence)), append(digests, state.digest)
	}
	t.Exec(b.shadow.moveSQL, names, sequences, digests, int64(s.sequence), b.shadow.epoch(), s.digest, s.now)
	if err := t.finish(ctx); err != nil {
		return err
	}
	m := &b.shadow.mem
	m.sequence, m.digest, m.now, m.sources = s.sequence, s.digest, s.now, s.sources
	s.commit()
	b.entries = append(b.entries, t.entries...)
	b.judge.commit()
	return nil
}
