package eventlog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// A timerRow is a timer that is set, as the fold has it.
type timerRow struct {
	namespace  string
	name       string
	id         string
	generation int64
	due        time.Time
	root       bool
	cause      Cause
	fact       timerFact
}

func (r *timerRow) key() string { return timerKey(r.namespace, r.name) }

func timerKey(namespace, name string) string { return namespace + "\x00" + name }

// A timerFact is the draft that a timer records, as it is stored.
type timerFact struct {
	Type       string            `json:"type"`
	Subject    string            `json:"subject"`
	Schema     string            `json:"dataschema"`
	Extensions map[string]string `json:"extensions"`
	Data       json.RawMessage   `json:"data"`
}

func newTimerFact(draft event.Event) (timerFact, error) {
	if draft.Context == nil || draft.Type() == "" {
		return timerFact{}, errors.New("the draft of its fact is empty")
	}
	f := timerFact{Type: draft.Type(), Subject: draft.Subject(), Schema: draft.DataSchema(), Data: draft.Data(), Extensions: map[string]string{}}
	for name, v := range draft.Extensions() {
		if s, ok := v.(string); ok {
			f.Extensions[name] = s
		}
	}
	if !json.Valid(f.Data) {
		return timerFact{}, errors.New("the payload of its fact is not JSON")
	}
	return f, nil
}

func (f timerFact) draft() event.Event {
	e := event.New()
	e.SetType(f.Type)
	e.SetSubject(f.Subject)
	if f.Schema != "" {
		e.SetDataSchema(f.Schema)
	}
	for name, v := range f.Extensions {
		e.SetExtension(name, v)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = f.Data
	return e
}

// timers records the facts of timers when the suite clock reaches them.
type timers struct {
	l      *Log
	change chan struct{}
	fired  map[string]bool // recorded, not yet applied; of the running loop
}

func newTimers(l *Log) *timers {
	return &timers{l: l, change: make(chan struct{}, 1), fired: map[string]bool{}}
}

func (m *timers) poke() {
	select {
	case m.change <- struct{}{}:
	default:
	}
}

// due counts the timers that have been reached and not yet been applied. The
// log's lock is held.
func (m *timers) due(now time.Time) int {
	n := 0
	for _, r := range m.l.mem.timers {
		if !r.due.After(now) {
			n++
		}
	}
	return n
}

// run fires timers until the context ends.
func (m *timers) run(ctx context.Context) {
	m.fired = map[string]bool{}
	for ctx.Err() == nil {
		now := m.l.clock.Now()
		ready, next := m.ready(now)
		if len(ready) > 0 {
			m.fire(ctx, ready)
			continue
		}
		m.wait(ctx, next)
	}
}

// ready are the timers to be fired now, by their due time, and when the next one is.
func (m *timers) ready(now time.Time) (ready []*timerRow, next time.Time) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	for id := range m.fired {
		if _, ok := m.l.mem.firing[resultID(m.l.service, id, 0)]; !ok {
			delete(m.fired, id)
		}
	}
	for _, r := range m.l.mem.timers {
		switch {
		case m.fired[r.id]:
		case !r.due.After(now):
			ready = append(ready, r)
		case next.IsZero() || r.due.Before(next):
			next = r.due
		}
	}
	slices.SortFunc(ready, func(a, b *timerRow) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.key(), b.key()))
	})
	return ready, next
}

func (m *timers) fire(ctx context.Context, ready []*timerRow) {
	for _, r := range ready {
		n, err := m.l.factEntry(r.fact.draft(), resultID(m.l.service, r.id, 0), r.cause, "")
		if err == nil {
			n.firstWins = true
			_, err = m.l.submit(ctx, []*entry{n})
			if err != nil {
				if pause(ctx, 4) != nil {
					return
				}
				continue
			}
		} else {
			m.l.logger.Error("a timer's fact cannot be recorded", "timer", r.name, "err", err)
		}
		m.fired[r.id] = true
	}
}

// wait returns when the next timer is due, a timer changed or the context ended.
func (m *timers) wait(ctx context.Context, next time.Time) {
	if next.IsZero() {
		select {
		case <-m.change:
		case <-ctx.Done():
		}
		return
	}
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	reached := make(chan struct{})
	go func() {
		defer close(reached)
		_ = m.l.clock.Until(until, next)
	}()
	select {
	case <-m.change:
	case <-reached:
	}
	cancel()
	<-reached
}
