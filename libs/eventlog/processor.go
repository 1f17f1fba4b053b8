package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxBatch is how many events share a transaction at most.
const maxBatch = 256

// errPosition: another process applied events; this one no longer leads.
var errPosition = errors.New("another process moved the position")

// A position that was moved past events that changed nothing is saved with the
// next change, or when so many were passed, or when nothing has come for a while.
// Losing it costs nothing: those events are passed once more.
const (
	maxUnsaved = 16 * maxBatch
	saveIdle   = 500 * time.Millisecond
)

// A processor applies the log to the fold, on one connection.
type processor struct {
	l     *Log
	conn  *pgx.Conn
	limit int // events of a batch

	savedSequence uint64 // the position as the database has it
	savedDigest   []byte
	unsaved       map[string]bool // sources that moved since
	tail          tailOf          // applied since, beyond the archive
	epoch         string
	tailAfter     uint64 // what is kept of what was applied begins after this sequence
}

func (l *Log) newProcessor(conn *pgx.Conn, k *link) *processor {
	after := k.archived
	if !k.kept {
		after = math.MaxUint64 // nobody would ask for it
	}
	return &processor{l: l, conn: conn, epoch: k.number(), tailAfter: after, limit: l.batchLimit, savedSequence: l.mem.sequence, savedDigest: l.mem.digest, unsaved: map[string]bool{}}
}

