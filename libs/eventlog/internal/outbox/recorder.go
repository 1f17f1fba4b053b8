package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Fact is something recorded from outside the fold. Its id is the UUIDv5 of
// Key (a UUIDv7 where Key is empty); the same key with the same payload gets the
// first answer, with another payload ErrConflict.
type Fact struct {
	Event event.Event // a draft
	Key   []string
	Cause envelope.Cause
	Actor string // opaque id of who did it
}

// A Receipt says what a fact became.
type Receipt struct {
	ID       string
	Sequence uint64 // per source
	Existing bool   // it had been recorded before
}

// ErrConflict: the natural key was recorded before with another payload.
var ErrConflict = errors.New("recorded before with another payload")

// maxGroup is how many facts share a transaction at most.
const maxGroup = 2000

// A request is what one caller wants recorded: all of it or nothing.
type request struct {
	ctx      context.Context
	entries  []*envelope.Entry
	receipts []Receipt
	err      error
	done     chan struct{}
}

// Record makes facts durable: they are in the outbox when it returns, all or
// none, in order, and will be in the log. It takes facts only, of this service.
func (o *Outbox) Record(ctx context.Context, facts ...Fact) ([]Receipt, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	entries := make([]*envelope.Entry, len(facts))
	for i, f := range facts {
		var id string
		if len(f.Key) > 0 {
			id = envelope.FactID(o.service, envelope.Namespace(f.Event), f.Key...)
		} else {
			v7, err := uuid.NewV7()
			if err != nil {
				return nil, err
			}
			id = v7.String()
		}
		e, err := o.Entry(f.Event, id, f.Cause, f.Actor)
		if err != nil {
			return nil, err
		}
		entries[i] = e
	}
	return o.Submit(ctx, entries)
}

// Entry completes and encodes a fact.
func (o *Outbox) Entry(draft event.Event, id string, cause envelope.Cause, actor string) (*envelope.Entry, error) {
	if o.engine.IsDecision(draft.Type()) {
		return nil, fmt.Errorf("eventlog: %s is a decision; only decide adds it", draft.Type())
	}
	e, err := envelope.Place(draft, o.service, id, cause, o.clock.Now(), actor)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	n, err := envelope.NewEntry(o.engine.Codec, e)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	n.Digest = envelope.FactDigest(e)
	return n, nil
}

// Submit records entries: all of them or none, in their order.
func (o *Outbox) Submit(ctx context.Context, entries []*envelope.Entry) ([]Receipt, error) {
	if err := o.board.Of(stall.Relay); stall.IsAlarm(err) {
		return nil, fmt.Errorf("%w: %w", stall.ErrStopped, err)
	}
	r := &request{ctx: ctx, entries: entries, done: make(chan struct{})}
	select {
	case o.requests <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.stopped:
		return nil, stall.ErrStopped
	}
	select {
	case <-r.done:
		return r.receipts, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.stopped:
		select {
		case <-r.done:
			return r.receipts, r.err
		default:
			return nil, stall.ErrStopped
		}
	}
}

// Run records what is submitted until the context ends.
func (o *Outbox) Run(ctx context.Context) {
	for {
		var group []*request
		select {
		case r := <-o.requests:
			group = append(group, r)
		case <-ctx.Done():
			return
		}
		// Drain what waits; who comes while this group commits makes the next.
		n := len(group[0].entries)
	drain:
		for n < maxGroup {
			select {
			case r := <-o.requests:
				group, n = append(group, r), n+len(r.entries)
			default:
				break drain
			}
		}
		o.recordGroup(ctx, group)
	}
}

