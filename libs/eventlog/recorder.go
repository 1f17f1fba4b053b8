package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxGroup is how many facts share a transaction at most.
const maxGroup = 2000

// A request is what one caller wants recorded: all of it or nothing.
type request struct {
	ctx      context.Context
	entries  []*entry
	receipts []Receipt
	err      error
	done     chan struct{}
}

// Record makes facts durable: they are in the outbox when it returns, all or
// none, in order, and will be in the log. It takes facts only, of this service.
func (l *Log) Record(ctx context.Context, facts ...Fact) ([]Receipt, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	entries := make([]*entry, len(facts))
	for i, f := range facts {
		var id string
		if len(f.Key) > 0 {
			id = keyID(l.service, Namespace(f.Event), f.Key)
		} else {
			v7, err := uuid.NewV7()
			if err != nil {
				return nil, err
			}
			id = v7.String()
		}
		e, err := l.factEntry(f.Event, id, f.Cause, f.Actor)
		if err != nil {
			return nil, err
		}
		entries[i] = e
	}
	return l.submit(ctx, entries)
}

// factEntry completes and encodes a fact.
func (l *Log) factEntry(draft event.Event, id string, cause Cause, actor string) (*entry, error) {
	if l.isDecision(draft.Type()) {
		return nil, fmt.Errorf("eventlog: %s is a decision; only decide adds it", draft.Type())
	}
	e, err := place(draft, l.service, id, cause, l.clock.Now(), actor)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	n, err := newEntry(l.codec, e)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %w", err)
	}
	n.digest = factDigest(e)
	return n, nil
}

func (l *Log) submit(ctx context.Context, entries []*entry) ([]Receipt, error) {
	if p := l.trouble[troubleRelay].Load(); p != nil {
		var a *alarm
		if errors.As(*p, &a) {
			return nil, fmt.Errorf("%w: %w", ErrStopped, *p)
		}
	}
	r := &request{ctx: ctx, entries: entries, done: make(chan struct{})}
	select {
	case l.requests <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.stopped:
		return nil, ErrStopped
	}
	select {
	case <-r.done:
		return r.receipts, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.stopped:
		select {
		case <-r.done:
			return r.receipts, r.err
		default:
			return nil, ErrStopped
		}
	}
}

// RecordAndWait records facts and waits until the service's own fold has applied
// them. A fact that was parked, or waits behind one that was, is ErrParked.
func (l *Log) RecordAndWait(ctx context.Context, facts ...Fact) ([]Receipt, error) {
	receipts, err := l.Record(ctx, facts...)
	if err != nil {
		return nil, err
	}
	var last uint64
	for _, r := range receipts {
		last = max(last, r.Sequence)
	}
	source := sourcePrefix + l.service
	for {
		l.mu.Lock()
		applied, changed := l.mem.sources[source].sequence >= last, l.changed
		var parked error
		for _, r := range receipts {
			if p, ok := l.mem.parked.get(r.ID); ok {
				parked = p.err()
			}
		}
		l.mu.Unlock()
		if applied {
			return receipts, parked
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return receipts, ctx.Err()
		case <-l.stopped:
			return receipts, ErrStopped
		}
	}
}

// The counter is the service's next sequence, as this process knows it. Its lock
// is held from numbering to commit, so that sequences commit in order.
type counter struct {
	mu    sync.Mutex
	value uint64
	known bool

	buffer []byte // of the COPY under way
}

// errCounter: another process recorded; read the counter again.
var errCounter = errors.New("the counter was moved by another process")

// refresh reads the counter where it is not known. The lock is held.
func (l *Log) refreshCounter(ctx context.Context, q Reader) error {
	if l.counter.known {
		return nil
	}
	var v int64
	if err := q.QueryRow(ctx, "SELECT sequence FROM "+quote(l.schema+"_io")+".counter").Scan(&v); err != nil {
		return fmt.Errorf("read the counter: %w", err)
	}
	if uint64(v) < l.counter.value {
		l.restored()
		return fmt.Errorf("%w: its counter is %d and was %d", errRestored, v, l.counter.value)
	}
	l.counter.value, l.counter.known = uint64(v), true
	return nil
}

// recorded moves the counter and hands committed entries to the relay. The
// counter's lock is held.
func (l *Log) recorded(entries []*entry) {
	l.counter.value += uint64(len(entries))
	l.relay.offer(entries)
	l.metrics.recorded.Add(float64(len(entries)))
}

