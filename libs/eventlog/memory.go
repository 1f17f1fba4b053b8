package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// An index is what the process keeps in memory of a small fold table.
type index[V any] map[string]V

func (x index[V]) get(key string) (V, bool) { v, ok := x[key]; return v, ok }
func (x index[V]) all() map[string]V        { return x }

// A layer holds a transaction's changes of an index until it is committed.
type layer[V any] struct {
	base    index[V]
	changed map[string]*V // nil: removed
}

func (y *layer[V]) get(key string) (V, bool) {
	if p, ok := y.changed[key]; ok {
		if p == nil {
			var zero V
			return zero, false
		}
		return *p, true
	}
	return y.base.get(key)
}

func (y *layer[V]) put(key string, v V) {
	if y.changed == nil {
		y.changed = map[string]*V{}
	}
	y.changed[key] = &v
}

func (y *layer[V]) remove(key string) {
	if y.changed == nil {
		y.changed = map[string]*V{}
	}
	y.changed[key] = nil
}

func (y *layer[V]) empty() bool { return len(y.base) == 0 && len(y.changed) == 0 }

func (y *layer[V]) each(fn func(string, V)) {
	for k, v := range y.base {
		if _, over := y.changed[k]; !over {
			fn(k, v)
		}
	}
	for k, v := range y.changed {
		if v != nil {
			fn(k, *v)
		}
	}
}

func (y *layer[V]) commit() {
	for k, v := range y.changed {
		if v == nil {
			delete(y.base, k)
		} else {
			y.base[k] = *v
		}
	}
}

type sourceState struct {
	sequence uint64
	digest   []byte
}

// memory mirrors the position and the small tables of the fold as committed.
type memory struct {
	epoch    string
	sequence uint64
	digest   []byte
	now      time.Time
	sources  map[string]sourceState
	effects  index[*effectRow] // by the id of the fact that closes each
	timers   index[*timerRow]  // by namespace and name
	firing   index[string]     // timers by the id of their fact
	stale    index[time.Time]  // facts of timers that were replaced, with their due time
	parked   index[*parkedRow] // by event id
}

// staged is memory as one transaction changes it.
type staged struct {
	sequence uint64
	digest   []byte
	now      time.Time
	sources  map[string]sourceState
	touched  map[string][]byte // the last event of each source that had one
	effects  layer[*effectRow]
	timers   layer[*timerRow]
	firing   layer[string]
	stale    layer[time.Time]
	parked   layer[*parkedRow]
	opened   []*effectRow
	closed   []string // ids of effects
	applied  int
}

func (l *Log) stage() *staged {
	m := &l.mem
	s := &staged{
		sequence: m.sequence, digest: m.digest, now: m.now,
		sources: make(map[string]sourceState, len(m.sources)), touched: map[string][]byte{},
		effects: layer[*effectRow]{base: m.effects}, timers: layer[*timerRow]{base: m.timers},
		firing: layer[string]{base: m.firing}, stale: layer[time.Time]{base: m.stale}, parked: layer[*parkedRow]{base: m.parked},
	}
	for k, v := range m.sources {
		s.sources[k] = v
	}
	return s
}

// commit puts the effects, timers and parked events that a transaction staged into memory.
func (s *staged) commit() {
	s.effects.commit()
	s.timers.commit()
	s.firing.commit()
	s.stale.commit()
	s.parked.commit()
}

// commit makes a committed transaction's changes visible to the process.
func (l *Log) commit(s *staged) {
	l.mu.Lock()
	l.mem.sequence, l.mem.digest, l.mem.now, l.mem.sources = s.sequence, s.digest, s.now, s.sources
	timers := len(s.timers.changed) > 0
	s.commit()
	l.mu.Unlock()
	l.sawEnd(s.sequence)
	l.metrics.applied.Add(float64(s.applied))
	l.work.change(s.opened, s.closed)
	if timers {
		l.timers.poke()
	}
	l.signal()
}

func (l *Log) position() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mem.sequence
}

// counted is the position, and how many of the service's own events lie up to it.
func (l *Log) counted() (position, own uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mem.sequence, l.mem.sources[sourcePrefix+l.service].sequence
}