// recordGroup commits a group, trying again while somebody waits for it.
func (o *Outbox) recordGroup(ctx context.Context, group []*request) {
	known := map[string]Receipt{} // what the inbox has
	digests := map[string][]byte{}
	check := false
	for try := 0; len(group) > 0; try++ {
		if try > 0 {
			// The outcome of a failed commit is not known: the inbox tells.
			check = true
		}
		err := o.tryGroup(ctx, group, check, known, digests)
		if err == nil {
			o.board.Set(stall.Recorder, nil)
			for _, r := range group {
				close(r.done)
			}
			return
		}
		if errors.Is(err, errInbox) || errors.Is(err, ErrCounter) {
			continue
		}
		o.board.Set(stall.Recorder, fmt.Errorf("record: %w", err))
		gone := stall.Pause(ctx, try) != nil
		waiting := group[:0]
		for _, r := range group {
			if gone || r.ctx.Err() != nil {
				r.err = fmt.Errorf("eventlog: record: %w", err)
				close(r.done)
				continue
			}
			waiting = append(waiting, r)
		}
		group = waiting
	}
	o.board.Set(stall.Recorder, nil) // nobody waits for it any more
}

// errInbox: some of the facts were recorded before.
var errInbox = errors.New("recorded before")

func (o *Outbox) tryGroup(ctx context.Context, group []*request, check bool, known map[string]Receipt, digests map[string][]byte) error {
	if !o.admitted.Load() {
		return errors.New("the outbox does not know yet what the log has of this service")
	}
	conn, err := o.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if check {
		if err := o.lookUp(ctx, conn, group, known, digests); err != nil {
			return err
		}
	}
	o.counter.mu.Lock()
	defer o.counter.mu.Unlock()
	if err := o.refreshCounter(ctx, conn); err != nil {
		return err
	}
	var fresh []*envelope.Entry
	first := map[string]*envelope.Entry{}
	for _, r := range group {
		fresh = r.admit(fresh, first, known, digests)
	}
	if len(fresh) > 0 {
		if err := o.copyFacts(ctx, conn.Conn(), fresh, ""); err != nil {
			o.counter.known = false
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == "inbox_pkey" {
				return errInbox
			}
			return o.counterError(err)
		}
		o.recorded(fresh)
	}
	for _, r := range group {
		if r.err != nil {
			continue
		}
		for i, e := range r.entries {
			if k, ok := known[e.ID]; ok {
				r.receipts[i] = k
			} else {
				f := first[e.ID]
				r.receipts[i] = Receipt{ID: e.ID, Sequence: f.Sequence, Existing: f != e}
			}
		}
	}
	return nil
}

// admit adds a request's new facts to the group, or refuses the request where
// one of its keys was used for something else.
func (r *request) admit(fresh []*envelope.Entry, first map[string]*envelope.Entry, known map[string]Receipt, digests map[string][]byte) []*envelope.Entry {
	r.err, r.receipts = nil, make([]Receipt, len(r.entries))
	added := 0
	for _, e := range r.entries {
		var old []byte
		if _, ok := known[e.ID]; ok {
			old = digests[e.ID]
		} else if f, ok := first[e.ID]; ok {
			old = f.Digest
		} else {
			first[e.ID] = e
			fresh = append(fresh, e)
			added++
			continue
		}
		if !e.FirstWins && !bytes.Equal(old, e.Digest) {
			for _, f := range fresh[len(fresh)-added:] {
				delete(first, f.ID)
			}
			r.err, r.receipts = fmt.Errorf("eventlog: %s: %w", e.ID, ErrConflict), nil
			return fresh[:len(fresh)-added]
		}
	}
	return fresh
}

func (o *Outbox) lookUp(ctx context.Context, q engine.Reader, group []*request, known map[string]Receipt, digests map[string][]byte) error {
	var ids []uuid.UUID
	for _, r := range group {
		for _, e := range r.entries {
			ids = append(ids, uuid.MustParse(e.ID))
		}
	}
	rows, err := q.Query(ctx, "SELECT id, digest, sequence FROM "+schema.IO(o.schema)+".inbox WHERE id = ANY($1)", ids)
	if err != nil {
		return fmt.Errorf("look into the inbox: %w", err)
	}
	var (
		id       uuid.UUID
		digest   []byte
		sequence int64
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &digest, &sequence}, func() error {
		known[id.String()] = Receipt{ID: id.String(), Sequence: uint64(sequence), Existing: true}
		digests[id.String()] = bytes.Clone(digest)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look into the inbox: %w", err)
	}
	return nil
}