// counterError tells a lost counter or outbox race from other errors.
func (l *Log) counterError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.SchemaName == l.schema+"_io" &&
		(pg.Code == "23502" && pg.TableName == "counter" || pg.Code == "23505" && pg.ConstraintName == "outbox_pkey") {
		return errCounter
	}
	return err
}

func (l *Log) runRecorder(ctx context.Context) {
	for {
		var group []*request
		select {
		case r := <-l.requests:
			group = append(group, r)
		case <-ctx.Done():
			return
		}
		// Drain what waits; who comes while this group commits makes the next.
		n := len(group[0].entries)
	drain:
		for n < maxGroup {
			select {
			case r := <-l.requests:
				group, n = append(group, r), n+len(r.entries)
			default:
				break drain
			}
		}
		l.recordGroup(ctx, group)
	}
}

// recordGroup commits a group, trying again while somebody waits for it.
func (l *Log) recordGroup(ctx context.Context, group []*request) {
	known := map[string]Receipt{} // what the inbox has
	digests := map[string][]byte{}
	check := false
	for try := 0; len(group) > 0; try++ {
		if try > 0 {
			// The outcome of a failed commit is not known: the inbox tells.
			check = true
		}
		err := l.tryGroup(ctx, group, check, known, digests)
		if err == nil {
			l.setTrouble(troubleRecorder, nil)
			for _, r := range group {
				close(r.done)
			}
			return
		}
		if errors.Is(err, errInbox) || errors.Is(err, errCounter) {
			continue
		}
		l.setTrouble(troubleRecorder, fmt.Errorf("record: %w", err))
		gone := pause(ctx, try) != nil
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
	l.setTrouble(troubleRecorder, nil) // nobody waits for it any more
}

// errInbox: some of the facts were recorded before.
var errInbox = errors.New("recorded before")

func (l *Log) tryGroup(ctx context.Context, group []*request, check bool, known map[string]Receipt, digests map[string][]byte) error {
	if !l.admitted.Load() {
		return errors.New("the outbox does not know yet what the log has of this service")
	}
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if check {
		if err := l.lookUp(ctx, conn, group, known, digests); err != nil {
			return err
		}
	}
	l.counter.mu.Lock()
	defer l.counter.mu.Unlock()
	if err := l.refreshCounter(ctx, conn); err != nil {
		return err
	}
	var fresh []*entry
	first := map[string]*entry{}
	for _, r := range group {
		fresh = r.admit(fresh, first, known, digests)
	}
	if len(fresh) > 0 {
		if err := l.copyFacts(ctx, conn.Conn(), fresh, ""); err != nil {
			l.counter.known = false
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == "inbox_pkey" {
				return errInbox
			}
			return l.counterError(err)
		}
		l.recorded(fresh)
	}
	for _, r := range group {
		if r.err != nil {
			continue
		}
		for i, e := range r.entries {
			if k, ok := known[e.id]; ok {
				r.receipts[i] = k
			} else {
				f := first[e.id]
				r.receipts[i] = Receipt{ID: e.id, Sequence: f.sequence, Existing: f != e}
			}
		}
	}
	return nil
}

// admit adds a request's new facts to the group, or refuses the request where
// one of its keys was used for something else.
func (r *request) admit(fresh []*entry, first map[string]*entry, known map[string]Receipt, digests map[string][]byte) []*entry {
	r.err, r.receipts = nil, make([]Receipt, len(r.entries))
	added := 0
	for _, e := range r.entries {
		var old []byte
		if _, ok := known[e.id]; ok {
			old = digests[e.id]
		} else if f, ok := first[e.id]; ok {
			old = f.digest
		} else {
			first[e.id] = e
			fresh = append(fresh, e)
			added++
			continue
		}
		if !e.firstWins && !bytes.Equal(old, e.digest) {
			for _, f := range fresh[len(fresh)-added:] {
				delete(first, f.id)
			}
			r.err, r.receipts = fmt.Errorf("eventlog: %s: %w", e.id, ErrConflict), nil
			return fresh[:len(fresh)-added]
		}
	}
	return fresh
}

func (l *Log) lookUp(ctx context.Context, q Reader, group []*request, known map[string]Receipt, digests map[string][]byte) error {
	var ids []uuid.UUID
	for _, r := range group {
		for _, e := range r.entries {
			ids = append(ids, uuid.MustParse(e.id))
		}
	}
	rows, err := q.Query(ctx, "SELECT id, digest, sequence FROM "+quote(l.schema+"_io")+".inbox WHERE id = ANY($1)", ids)
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
