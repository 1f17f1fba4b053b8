package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
const nearEnd = chunkEvents

// haltFor is how long a swap may hold up the processor.
const haltFor = 30 * time.Second

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

// Progress is how far a replay is.
type Progress struct {
	Phase string  `json:"phase"`
	Done  uint64  `json:"done"` // events
	Of    uint64  `json:"of"`
	Took  float64 `json:"seconds"` // since the phase began
}

// A Report is the outcome of a replay.
type Report struct {
	Service   string  `json:"service"`
	From      Origin  `json:"from"`
	Events    uint64  `json:"events"`  // the position that was folded to
	Took      float64 `json:"seconds"` // of folding
	Rate      float64 `json:"events_per_second"`
	Version   int     `json:"version"` // of the fold
	Tables    int     `json:"tables,omitempty"`
	Rows      int64   `json:"rows,omitempty"`
	Decisions int64   `json:"decisions"`        // compared
	Digest    string  `json:"digest,omitempty"` // of the tables' canonical dump
	Equal     bool    `json:"equal"`
	Failed    int64   `json:"failed,omitempty"`   // differences where the version is the same
	Reported  int64   `json:"reported,omitempty"` // where another version decided
	Parked    int     `json:"parked,omitempty"`   // events that a rebuild parked anew

	Difference *Difference `json:"difference,omitempty"` // the first that fails
	Other      *Difference `json:"other,omitempty"`      // the first that is reported
}

func (r *Report) rate(began time.Time) {
	r.Took = time.Since(began).Seconds()
	if r.Took > 0 {
		r.Rate = float64(r.Events) / r.Took
	}
}

// reporter tells how far a phase is, a few times a second.
func reporter(to func(Progress), phase string, of uint64) func(uint64) {
	if to == nil {
		return nil
	}
	began := time.Now()
	var last time.Duration
	return func(done uint64) {
		if took := time.Since(began); done >= of || last == 0 || took-last > 200*time.Millisecond {
			last = took
			to(Progress{Phase: phase, Done: done, Of: of, Took: took.Seconds()})
		}
	}
}

// Rebuild folds the log from its start into tables beside the live ones, and puts
// them in their place: what was live serves reads until then, and the service is
// held up only while the last events are applied. Any crash or error on the way
// leaves what was live as it is.
func (l *Log) Rebuild(ctx context.Context, from Origin, progress func(Progress)) (Report, error) {
	if !l.leading.Load() {
		return Report{}, ErrNotLeading
	}
	b, began, err := l.rebuilt(ctx, from, false, l.position, progress)
	if err != nil {
		return Report{}, err
	}
	err = l.halt(ctx, func(p *processor) error {
		// Whoever asked may go; half a swap is none.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), haltFor)
		defer cancel()
		if err := p.save(ctx); err != nil {
			return err
		}
		if err := b.Fold(ctx, from, l.position(), nil); err != nil {
			return err
		}
		if err := l.swap(ctx, b); err != nil {
			return err
		}
		return p.reload(ctx)
	})
	if err != nil {
		return Report{}, errors.Join(err, b.Close(ctx))
	}
	return l.rebuildReport(b, from, began), l.swapped(ctx, b)
}

func (l *Log) rebuildReport(b *Beside, from Origin, began time.Time) Report {
	r := Report{Service: l.service, From: from, Events: b.Position(), Version: l.fold.Version, Equal: true, Parked: b.parked}
	r.rate(began)
	return r
}

