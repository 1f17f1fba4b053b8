package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MaxBatch is how many events share a transaction at most.
const MaxBatch = 256

// ErrPosition: another process applied events; this one no longer leads.
var ErrPosition = errors.New("another process moved the position")

// A position that was moved past events that changed nothing is saved with the
// next change, or when so many were passed, or when nothing has come for a while.
// Losing it costs nothing: those events are passed once more.
const (
	maxUnsaved = 16 * MaxBatch
	saveIdle   = 500 * time.Millisecond
)

// A Processor applies the log to the live fold, on one connection.
type Processor struct {
	engine *engine.Engine
	outbox *outbox.Outbox
	board  *stall.Board
	logger *slog.Logger
	hooks  Hooks
	limit  int // events of a batch
	move   string
	pauses chan *pause

	conn *pgx.Conn
	mode engine.Mode
	end  uint64 // the log's end when this process took the lead

	savedSequence uint64 // the position as the database has it
	savedDigest   []byte
	unsaved       map[string]bool // sources that moved since
	tail          lead.Tail       // applied since, beyond the archive
	epoch         string
	tailAfter     uint64 // what is kept of what was applied begins after this sequence
}

// Hooks are told of what was committed.
type Hooks struct {
	Committed func(engine.Changes)
	Loaded    func() // the engine has the state of other tables
}

// New returns a processor that has no connection yet. At most limit events share a
// transaction; MaxBatch if it is 0.
func New(g *engine.Engine, o *outbox.Outbox, board *stall.Board, logger *slog.Logger, limit int, hooks Hooks) *Processor {
	if limit < 1 || limit > MaxBatch {
		limit = MaxBatch
	}
	move := fmt.Sprintf(moveSQL, schema.Quote(g.Schema()), schema.IO(g.Schema()))
	return &Processor{engine: g, outbox: o, board: board, logger: logger, hooks: hooks, limit: limit, move: move, pauses: make(chan *pause)}
}

// Begin makes the processor one of a process that leads: it applies through a connection
// what is in the log that a session reads. Events up to through were decided on; end is
// where the log ends.
func (p *Processor) Begin(conn *pgx.Conn, k *lead.LogSession, through, end uint64) {
	p.conn, p.mode, p.end, p.epoch = conn, engine.Mode{Through: through}, end, k.Epoch()
	if p.tailAfter = k.Archived; !k.Kept {
		p.tailAfter = math.MaxUint64 // nobody would ask for it
	}
	p.savedSequence, p.savedDigest = p.engine.PositionDigest()
	p.unsaved, p.tail = map[string]bool{}, lead.Tail{}
}

// Run applies what comes in until the context or the connection ends, another
// process takes over, or an alarm stops it. caughtUp is called once it has
// applied everything up to the horizon.
func (p *Processor) Run(ctx context.Context, in <-chan *engine.Event, caughtUp func()) error {
	live := false
	batch := make([]*engine.Event, 0, p.limit)
	for {
		if !live && p.engine.Position() >= p.end {
			live = true
			caughtUp()
		}
		batch = batch[:0]
		var idle <-chan time.Time
		if p.engine.Position() != p.savedSequence {
			idle = time.After(saveIdle)
		}
		select {
		case v := <-in:
			batch = append(batch, v)
		case h := <-p.pauses:
			h.done <- h.fn(p)
			continue
		case <-idle:
			if err := p.Save(ctx); err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.saveLast(ctx))
		}
	drain:
		for len(batch) < p.limit {
			select {
			case v := <-in:
				batch = append(batch, v)
			default:
				break drain
			}
		}
		if err := p.apply(ctx, batch); err != nil {
			return err
		}
		p.board.Set(stall.Processor, nil)
	}
}

