// Package progress waits for something for as long as it moves.
//
// # What it guarantees
//
// A wait ends with success as soon as a look says so, however slow the machine is. It is
// given up only when nothing that was seen changed for as long as idle says.
//
// # How it fails
//
// StalledError says what was seen last and how long it did not change. An error of a look
// ends the wait; a look that may fail meanwhile says so in what it saw instead.
package progress

import (
	"context"
	"fmt"
	"time"
)

// every is how often it is looked.
const every = 50 * time.Millisecond

// A Look is what a wait saw: whether it is done, and in words how far it is. Two looks with
// the same words saw no progress.
type Look struct {
	Done bool
	Seen string
}

// A StalledError says that nothing moved.
type StalledError struct {
	For  time.Duration
	Seen string
}

// Error says what was seen last.
func (e *StalledError) Error() string {
	return fmt.Sprintf("nothing moved for %s: %s", e.For, e.Seen)
}

// Wait looks until it is done, or nothing moved for as long as idle says.
func Wait(ctx context.Context, idle time.Duration, look func(context.Context) (Look, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	seen := ""
	began := time.Now() // what was seen last
	for first := true; ; first = false {
		l, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case l.Done:
			return nil
		case first || l.Seen != seen:
			seen = l.Seen
			began = time.Now()
		case time.Since(began) >= idle:
			return &StalledError{For: idle, Seen: seen}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