// run applies what comes in until the context or the connection ends, another
// process takes over, or an alarm stops it. caughtUp is called once it has
// applied everything up to the horizon.
func (p *processor) run(ctx context.Context, in <-chan *logEvent, caughtUp func()) error {
	live := false
	batch := make([]*logEvent, 0, p.limit)
	for {
		if !live && p.l.position() >= p.l.horizon {
			live = true
			caughtUp()
		}
		batch = batch[:0]
		var idle <-chan time.Time
		if p.l.mem.sequence != p.savedSequence {
			idle = time.After(saveIdle)
		}
		select {
		case v := <-in:
			batch = append(batch, v)
		case h := <-p.l.halts:
			h.done <- h.fn(p)
			continue
		case <-idle:
			if err := p.save(ctx); err != nil {
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
		p.l.setTrouble(troubleProcessor, nil)
	}
}

// apply applies a batch: together, or, where that fails because of one of the
// events, each by itself, so that the faulty one can be parked.
func (p *processor) apply(ctx context.Context, batch []*logEvent) error {
	err := p.persist(ctx, batch, nil)
	if !isDomain(err) {
		return err
	}
	for _, v := range batch {
		for failures := 0; ; {
			err := p.persist(ctx, []*logEvent{v}, nil)
			if err == nil {
				break
			}
			if !isDomain(err) {
				return err
			}
			if failures++; failures < 2 {
				continue
			}
			f := failureOf(err)
			p.l.logger.Error("event parked", "id", v.id, "type", v.typ, "sequence", v.stream, "reason", f.reason, "code", f.code, "err", err)
			if err := p.persist(ctx, []*logEvent{v}, f); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// persist tries a batch until it is committed or it is certain that it cannot be:
// what is wrong with the infrastructure is waited out.
func (p *processor) persist(ctx context.Context, batch []*logEvent, park *failure) error {
	for try := 0; ; try++ {
		err := p.attempt(ctx, batch, park)
		var a *alarm
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errPosition), errors.Is(err, errRestored), errors.As(err, &a):
			return err
		case p.conn.IsClosed():
			return fmt.Errorf("the database connection broke: %w", err)
		case errors.Is(err, errCounter):
			continue
		case isDomain(err) && park == nil:
			return err
		}
		p.l.setTrouble(troubleProcessor, fmt.Errorf("apply %s at %d: %w", batch[0].typ, batch[0].stream, err))
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// attempt applies a batch in one transaction.
func (p *processor) attempt(ctx context.Context, batch []*logEvent, park *failure) (err error) {
	t := newTx(p.l, p.conn)
	defer func() {
		if err != nil {
			t.abandon(ctx)
		}
	}()
	var recorded map[string][]pastDecision
	if batch[0].stream <= p.l.horizon {
		if recorded, err = p.l.decisionsOf(ctx, p.conn, batch); err != nil {
			return err
		}
	}
	for _, v := range batch {
		if err := p.one(ctx, t, v, recorded[v.id], park); err != nil {
			return err
		}
	}
	s := t.stage
	s.digest = digestOf(batch[len(batch)-1].data)
	for name, data := range s.touched {
		s.sources[name] = sourceState{s.sources[name].sequence, digestOf(data)}
	}
	for _, v := range batch {
		if v.stream > p.tailAfter {
			t.tail.add(v)
		}
	}
	if t.batch.Len() == 0 && !t.begun && len(t.entries) == 0 && s.sequence-p.savedSequence < maxUnsaved {
		for name := range s.touched {
			p.unsaved[name] = true
		}
		p.tail = p.tail.join(t.tail)
		p.l.commit(s)
		return nil
	}
	return p.commit(ctx, t)
}

// save moves the position in the database to where it is.
func (p *processor) save(ctx context.Context) error {
	for try := 0; ; try++ {
		t := newTx(p.l, p.conn)
		err := p.commit(ctx, t)
		if err == nil {
			return nil
		}
		t.abandon(ctx)
		if errors.Is(err, errPosition) || p.conn.IsClosed() {
			return err
		}
		p.l.setTrouble(troubleProcessor, fmt.Errorf("save the position: %w", err))
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// saveLast saves the position once more before the end, if it can be done at once.
func (p *processor) saveLast(ctx context.Context) error {
	if p.l.mem.sequence == p.savedSequence {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return p.commit(ctx, newTx(p.l, p.conn))
}

// commit writes the outbox and moves the position, from the value read.
func (p *processor) commit(ctx context.Context, t *Tx) error {
	l, s := p.l, t.stage
	var names []string
	for name := range s.touched {
		names = append(names, name)
	}
	for name := range p.unsaved {
		if _, ok := s.touched[name]; !ok {
			names = append(names, name)
		}
	}
	sequences, digests := make([]int64, len(names)), make([][]byte, len(names))
	for i, name := range names {
		sequences[i], digests[i] = int64(s.sources[name].sequence), s.sources[name].digest
	}
	if len(t.entries) > 0 {
		l.counter.mu.Lock()
		defer l.counter.mu.Unlock()
		if !l.counter.known {
			// What is queued fails by itself, not as the question that follows it.
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		if err := l.refreshCounter(ctx, t); err != nil {
			return err
		}
	}
	// A position that is not where it was read becomes null, which it must not.
	tail := p.tail.join(t.tail)
	t.Exec(l.moveSQL, names, sequences, digests, int64(s.sequence), p.epoch, s.digest, s.now, int64(p.savedSequence), p.savedDigest, int64(l.fold.Version),
		tail.sources, tail.sequences, tail.digests)
	if len(t.entries) > 0 {
		l.queueDecisions(t.batch, t.entries)
	}
	if err := t.finish(ctx); err != nil {
		if len(t.entries) > 0 {
			l.counter.known = false
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23502" && pg.TableName == "fold_position" {
			return errPosition
		}
		return l.counterError(err)
	}
	if len(t.entries) > 0 {
		l.recorded(t.entries)
	}
	p.savedSequence, p.savedDigest = s.sequence, s.digest
	clear(p.unsaved)
	p.tail = tailOf{}
	l.saved.Store(s.sequence)
	l.commit(s)
	return nil
}

// one applies one event of the log.
func (p *processor) one(ctx context.Context, t *Tx, v *logEvent, recorded []pastDecision, park *failure) error {
	l, s := p.l, t.stage
	if v.stream != s.sequence+1 {
		return alarmf("the log goes from %d to %d", s.sequence, v.stream)
	}
	if v.id == "" || v.sequence == 0 {
		v.decode(l.codec)
	}
	again, err := l.follows(s, v)
	if err != nil {
		return err
	}
	s.sequence = v.stream
	s.applied++
	if again {
		return nil
	}
	l.judge.passes(v)
	l.judge.note(recorded)
	if v.decision {
		return nil
	}
	if v.own {
		if _, ok := s.stale.get(v.id); ok {
			t.Exec("DELETE FROM fold_timers_stale WHERE fact = $1", uuid.MustParse(v.id))
			s.stale.remove(v.id)
			return nil
		}
		t.closeEffect(v.id)
		t.fired(v.id)
	}
	deciding := v.stream > l.through
	// What a rebuild only applies moves the folded time as it did when it was decided on.
	if v.apply == nil && v.decide == nil && len(recorded) == 0 && v.answer == "" && park == nil {
		return nil
	}
	v.decode(l.codec)
	if v.err == nil {
		if at := v.event.Time(); at.After(s.now) {
			s.now = at.UTC()
		}
	}
	switch {
	case park != nil:
		return l.park(ctx, t, v, park, nil)
	case v.answer == "" && l.blocked(t, v):
		// Before what was recorded of it: an event that waited here and was parked
		// only when its turn came must wait in a rebuild too.
		l.queueBehind(t, v)
		return nil
	case wasParked(recorded, v.id):
		return l.park(ctx, t, v, nil, recorded)
	}
	if err := l.applyAndDecide(ctx, t, v, recorded, deciding); err != nil {
		return err
	}
	if v.answer != "" {
		return p.resumeParked(ctx, t, v, recorded, deciding)
	}
	return nil
}

// follows checks that an event is the next one of its source. The last one once
// more, byte for byte, is told apart and passed over.
func (l *Log) follows(s *staged, v *logEvent) (again bool, err error) {
	if v.sequence == 0 {
		// Nothing that a service recorded: it has no place in any order.
		l.logger.Error("a message of the log cannot be read", "sequence", v.stream, "err", v.err)
		return v.service == "" || v.apply == nil && v.decide == nil, nil
	}
	source := v.source
	last := s.sources[source]
	if v.sequence == last.sequence+1 {
		s.sources[source] = sourceState{sequence: v.sequence}
		s.touched[source] = v.data
		return false, nil
	}
	if data, ok := s.touched[source]; ok {
		last.digest = digestOf(data)
	}
	if v.sequence == last.sequence && bytes.Equal(digestOf(v.data), last.digest) {
		return true, nil
	}
	return false, alarmf("%s goes from %d to %d at %d of the log", source, last.sequence, v.sequence, v.stream)
}

// applyAndDecide applies an event, decides, and applies what was decided.
// Decisions that were recorded before stand as they are.
func (l *Log) applyAndDecide(ctx context.Context, t *Tx, v *logEvent, recorded []pastDecision, deciding bool) error {
	if v.err != nil {
		return Invalid(v.err)
	}
	if err := l.callApply(ctx, t, v.event, v.stream); err != nil {
		return err
	}
	if l.judge != nil {
		if err := l.judge.decide(ctx, t, v, recorded); err != nil {
			return err
		}
	}
	var decisions []event.Event
	var drafts []event.Event
	if decide := v.decide; decide != nil && deciding {
		var err error
		if drafts, err = callDecide(ctx, decide, t, v.event, t.stage.now); err != nil {
			return err
		}
	}
	if len(drafts) == 0 && len(recorded) == 0 {
		return nil
	}
	have := make(map[string]event.Event, len(recorded))
	for _, e := range recorded {
		if e.Type() != l.parkedType {
			have[e.ID()] = e.Event
		}
	}
	cause := CauseOf(v.event)
	for i, d := range drafts {
		id := decisionID(v.id, d.Type(), i)
		if e, ok := have[id]; ok {
			decisions = append(decisions, e)
			delete(have, id)
			continue
		}
		e, err := l.addDecision(t, d, id, cause, v.event.Time())
		if err != nil {
			return err
		}
		decisions = append(decisions, e)
	}
	for _, e := range recorded {
		if _, left := have[e.ID()]; left {
			decisions = append(decisions, e.Event)
		}
	}
	for _, e := range decisions {
		if err := l.callApply(ctx, t, e, v.stream); err != nil {
			return err
		}
	}
	return nil
}

// addDecision completes a decision and puts it in the transaction's outbox.
func (l *Log) addDecision(t *Tx, draft event.Event, id string, cause Cause, at time.Time) (event.Event, error) {
	if !l.isDecision(draft.Type()) {
		return event.Event{}, Invalid(fmt.Errorf("%s is not a decision", draft.Type()))
	}
	e, err := place(draft, l.service, id, cause, at, "")
	if err != nil {
		return event.Event{}, Invalid(err)
	}
	n, err := newEntry(l.codec, e)
	if err != nil {
		return event.Event{}, Invalid(fmt.Errorf("%s: %w", draft.Type(), err))
	}
	n.cause = cause.ID
	t.entries = append(t.entries, n)
	return e, nil
}

func (l *Log) callApply(ctx context.Context, t *Tx, e event.Event, stream uint64) (err error) {
	fn := l.fold.apply[e.Type()]
	if fn == nil {
		return nil
	}
	t.at(e, stream)
	defer recovered(&err)
	if err := fn(ctx, t, e); err != nil {
		return domain(err)
	}
	return t.err
}

func callDecide(ctx context.Context, fn DecideFunc, t *Tx, e event.Event, now time.Time) (_ []event.Event, err error) {
	defer recovered(&err)
	drafts, err := fn(ctx, t, e, now)
	if err != nil {
		return nil, domain(err)
	}
	return drafts, nil
}