// loadMemory reads the committed state.
func (l *Log) loadMemory(ctx context.Context, q Reader) error {
	m := memory{
		sources: map[string]sourceState{}, effects: index[*effectRow]{}, timers: index[*timerRow]{},
		firing: index[string]{}, stale: index[time.Time]{}, parked: index[*parkedRow]{},
	}
	fold, io := quote(l.schema), quote(l.schema+"_io")
	var sequence, through int64
	var version int64
	err := q.QueryRow(ctx, "SELECT epoch, sequence, digest, now, version, coalesce((SELECT through FROM "+io+".decided), 0) FROM "+fold+".fold_position").
		Scan(&m.epoch, &sequence, &m.digest, &m.now, &version, &through)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if version != int64(l.fold.Version) {
		return alarmf("the fold in the database has version %d, this process has %d", version, l.fold.Version)
	}
	m.sequence, m.now = uint64(sequence), m.now.UTC()
	if err := l.loadSources(ctx, q, &m); err != nil {
		return err
	}
	if err := l.loadEffects(ctx, q, &m); err != nil {
		return err
	}
	if err := l.loadTimers(ctx, q, &m); err != nil {
		return err
	}
	if err := l.loadParked(ctx, q, &m); err != nil {
		return err
	}
	l.mu.Lock()
	l.mem, l.through = m, uint64(through)
	l.mu.Unlock()
	l.saved.Store(m.sequence)
	l.sawEnd(m.sequence)
	l.work.reset(m.effects)
	l.timers.poke()
	l.signal()
	return nil
}

func (l *Log) loadSources(ctx context.Context, q Reader, m *memory) error {
	var source string
	var sequence int64
	var digest []byte
	return each(ctx, q, "sources", "SELECT source, sequence, digest FROM "+quote(l.schema)+".fold_sources", []any{&source, &sequence, &digest}, func() {
		m.sources[source] = sourceState{uint64(sequence), bytes.Clone(digest)}
	})
}

func (l *Log) loadEffects(ctx context.Context, q Reader, m *memory) error {
	var r effectRow
	var id uuid.UUID
	var args []byte
	var opened int64
	return each(ctx, q, "effects", `SELECT id, kind, namespace, cause, correlation, hops, traceparent, args::text, opened, ordinal FROM `+quote(l.schema)+".fold_effects",
		[]any{&id, &r.kind, &r.namespace, &r.cause.ID, &r.cause.Correlation, &r.cause.Hops, &r.cause.Traceparent, &args, &opened, &r.ordinal}, func() {
			row := r
			row.id, row.opened, row.args = id.String(), uint64(opened), json.RawMessage(bytes.Clone(args))
			row.closes = resultID(l.service, row.id, 0)
			m.effects[row.closes] = &row
		})
}

func (l *Log) loadTimers(ctx context.Context, q Reader, m *memory) error {
	var r timerRow
	var id uuid.UUID
	var fact []byte
	var bad error
	err := each(ctx, q, "timers", `SELECT namespace, name, id, generation, due, root, cause, correlation, hops, traceparent, fact::text FROM `+quote(l.schema)+".fold_timers",
		[]any{&r.namespace, &r.name, &id, &r.generation, &r.due, &r.root, &r.cause.ID, &r.cause.Correlation, &r.cause.Hops, &r.cause.Traceparent, &fact}, func() {
			row := r
			row.id, row.due = id.String(), r.due.UTC()
			row.fact = timerFact{}
			if err := json.Unmarshal(fact, &row.fact); err != nil {
				bad = fmt.Errorf("timer %s: %w", row.name, err)
			}
			m.timers[row.key()] = &row
			m.firing[resultID(l.service, row.id, 0)] = row.key()
		})
	if err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	var due time.Time
	return each(ctx, q, "timers", "SELECT fact, due FROM "+quote(l.schema)+".fold_timers_stale", []any{&id, &due}, func() {
		m.stale[id.String()] = due.UTC()
	})
}

func (l *Log) loadParked(ctx context.Context, q Reader, m *memory) error {
	var r parkedRow
	var sequence int64
	var event []byte
	return each(ctx, q, "parked events", `SELECT id, sequence, queued, type, namespace, subject, correlation, reason, code, event FROM `+quote(l.schema)+".fold_parked",
		[]any{&r.id, &sequence, &r.queued, &r.typ, &r.namespace, &r.subject, &r.correlation, &r.reason, &r.code, &event}, func() {
			row := r
			row.sequence, row.data = uint64(sequence), bytes.Clone(event)
			m.parked[row.id] = &row
		})
}

func each(ctx context.Context, q Reader, what, sql string, into []any, fn func()) error {
	rows, err := q.Query(ctx, sql)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error { fn(); return nil })
	}
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	return nil
}
