package effects

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
)

// Timers record the facts of timers when the suite clock reaches them.
type Timers struct {
	engine *engine.Engine
	outbox *outbox.Outbox
	clock  clock.Clock
	logger *slog.Logger
	change chan struct{}
	fired  map[string]bool // recorded, not yet applied; of the running loop
}

// NewTimers returns the timers of the service that an engine folds.
func NewTimers(g *engine.Engine, o *outbox.Outbox, c clock.Clock, logger *slog.Logger) *Timers {
	return &Timers{engine: g, outbox: o, clock: c, logger: logger, change: make(chan struct{}, 1), fired: map[string]bool{}}
}

// Poke says that timers changed.
func (m *Timers) Poke() {
	select {
	case m.change <- struct{}{}:
	default:
	}
}

// Due counts the timers that have been reached and whose facts are not applied.
func (m *Timers) Due() int64 { return m.engine.DueTimers(m.clock.Now()) }

// Run fires timers until the context ends.
func (m *Timers) Run(ctx context.Context) {
	m.fired = map[string]bool{}
	for ctx.Err() == nil {
		now := m.clock.Now()
		ready, next := m.ready(now)
		if len(ready) > 0 {
			m.fire(ctx, ready)
			continue
		}
		m.wait(ctx, next)
	}
}

// ready are the timers to be fired now, by their due time, and when the next one is.
func (m *Timers) ready(now time.Time) (ready []*engine.TimerRow, next time.Time) {
	m.engine.Timers(func(set map[string]*engine.TimerRow, firing map[string]string) {
		for id := range m.fired {
			if _, ok := firing[envelope.ResultID(m.engine.Service(), id, 0)]; !ok {
				delete(m.fired, id)
			}
		}
		for _, r := range set {
			switch {
			case m.fired[r.ID]:
			case !r.Due.After(now):
				ready = append(ready, r)
			case next.IsZero() || r.Due.Before(next):
				next = r.Due
			}
		}
	})
	slices.SortFunc(ready, func(a, b *engine.TimerRow) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Key(), b.Key()))
	})
	return ready, next
}

func (m *Timers) fire(ctx context.Context, ready []*engine.TimerRow) {
	for _, r := range ready {
		n, err := m.outbox.Entry(r.Fact.Draft(), envelope.ResultID(m.engine.Service(), r.ID, 0), r.Cause, "")
		if err == nil {
			n.FirstWins = true
			_, err = m.outbox.Submit(ctx, []*envelope.Entry{n})
			if err != nil {
				if stall.Pause(ctx, 4) != nil {
					return
				}
				continue
			}
		} else {
			m.logger.Error("a timer's fact cannot be recorded", "timer", r.Name, "error", err)
		}
		m.fired[r.ID] = true
	}
}

// wait returns when the next timer is due, a timer changed or the context ended.
func (m *Timers) wait(ctx context.Context, next time.Time) {
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
		_ = m.clock.Until(until, next)
	}()
	select {
	case <-m.change:
	case <-reached:
	}
	cancel()
	<-reached
}
