package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/live"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
)

// Names of the schemas that a replay works in, after the service's own.
const (
	suffixNext   = "_next"        // being rebuilt
	suffixOld    = "_old"         // was live until the swap
	suffixVerify = "_verify"      // being held against the live one
	suffixRows   = "_verify_rows" // looking for the event behind a row
)

// nearEnd is how many events a rebuild may still lack when it stops the processor
// to swap.
const nearEnd = source.ChunkEvents

// pauseFor is how long a swap may pause the processor.
const pauseFor = 30 * time.Second

var (
	// ErrReplaying: one rebuild or verification of a service runs at a time.
	ErrReplaying = errors.New("a rebuild or a verification of this service is running already")
	// ErrNotLeading: only the process that applies can put other tables in the place
	// of those it applies to.
	ErrNotLeading = errors.New("this process does not lead the service; ask the one that does")
)

// Phases of a replay.
const (
	PhaseFold    = "fold"    // applying the log
	PhaseCompare = "compare" // holding the tables against the live ones
	PhaseLocate  = "locate"  // looking for the event behind a row that differs
)

// Rebuild folds the log from its start into tables side by side with the live ones, and puts
// them in their place: what was live serves reads until then, and the service is
// paused only while the last events are applied. Any crash or error on the way
// leaves what was live as it is.
func (r *Replay) Rebuild(ctx context.Context, from source.Origin, progress func(Progress)) (Report, error) {
	if !r.leading() {
		return Report{}, ErrNotLeading
	}
	b, began, err := r.rebuilt(ctx, from, false, r.engine.Position, progress)
	if err != nil {
		return Report{}, err
	}
	err = r.processor.Pause(ctx, func(p *live.Processor) error {
		// Whoever asked may go; half a swap is none.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseFor)
		defer cancel()
		if err := p.Save(ctx); err != nil {
			return err
		}
		if err := b.Fold(ctx, from, r.engine.Position(), nil); err != nil {
			return err
		}
		if err := r.swap(ctx, b); err != nil {
			return err
		}
		return p.Reload(ctx)
	})
	if err != nil {
		return Report{}, errors.Join(err, b.Close(ctx))
	}
	return r.report(b, from, began), r.swapped(ctx, b)
}

func (r *Replay) report(b *Shadow, from source.Origin, began time.Time) Report {
	out := Report{Service: r.engine.Service(), From: from, Events: b.Position(), Version: r.engine.Version(), Equal: true, Parked: b.parked}
	out.rate(began)
	return out
}

// rebuilt folds a shadow until it is near to where the service is. What it returns
// is to be swapped in, or closed.
func (r *Replay) rebuilt(ctx context.Context, from source.Origin, parks bool, target func() uint64, progress func(Progress)) (_ *Shadow,
	began time.Time, err error) {
	conn, err := r.replayLock(ctx)
	if err != nil {
		return nil, began, err
	}
	b, err := r.shadowOn(ctx, conn, r.engine.Schema()+suffixNext)
	if err != nil {
		return nil, began, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close(ctx))
		}
	}()
	b.parks = parks
	began = time.Now()
	until := target()
	if err := b.Fold(ctx, from, until, reporter(progress, PhaseFold, until)); err != nil {
		return nil, began, err
	}
	// From here on what was folded has to survive a crash.
	if err := b.keep(ctx); err != nil {
		return nil, began, err
	}
	for until = target(); until-b.Position() > nearEnd; until = target() {
		if err := b.Fold(ctx, from, until, reporter(progress, PhaseFold, until)); err != nil {
			return nil, began, err
		}
	}
	return b, began, nil
}

