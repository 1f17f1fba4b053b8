package eventlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

// A Log is one service's part in the log: it records the service's facts, folds
// everybody's events into its tables, decides, and runs its effects and timers.
type Log struct {
	fold       *Fold
	service    string
	ownTypes   string // how the types of the service's events begin
	parkedType string // of the decision that an event is parked
	schema     string
	tables     string
	attested   bool // by audit, before anything is published or applied
	isDecision func(string) bool
	types      map[string]*eventType
	codec      Codec
	pool       *pgxpool.Pool
	ownsPool   bool
	plainSQL   bool
	nc         *nats.Conn
	clock      clock.Clock
	archive    *archive.Reader
	judge      *judge // of a replay that verifies; else nil
	anew       bool   // of a trial: what was decided is decided anew
	halts      chan *halt
	renewing   atomic.Pointer[Progress]
	logger     *slog.Logger
	metrics    *metrics
	handlers   map[string]Handler
	holder     int64 // of leases; an advisory lock says that it lives
	batchLimit int
	moveSQL    string // moves the position

	requests chan *request
	counter  counter
	relay    *relay
	work     *work
	timers   *timers

	mu      sync.Mutex
	mem     memory
	changed chan struct{}
	horizon uint64 // the log's end when this process took the lead
	through uint64 // decided; up to here only what was decided then is applied

	link     atomic.Pointer[link]
	admitted atomic.Bool // the outbox knows what the log has of the service
	endLead  context.CancelCauseFunc
	// attachedAtOpen: where nobody attests, the log was found before Run, so that
	// what others record in between is not taken for the past.
	attachedAtOpen bool

	end     atomic.Uint64 // last sequence seen in the log
	saved   atomic.Uint64 // position as committed
	leading atomic.Bool
	trouble [troubles]atomic.Pointer[error]
	heldUp  [troubles]atomic.Pointer[holdUp]
	started atomic.Bool
	stopped chan struct{} // closed when Run has ended
}

// Parts of a log that can be held up, each with its own error in Status.
const (
	troubleRecorder = iota
	troubleRelay
	troubleReader
	troubleProcessor
	troubleSession
	troubles
)

// Open creates the service's schemas if they are missing and reads its state.
// Nothing is recorded, applied or executed before Run; where audit attests, not
// before that, and not before the outbox knows what the log has of the service.
func Open(ctx context.Context, o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var err error
	var r [8]byte
	if _, err := rand.Read(r[:]); err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	own := typePrefix + o.Fold.Service + ".v1."
	l := &Log{
		fold: o.Fold, service: o.Fold.Service, ownTypes: own, parkedType: own + "event_parked", schema: schemaOf(o.Fold.Service), tables: tablesDigest(o.Fold),
		attested: o.Attested, isDecision: o.IsDecision, codec: o.Codec, nc: o.NATS,
		clock: o.Clock, archive: o.Archive, plainSQL: o.PlainSQL, logger: o.Logger.With("service", o.Fold.Service),
		handlers: map[string]Handler{}, holder: int64(binary.BigEndian.Uint64(r[:]) >> 2),
		batchLimit: o.Batch, requests: make(chan *request, maxGroup), changed: make(chan struct{}), stopped: make(chan struct{}),
		halts: make(chan *halt),
	}
	for _, h := range o.Handlers {
		if _, twice := l.handlers[h.Kind]; twice || h.Kind == "" || h.Run == nil || h.Failed == nil {
			return nil, fmt.Errorf("eventlog: the handler of effect %q is there twice or incomplete", h.Kind)
		}
		l.handlers[h.Kind] = h
	}
	l.types = l.eventTypes()
	l.moveSQL = fmt.Sprintf(moveSQL, quote(l.schema), quote(l.schema+"_io"))
	l.relay = newRelay(l)
	l.work = newWork(l)
	l.timers = newTimers(l)
	if l.metrics, err = newMetrics(o.Metrics, l); err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	if l.pool, l.ownsPool, err = withSearchPath(ctx, o.Pool, l.service); err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	if err := l.prepare(ctx); err != nil {
		l.close()
		return nil, fmt.Errorf("eventlog: open %s: %w", l.service, err)
	}
	return l, nil
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
	if o.Batch < 1 || o.Batch > maxBatch {
		o.Batch = maxBatch
	}
	for typ := range o.Fold.decide {
		if o.IsDecision(typ) && serviceOf(typ) == o.Fold.Service {
			return fmt.Errorf("eventlog: %s decides on its own decision %s", o.Fold.Service, typ)
		}
	}
	return nil
}

