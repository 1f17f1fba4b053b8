package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/effects"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/live"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/replay"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Log is one service's part in the log: it records the service's facts, folds
// everybody's events into its tables, decides, and runs its effects and timers. It is
// the lifecycle only: what does these things is in the rooms under internal (see doc.go).
type Log struct {
	engine    *engine.Engine
	outbox    *outbox.Outbox
	source    *source.Source
	sessions  *lead.LogSessions
	lease     *lead.Lease
	processor *live.Processor
	scheduler *effects.Scheduler
	timers    *effects.Timers
	replay    *replay.Replay
	board     *stall.Board
	logger    *slog.Logger
	pool      *pgxpool.Pool
	closePool func() // where the pool is the log's own

	// attachedAtOpen: where nobody attests, the log was found before Run, so that
	// what others record in between is not taken for the past.
	attachedAtOpen bool
	started        atomic.Bool
}

// Open creates the service's schemas if they are missing and reads its state.
// Nothing is recorded, applied or executed before Run; where audit attests, not
// before that, and not before the outbox knows what the log has of the service.
func Open(ctx context.Context, o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	service := o.Fold.Service
	pool, owned, err := schema.Pool(ctx, o.Pool, service)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	l := &Log{logger: o.Logger.With("service", service), pool: pool, closePool: func() {}}
	if owned {
		l.closePool = pool.Close
	}
	if err := l.furnish(o); err != nil {
		l.close()
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	if err := l.prepare(ctx); err != nil {
		l.close()
		return nil, fmt.Errorf("eventlog: open %s: %w", service, err)
	}
	return l, nil
}

// furnish makes the rooms and tells them of each other.
func (l *Log) furnish(o Options) (err error) {
	service := o.Fold.Service
	counts := newMetrics(service)
	l.board = stall.NewBoard(l.logger)
	l.engine = engine.New(engine.Config{
		Fold: o.Fold, IsDecision: o.IsDecision, Codec: o.Codec, Decisions: outbox.Decisions(service, o.Codec), Logger: l.logger,
	})
	l.sessions = lead.NewLogSessions(l.engine, l.pool, o.NATS, o.Attested, l.board, l.logger, l.rolledBack)
	l.source = source.New(l.engine, o.Archive, l.board)
	l.outbox = outbox.New(l.engine, l.sessions, l.source, outbox.Config{
		Pool: l.pool, NATS: o.NATS, Clock: o.Clock, Board: l.board, Logger: l.logger,
		Count: func(n int) { counts.recorded.Add(float64(n)) }, RolledBack: l.rolledBack,
	})
	if l.lease, err = lead.NewLease(l.pool, service, l.logger); err != nil {
		return err
	}
	if l.scheduler, err = effects.NewScheduler(o.Handlers, l.outbox, l.pool, l.engine, l.lease.Holder(), l.logger); err != nil {
		return err
	}
	l.timers = effects.NewTimers(l.engine, l.outbox, o.Clock, l.logger)
	l.processor = live.New(l.engine, l.outbox, l.board, l.logger, o.Batch, live.Hooks{
		Committed: func(c engine.Changes) {
			counts.applied.Add(float64(c.Applied))
			l.scheduler.Change(c.Opened, c.Closed)
			if c.Timers {
				l.timers.Poke()
			}
		},
		Loaded: l.loaded,
	})
	l.replay = replay.New(l.engine, replay.Config{
		Pool: l.pool, Sessions: l.sessions, Source: l.source, Outbox: l.outbox, Processor: l.processor,
		Leading: l.lease.Leading, PlainSQL: o.PlainSQL, Logger: l.logger,
	})
	return counts.register(o.Metrics, l)
}

func (o *Options) check() error {
	switch {
	case o.Fold == nil || o.Fold.Service == "":
		return errors.New("eventlog: a log needs a fold with its service's name")
	case o.Codec == nil || o.IsDecision == nil:
		return errors.New("eventlog: a log needs a codec and the division into facts and decisions")
	case o.Pool == nil || o.NATS == nil:
		return errors.New("eventlog: a log needs a database and a NATS connection")
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, typ := range o.Fold.Decides() {
		if o.IsDecision(typ) && envelope.ServiceOf(typ) == o.Fold.Service {
			return fmt.Errorf("eventlog: %s decides on its own decision %s: decide on its cause instead", o.Fold.Service, typ)
		}
	}
	return nil
}

func (l *Log) prepare(ctx context.Context) error {
	beating, stop := context.WithCancel(ctx)
	var heartbeat sync.WaitGroup
	heartbeat.Go(func() { l.lease.Heartbeat(beating, nil) })
	defer heartbeat.Wait()
	defer stop()
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	unlock, err := lead.LockOpen(ctx, conn.Conn(), l.engine.Service())
	if err != nil {
		return err
	}
	defer unlock()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return errors.Join(schema.PrepareIO(ctx, tx, l.engine.Schema()), l.engine.Tables().Prepare(ctx, tx))
	})
	if err != nil {
		return err
	}
	// Statements prepared before the tables existed would be stale.
	if err := conn.Conn().DeallocateAll(ctx); err != nil {
		return err
	}
	if !l.sessions.Attested() {
		l.attachedAtOpen = true
		if err := l.attach(ctx, conn.Conn(), false); err != nil {
			return err
		}
	}
	outdated, err := l.engine.Tables().Outdated(ctx, conn)
	if err != nil || outdated { // its rebuild brings the memory
		return err
	}
	return l.load(ctx, conn.Conn())
}