// rebuilt folds beside until it is near to where the service is. What it returns
// is to be swapped in, or closed.
func (l *Log) rebuilt(ctx context.Context, from Origin, parks bool, target func() uint64, progress func(Progress)) (_ *Beside, began time.Time, err error) {
	conn, err := l.replayLock(ctx)
	if err != nil {
		return nil, began, err
	}
	b, err := l.beside(ctx, conn, l.schema+suffixNext)
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
func (l *Log) replayLock(ctx context.Context) (*pgx.Conn, error) {
	conn, err := l.dedicated(ctx)
	if err != nil {
		return nil, err
	}
	var free bool
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "freshet/"+l.service+"/replay").Scan(&free)
	if err == nil && !free {
		err = ErrReplaying
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// keep makes the tables as durable and as well known to the planner as live ones.
func (b *Beside) keep(ctx context.Context) error {
	tables, err := sqlbatch.Tables(ctx, b.conn, b.schema)
	if err != nil {
		return err
	}
	for name := range tables {
		if _, err := b.conn.Exec(ctx, "ALTER TABLE "+quote(b.schema)+"."+quote(name)+" SET LOGGED"); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		if _, err := b.conn.Exec(ctx, "ANALYZE "+quote(b.schema)+"."+quote(name)); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// swap puts the tables beside in the place of the live ones, in one transaction.
// Nobody applies meanwhile: the live position is held, and must be where it was.
// Events that the rebuild parked are recorded with it.
func (l *Log) swap(ctx context.Context, b *Beside) error {
	l.counter.mu.Lock()
	defer l.counter.mu.Unlock()
	fold, next, old := quote(l.schema), quote(b.schema), quote(l.schema+suffixOld)
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
			if err := l.refreshCounter(ctx, tx); err != nil {
				return err
			}
			l.queueDecisions(&batch, b.entries)
		}
		batch.Queue("DROP SCHEMA IF EXISTS " + old + " CASCADE")
		batch.Queue("ALTER SCHEMA " + fold + " RENAME TO " + old)
		batch.Queue("ALTER SCHEMA " + next + " RENAME TO " + fold)
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		if len(b.entries) > 0 {
			l.counter.known = false
		}
		return fmt.Errorf("swap: %w", err)
	}
	if len(b.entries) > 0 {
		l.recorded(b.entries)
	}
	return nil
}

// swapped cleans up after a swap. What was live is dropped once its last reader
// has gone; if that takes long, the next start does it.
func (l *Log) swapped(ctx context.Context, b *Beside) error {
	// Statements of older connections may be planned for tables of another version.
	l.pool.Reset()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if _, err := b.conn.Exec(ctx, "SET lock_timeout = '10s'; DROP SCHEMA IF EXISTS "+quote(l.schema+suffixOld)+" CASCADE"); err != nil {
		l.logger.Warn("the tables before the rebuild stay until the next start", "err", err)
	}
	return release(ctx, b.conn)
}

// tidy drops what a replay that was killed left behind.
func (l *Log) tidy(ctx context.Context) error {
	conn, err := l.replayLock(ctx)
	if errors.Is(err, ErrReplaying) {
		return nil // and it tidies up after itself
	}
	if err != nil {
		return err
	}
	defer func() { _ = release(context.WithoutCancel(ctx), conn) }()
	if _, err := conn.Exec(ctx, "SET lock_timeout = '5s'"); err != nil {
		return err
	}
	for _, suffix := range []string{suffixNext, suffixOld, suffixVerify, suffixRows} {
		if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+quote(l.schema+suffix)+" CASCADE"); err != nil {
			l.logger.Warn("what an earlier replay left could not be dropped", "schema", l.schema+suffix, "err", err)
		}
	}
	return nil
}

// renewFold rebuilds a fold of another version, or one that is still empty, before
// the service applies anything. The older tables serve reads meanwhile, and nothing
// is applied to them.
func (l *Log) renewFold(ctx context.Context) error {
	l.renewing.Store(&Progress{Phase: PhaseFold})
	defer l.renewing.Store(nil)
	// How far was decided: later events are for the processor.
	var through int64
	if err := l.pool.QueryRow(ctx, "SELECT coalesce((SELECT through FROM "+quote(l.schema+"_io")+".decided), 0)").Scan(&through); err != nil {
		return fmt.Errorf("read how far was decided: %w", err)
	}
	until := uint64(through) //nolint:gosec // a position of the log
	l.logger.Info("the fold is rebuilt beside what is live", "version", l.fold.Version, "events", until)
	b, began, err := l.rebuilt(ctx, FromLog, true, func() uint64 { return until }, func(p Progress) { l.renewing.Store(&p) })
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if err := l.swap(ctx, b); err != nil {
		return errors.Join(err, b.Close(ctx))
	}
	r := l.rebuildReport(b, FromLog, began)
	l.logger.Info("rebuilt", "events", r.Events, "seconds", r.Took, "parked", r.Parked)
	return l.swapped(ctx, b)
}

// Renewing is how far the rebuild at a start is; nil where none is under way.
func (l *Log) Renewing() *Progress { return l.renewing.Load() }

// A halt is a function that the processor runs between two batches.
type halt struct {
	fn   func(*processor) error
	done chan error
}

// halt runs a function on the processor, which applies nothing meanwhile.
func (l *Log) halt(ctx context.Context, fn func(*processor) error) error {
	h := &halt{fn: fn, done: make(chan error, 1)}
	select {
	case l.halts <- h:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.stopped:
		return ErrStopped
	}
	select {
	case err := <-h.done:
		return err
	case <-l.stopped:
		return ErrStopped
	}
}

// reload takes up the position and memory of tables that were swapped in.
func (p *processor) reload(ctx context.Context) error {
	if err := p.conn.DeallocateAll(ctx); err != nil {
		return err
	}
	if err := p.l.loadMemory(ctx, p.conn); err != nil {
		return err
	}
	p.savedSequence, p.savedDigest = p.l.mem.sequence, slices.Clone(p.l.mem.digest)
	clear(p.unsaved)
	return nil
}

// noteVersion writes down that this version decides from here on. Who decided what
// the database learned from the log alone is not known.
func (l *Log) noteVersion(ctx context.Context, conn *pgx.Conn) error {
	io := quote(l.schema + "_io")
	_, err := conn.Exec(ctx, `INSERT INTO `+io+`.versions (since, version)
		SELECT CASE WHEN EXISTS (SELECT FROM `+io+`.versions) THEN d.through
			ELSE greatest(d.through, coalesce((SELECT $2::bigint WHERE EXISTS (SELECT FROM `+io+`.outbox WHERE cause IS NOT NULL)), 0)) END, $1
		FROM `+io+`.decided d
		WHERE NOT EXISTS (SELECT FROM (SELECT version FROM `+io+`.versions ORDER BY since DESC LIMIT 1) v WHERE v.version = $1)
		ON CONFLICT (since) DO UPDATE SET version = excluded.version`, int64(l.fold.Version), int64(l.horizon)) //nolint:gosec // a position of the log
	if err != nil {
		return fmt.Errorf("note the fold's version: %w", err)
	}
	return nil
}