// apply applies a batch: together, or, where that fails because of one of the
// events, each by itself, so that the faulty one can be parked.
func (p *Processor) apply(ctx context.Context, batch []*engine.Event) error {
	err := p.persist(ctx, batch, nil)
	if !engine.IsDomain(err) {
		return err
	}
	for _, v := range batch {
		for failures := 0; ; {
			err := p.persist(ctx, []*engine.Event{v}, nil)
			if err == nil {
				break
			}
			if !engine.IsDomain(err) {
				return err
			}
			if failures++; failures < 2 {
				continue
			}
			f := engine.FailureOf(err)
			p.logger.Error("event parked", "id", v.ID, "type", v.Name, "sequence", v.Stream, "reason", f.Reason, "code", f.Code, "error", err)
			if err := p.persist(ctx, []*engine.Event{v}, f); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// persist tries a batch until it is committed or it is certain that it cannot be:
// what is wrong with the infrastructure is waited out.
func (p *Processor) persist(ctx context.Context, batch []*engine.Event, park *engine.Failure) error {
	for try := 0; ; try++ {
		err := p.attempt(ctx, batch, park)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrPosition), errors.Is(err, outbox.ErrRolledBack), stall.IsAlarm(err):
			return err
		case p.conn.IsClosed():
			return fmt.Errorf("the database connection broke: %w", err)
		case errors.Is(err, outbox.ErrCounter):
			continue
		case engine.IsDomain(err) && park == nil:
			return err
		}
		p.board.Set(stall.Processor, fmt.Errorf("apply %s at %d: %w", batch[0].Name, batch[0].Stream, err))
		if err := stall.Pause(ctx, try); err != nil {
			return err
		}
	}
}

// attempt applies a batch in one transaction.
func (p *Processor) attempt(ctx context.Context, batch []*engine.Event, park *engine.Failure) (err error) {
	t := p.engine.Begin(p.conn, &p.mode)
	defer func() {
		if err != nil {
			t.Abandon(ctx)
		}
	}()
	var recorded map[string][]engine.Decision
	if batch[0].Stream <= p.end {
		if recorded, err = t.Recorded(ctx, p.conn, batch); err != nil {
			return err
		}
	}
	for _, v := range batch {
		if _, err := t.Step(ctx, v, recorded[v.ID], park); err != nil {
			return err
		}
	}
	t.Seal(batch[len(batch)-1])
	var tail lead.Tail
	for _, v := range batch {
		if v.Stream > p.tailAfter {
			tail.Add(v)
		}
	}
	if t.Unchanged() && t.Position()-p.savedSequence < maxUnsaved {
		t.Touched(func(name string) { p.unsaved[name] = true })
		p.tail = p.tail.Join(tail)
		p.committed(t.Commit())
		return nil
	}
	return p.commit(ctx, t, tail)
}

// Save moves the position in the database to where it is.
func (p *Processor) Save(ctx context.Context) error {
	for try := 0; ; try++ {
		t := p.engine.Begin(p.conn, &p.mode)
		err := p.commit(ctx, t, lead.Tail{})
		if err == nil {
			return nil
		}
		t.Abandon(ctx)
		if errors.Is(err, ErrPosition) || p.conn.IsClosed() {
			return err
		}
		p.board.Set(stall.Processor, fmt.Errorf("save the position: %w", err))
		if err := stall.Pause(ctx, try); err != nil {
			return err
		}
	}
}

// saveLast saves the position once more before the end, if it can be done at once.
func (p *Processor) saveLast(ctx context.Context) error {
	if p.engine.Position() == p.savedSequence {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return p.commit(ctx, p.engine.Begin(p.conn, &p.mode), lead.Tail{})
}

// commit writes the outbox and moves the position, from the value read.
func (p *Processor) commit(ctx context.Context, t *engine.Transaction, tail lead.Tail) error {
	names, sequences, digests := t.Sources(p.unsaved)
	decisions := t.Decisions()
	if len(decisions) > 0 {
		known, unlock := p.outbox.LockCounter()
		defer unlock()
		if !known {
			// What is queued fails by itself, not as the question that follows it.
			if err := t.Flush(ctx); err != nil {
				return err
			}
		}
		if err := p.outbox.RefreshCounter(ctx, t); err != nil {
			return err
		}
	}
	// A position that is not where it was read becomes null, which it must not.
	tail = p.tail.Join(tail)
	t.Exec(p.move, names, sequences, digests, int64(t.Position()), p.epoch, t.Digest(), t.Now(), int64(p.savedSequence), p.savedDigest,
		int64(p.engine.Version()), //nolint:gosec // positions of the log
		tail.Sources, tail.Sequences, tail.Digests)
	if len(decisions) > 0 {
		p.outbox.QueueDecisions(t.Batch(), decisions)
	}
	err := t.Finish(ctx)
	if len(decisions) > 0 {
		err = p.outbox.Decided(decisions, err)
	}
	if err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23502" && pg.TableName == "fold_position" {
			return ErrPosition
		}
		return err
	}
	p.savedSequence, p.savedDigest = t.Position(), t.Digest()
	clear(p.unsaved)
	p.tail = lead.Tail{}
	c := t.Commit()
	p.engine.NoteSaved()
	p.committed(c)
	return nil
}

func (p *Processor) committed(c engine.Changes) {
	p.hooks.Committed(c)
	p.engine.Signal()
}

// A pause is a function that the processor runs between two batches.
type pause struct {
	fn   func(*Processor) error
	done chan error
}

// Pause runs a function on the processor, which applies nothing meanwhile.
func (p *Processor) Pause(ctx context.Context, fn func(*Processor) error) error {
	h := &pause{fn: fn, done: make(chan error, 1)}
	select {
	case p.pauses <- h:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.outbox.Stopped():
		return stall.ErrStopped
	}
	select {
	case err := <-h.done:
		return err
	case <-p.outbox.Stopped():
		return stall.ErrStopped
	}
}

// Reload takes up the position and memory of tables that were swapped in.
func (p *Processor) Reload(ctx context.Context) error {
	if err := p.conn.DeallocateAll(ctx); err != nil {
		return err
	}
	if err := p.engine.Load(ctx, p.conn); err != nil {
		return err
	}
	p.savedSequence, p.savedDigest = p.engine.PositionDigest()
	clear(p.unsaved)
	p.hooks.Loaded()
	return nil
}
