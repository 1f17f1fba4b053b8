// Package clock is the suite's one notion of time: the system's clock, or a
// driven one that tests, the demo and simulations move, so that months pass in
// minutes. Nothing that decides or records reads time.Now.
package clock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and waits for it.
type Clock interface {
	// Now is the current time, in UTC.
	Now() time.Time
	// Until returns nil once Now is not before t, or the context's error.
	Until(ctx context.Context, t time.Time) error
}

// System is the machine's clock.
func System() Clock { return system{} }

type system struct{}

func (system) Now() time.Time { return time.Now().UTC() }

func (system) Until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Driven stands still until Set moves it. It never goes back.
type Driven struct {
	mu    sync.Mutex
	now   time.Time
	moved chan struct{}
}

// NewDriven returns a clock that stands at t.
func NewDriven(t time.Time) *Driven {
	return &Driven{now: t.UTC(), moved: make(chan struct{})}
}

// Now is where the clock stands.
func (d *Driven) Now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// Set moves the clock to t and wakes who waited for it; an earlier t does nothing.
func (d *Driven) Set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !t.After(d.now) {
		return
	}
	d.now = t.UTC()
	close(d.moved)
	d.moved = make(chan struct{})
}

// Until waits until the clock has been moved to t or past it.
func (d *Driven) Until(ctx context.Context, t time.Time) error {
	for {
		d.mu.Lock()
		now, moved := d.now, d.moved
		d.mu.Unlock()
		if !now.Before(t) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
