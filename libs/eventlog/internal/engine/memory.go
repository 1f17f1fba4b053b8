package engine

import (
	"maps"
	"slices"
	"time"
)

// An index is what the process keeps in memory of a small fold table.
type index[V any] map[string]V

func (x index[V]) get(key string) (V, bool) { v, ok := x[key]; return v, ok }

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
	sequence uint64
	digest   []byte
	now      time.Time
	sources  map[string]sourceState
	effects  index[*EffectRow] // by the id of the fact that closes each
	timers   index[*TimerRow]  // by namespace and name
	firing   index[string]     // timers by the id of their fact
	stale    index[time.Time]  // facts of timers that were replaced, with their due time
	parked   index[*parkedRow] // by event id
}

func newMemory() memory {
	return memory{
		digest: []byte{}, sources: map[string]sourceState{}, effects: index[*EffectRow]{}, timers: index[*TimerRow]{},
		firing: index[string]{}, stale: index[time.Time]{}, parked: index[*parkedRow]{},
	}
}

// A stage is memory as one transaction changes it.
type stage struct {
	sequence uint64
	digest   []byte
	now      time.Time
	sources  map[string]sourceState
	touched  map[string][]byte // the last event of each source that had one
	effects  layer[*EffectRow]
	timers   layer[*TimerRow]
	firing   layer[string]
	stale    layer[time.Time]
	parked   layer[*parkedRow]
	opened   []*EffectRow
	closed   []string // ids of effects
	applied  int
}

// commit puts the effects, timers and parked events that a transaction staged into memory.
func (s *stage) commit() {
	s.effects.commit()
	s.timers.commit()
	s.firing.commit()
	s.stale.commit()
	s.parked.commit()
}

// snapshot copies what a retry may change.
func (s *stage) snapshot() stage {
	c := *s
	c.effects.changed = maps.Clone(s.effects.changed)
	c.timers.changed = maps.Clone(s.timers.changed)
	c.firing.changed = maps.Clone(s.firing.changed)
	c.stale.changed = maps.Clone(s.stale.changed)
	c.parked.changed = maps.Clone(s.parked.changed)
	c.opened, c.closed = slices.Clone(s.opened), slices.Clone(s.closed)
	return c
}

func (s *stage) restore(c stage) { *s = c }