// load takes up the committed state.
func (l *Log) load(ctx context.Context, q Reader) error {
	if err := l.engine.Load(ctx, q); err != nil {
		return err
	}
	l.loaded()
	return nil
}

// loaded brings everybody in line with what the tables say.
func (l *Log) loaded() {
	l.source.SawEnd(l.engine.Position())
	l.scheduler.Reset(l.engine.Effects())
	l.timers.Poke()
	l.engine.Signal()
}

// Run records, relays, applies, decides and executes until the context ends, and
// returns when all of it has stopped. A log runs once.
func (l *Log) Run(ctx context.Context) error {
	if !l.started.CompareAndSwap(false, true) {
		return errors.New("eventlog: a log runs once")
	}
	// The recorder outlives effects and timers, so that what they finish is recorded.
	outer, stopOuter := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOuter()
	var recorder, session sync.WaitGroup
	recorder.Go(func() { l.outbox.Run(outer) })
	session.Go(func() { l.runSession(ctx) })
	<-ctx.Done()
	session.Wait()
	stopOuter()
	recorder.Wait()
	l.outbox.Stop()
	l.board.Close()
	l.engine.Signal()
	l.close()
	return nil
}

// close ends the connections that are the log's own.
func (l *Log) close() {
	if l.sessions != nil {
		l.sessions.Close()
	}
	l.closePool()
}

// State reads the fold's tables.
func (l *Log) State() Reader { return l.pool }

// Changed is closed when the next batch of events has been applied.
func (l *Log) Changed() <-chan struct{} { return l.engine.Changed() }

// Status is how far the service is. It asks the log's server for the end; where
// that fails, Err says so and End is the last one seen.
func (l *Log) Status(ctx context.Context) Status {
	k, err := l.sessions.Current()
	if err == nil {
		var last uint64
		if _, last, err = k.Bounds(ctx); err == nil {
			l.source.SawEnd(last)
		}
	}
	s := Status{Position: l.engine.Position()}
	parked, _ := l.engine.Parked()
	due := l.timers.Due()
	if l.outbox.Relay.Lag() > 0 && !l.lease.Leading() && err == nil {
		// Another process relays; the log tells how far it is.
		if m, err := l.source.LastOwn(ctx, k); err == nil {
			l.outbox.Relay.Published(m.Sequence)
		}
	}
	s.End, s.Parked = max(l.source.End(), s.Position), int64(parked)
	s.Outbox = l.outbox.Relay.Lag()
	s.Effects = l.scheduler.Count() + due
	s.Err = errors.Join(err, l.board.Err())
	return s
}