// replayLock is a connection that holds the lock of replays.
func (r *Replay) replayLock(ctx context.Context) (*pgx.Conn, error) {
	conn, err := schema.Dedicated(ctx, r.pool)
	if err != nil {
		return nil, err
	}
	var free bool
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "freshet/"+r.engine.Service()+"/replay").Scan(&free)
	if err == nil && !free {
		err = ErrReplaying
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// keep makes the tables as durable and as well known to the planner as live ones.
func (b *Shadow) keep(ctx context.Context) error {
	tables, err := sqlbatch.Tables(ctx, b.conn, b.schema)
	if err != nil {
		return err
	}
	for name := range tables {
		if _, err := b.conn.Exec(ctx, "ALTER TABLE "+schema.Quote(b.schema)+"."+schema.Quote(name)+" SET LOGGED"); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		if _, err := b.conn.Exec(ctx, "ANALYZE "+schema.Quote(b.schema)+"."+schema.Quote(name)); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// swap puts the shadow tables in the place of the live ones, in one transaction.
// Nobody applies meanwhile: the live position is held, and must be where it was.
// Events that the rebuild parked are recorded with it.
func (r *Replay) swap(ctx context.Context, b *Shadow) error {
	_, unlock := r.outbox.LockCounter()
	defer unlock()
	fold, next, old := schema.Quote(r.engine.Schema()), schema.Quote(b.schema), schema.Quote(r.engine.Schema()+suffixOld)
	err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on; LOCK TABLE "+fold+".fold_position IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		var live int64
		if err := tx.QueryRow(ctx, "SELECT sequence FROM "+fold+".fold_position").Scan(&live); err != nil {
			return err
		}
		if uint64(live) > b.Position() { //nolint:gosec // a position of the log
			return fmt.Errorf("the live tables moved on to %d while the rebuilt ones stood at %d", live, b.Position())
		}
		var batch pgx.Batch
		if len(b.entries) > 0 {
			if err := r.outbox.RefreshCounter(ctx, tx); err != nil {
				return err
			}
			r.outbox.QueueDecisions(&batch, b.entries)
		}
		batch.Queue("DROP SCHEMA IF EXISTS " + old + " CASCADE")
		batch.Queue("ALTER SCHEMA " + fold + " RENAME TO " + old)
		batch.Queue("ALTER SCHEMA " + next + " RENAME TO " + fold)
		return tx.SendBatch(ctx, &batch).Close()
	})
	if len(b.entries) > 0 {
		err = r.outbox.Decided(b.entries, err)
	}
	if err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	return nil
}

// swapped cleans up after a swap. What was live is dropped once its last reader
// has gone; if that takes long, the next start does it.
func (r *Replay) swapped(ctx context.Context, b *Shadow) error {
	// Statements of older connections may be planned for tables of another version.
	r.pool.Reset()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if _, err := b.conn.Exec(ctx, "SET lock_timeout = '10s'; DROP SCHEMA IF EXISTS "+schema.Quote(r.engine.Schema()+suffixOld)+" CASCADE"); err != nil {
		r.logger.Warn("the tables before the rebuild stay until the next start", "error", err)
	}
	return schema.Release(ctx, b.conn)
}

// Tidy drops what a replay that was killed left behind.
func (r *Replay) Tidy(ctx context.Context) error {
	conn, err := r.replayLock(ctx)
	if errors.Is(err, ErrReplaying) {
		return nil // and it tidies up after itself
	}
	if err != nil {
		return err
	}
	defer func() { _ = schema.Release(context.WithoutCancel(ctx), conn) }()
	if _, err := conn.Exec(ctx, "SET lock_timeout = '5s'"); err != nil {
		return err
	}
	for _, suffix := range []string{suffixNext, suffixOld, suffixVerify, suffixRows} {
		if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema.Quote(r.engine.Schema()+suffix)+" CASCADE"); err != nil {
			r.logger.Warn("what an earlier replay left could not be dropped", "schema", r.engine.Schema()+suffix, "error", err)
		}
	}
	return nil
}

// Renew rebuilds a fold of another version, or one that is still empty, before
// the service applies anything. The older tables serve reads meanwhile, and nothing
// is applied to them.
func (r *Replay) Renew(ctx context.Context) error {
	r.renewing.Store(&Progress{Phase: PhaseFold})
	defer r.renewing.Store(nil)
	// How far was decided: later events are for the processor.
	until, err := r.outbox.DecidedThrough(ctx, r.pool)
	if err != nil {
		return err
	}
	r.logger.Info("the fold is rebuilt side by side with what is live", "version", r.engine.Version(), "events", until)
	b, began, err := r.rebuilt(ctx, source.FromLog, true, func() uint64 { return until }, func(p Progress) { r.renewing.Store(&p) })
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := r.swap(ctx, b); err != nil {
		return errors.Join(err, b.Close(ctx))
	}
	done := r.report(b, source.FromLog, began)
	r.logger.Info("rebuilt", "events", done.Events, "seconds", done.Took, "parked", done.Parked)
	return r.swapped(ctx, b)
}

// Renewing is how far the rebuild at a start is; nil where none is under way.
func (r *Replay) Renewing() *Progress { return r.renewing.Load() }
