// Package stall is what keeps a part of a log from continuing: for a while, which is a
// stall, or for good, which is an alarm.
//
// # What it guarantees
//
// The Board has each part's last error until the part continues. A stall that lasts is
// warned of once. Alarms are ErrAlarm, whatever they are wrapped in.
//
// # How it fails
//
// It does not: it only keeps what others report. Who stops on an alarm, and who tries
// again, decides by itself; Pause is how long it waits before it does.
package stall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

var (
	// ErrAlarm: the history cannot continue, and waiting does not help.
	ErrAlarm = errors.New("the log cannot continue")
	// ErrStopped: the log is closed or halted on an alarm.
	ErrStopped = errors.New("the log is stopped")
)

// An Alarm stops a part for good: continuing would lose or double events. It is ErrAlarm.
type Alarm struct{ error }

// NewAlarm makes an alarm of an error.
func NewAlarm(err error) error { return &Alarm{err} }

// Alarmf makes an alarm.
func Alarmf(format string, args ...any) error { return &Alarm{fmt.Errorf(format, args...)} }

func (a *Alarm) Unwrap() error { return a.error }

// Is says that every alarm is ErrAlarm.
func (a *Alarm) Is(target error) bool { return target == ErrAlarm }

// IsAlarm says whether an error is or wraps an alarm.
func IsAlarm(err error) bool { return errors.Is(err, ErrAlarm) }

// A Part of a log that can stall, with its own error in the log's status.
type Part int

// The parts of a log.
const (
	Recorder Part = iota
	Relay
	Reader
	Processor
	Session
	parts
)

// A Board has what each part waits for.
type Board struct {
	logger *slog.Logger
	errs   [parts]atomic.Pointer[error]
	since  [parts]atomic.Pointer[began]
	closed atomic.Bool
}

// began is a stall from a part's first error until it continues, whatever its errors say.
type began struct{ _ byte }

// warnAfter is after how long a stall is worth a warning: a start, and a server's
// restart, end sooner.
const warnAfter = 2 * time.Second

// NewBoard returns a board on which nothing stalls.
func NewBoard(logger *slog.Logger) *Board { return &Board{logger: logger} }

// Close ends warnings.
func (b *Board) Close() { b.closed.Store(true) }

// Set notes what a part waits for, nil once it continues.
func (b *Board) Set(part Part, err error) {
	if err == nil {
		b.errs[part].Store(nil)
		b.since[part].Store(nil)
		return
	}
	b.errs[part].Store(&err)
	since := &began{}
	if !b.since[part].CompareAndSwap(nil, since) {
		return
	}
	time.AfterFunc(warnAfter, func() {
		if now := b.errs[part].Load(); now != nil && b.since[part].Load() == since && !b.closed.Load() {
			b.logger.Warn("stalled", "error", *now)
		}
	})
}

// Of is what a part waits for, or nil.
func (b *Board) Of(part Part) error {
	if p := b.errs[part].Load(); p != nil {
		return *p
	}
	return nil
}

// Err joins what all parts wait for.
func (b *Board) Err() error {
	var all []error
	for part := range parts {
		all = append(all, b.Of(part))
	}
	return errors.Join(all...)
}

// Any says whether a part waits for something, and whether one stopped on an alarm.
func (b *Board) Any() (stalled, stopped bool) {
	for part := range parts {
		switch err := b.Of(part); {
		case err == nil:
		case IsAlarm(err):
			stopped = true
		default:
			stalled = true
		}
	}
	return stalled, stopped
}

// Pause waits before another try: from 10 ms to 2 s.
func Pause(ctx context.Context, try int) error {
	return PauseFor(ctx, min(10*time.Millisecond<<min(try, 8), 2*time.Second))
}

// PauseFor waits, unless the context ends first.
func PauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