func (l *Log) prepare(ctx context.Context) error {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	lock := "freshet/" + l.service + "/open"
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", lock); err != nil {
		return err
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(hashtextextended($1, 0))", lock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return l.prepareSchemas(ctx, tx) }); err != nil {
		return err
	}
	// Statements prepared before the tables were there would be stale.
	if err := conn.Conn().DeallocateAll(ctx); err != nil {
		return err
	}
	if !l.attested {
		l.attachedAtOpen = true
		if err := l.attach(ctx, conn.Conn(), false); err != nil {
			return err
		}
	}
	outdated, err := l.outdated(ctx, conn)
	if err != nil || outdated { // its rebuild brings the memory
		return err
	}
	return l.loadMemory(ctx, conn.Conn())
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
	recorder.Go(func() { l.runRecorder(outer) })
	session.Go(func() { l.runSession(ctx) })
	<-ctx.Done()
	session.Wait()
	stopOuter()
	recorder.Wait()
	close(l.stopped)
	l.signal()
	l.close()
	return nil
}

// close ends the connections that are the log's own.
func (l *Log) close() {
	if k := l.link.Load(); k != nil {
		k.close()
	}
	if l.ownsPool {
		l.pool.Close()
	}
}

// State reads the fold's tables.
func (l *Log) State() Reader { return l.pool }

// Changed is closed when the next batch of events has been applied.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Log) signal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Status is how far the service is. It asks the log's server for the end; where
// that fails, Err says so and End is the last one seen.
func (l *Log) Status(ctx context.Context) Status {
	var s Status
	k, err := l.at()
	if err == nil {
		var last uint64
		if _, last, err = k.bounds(ctx); err == nil {
			l.sawEnd(last)
		}
	}
	s.Err = err
	now := l.clock.Now()
	l.mu.Lock()
	s.Position = l.mem.sequence
	for _, p := range l.mem.parked.all() {
		if !p.queued {
			s.Parked++
		}
	}
	due := int64(l.timers.due(now))
	l.mu.Unlock()
	if l.relay.lag() > 0 && !l.leading.Load() && err == nil {
		// Another process relays; the log tells how far it is.
		if m, err := l.lastOwn(ctx, k); err == nil {
			l.relay.raise(&l.relay.published, m.sequence)
		}
	}
	s.End = max(l.end.Load(), s.Position)
	s.Outbox = l.relay.lag()
	s.Effects = l.work.count() + due
	for i := range l.trouble {
		if p := l.trouble[i].Load(); p != nil {
			s.Err = errors.Join(s.Err, *p)
		}
	}
	return s
}

func (l *Log) sawEnd(sequence uint64) {
	for {
		old := l.end.Load()
		if sequence <= old || l.end.CompareAndSwap(old, sequence) {
			return
		}
	}
}

// heldUp is after how long something that holds a part up is worth a warning: a start,
// and a server's restart, end sooner.
const heldUp = 2 * time.Second

// setTrouble notes what holds a part up, nil once it goes on, and warns where it stays.
func (l *Log) setTrouble(part int, err error) {
	if err == nil {
		l.trouble[part].Store(nil)
		l.heldUp[part].Store(nil)
		return
	}
	l.trouble[part].Store(&err)
	since := &holdUp{}
	if !l.heldUp[part].CompareAndSwap(nil, since) {
		return
	}
	time.AfterFunc(heldUp, func() {
		select {
		case <-l.stopped:
			return
		default:
		}
		if now := l.trouble[part].Load(); now != nil && l.heldUp[part].Load() == since {
			l.logger.Warn("held up", "err", *now)
		}
	})
}

// A holdUp lasts from a part's first error until it goes on, whatever its errors say.
type holdUp struct{ _ byte }

// An alarm stops a part for good: going on would lose or double events. It is
// ErrAlarm.
type alarm struct{ error }

func (a *alarm) Unwrap() error { return a.error }

func (a *alarm) Is(target error) bool { return target == ErrAlarm }

func alarmf(format string, args ...any) error { return &alarm{fmt.Errorf(format, args...)} }

// pause waits before another try: from 10 ms to 2 s.
func pause(ctx context.Context, try int) error {
	return pauseFor(ctx, min(10*time.Millisecond<<min(try, 8), 2*time.Second))
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
