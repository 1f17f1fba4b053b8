package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Failure is why an event is parked. The reason is one of a few words, so that
// no error text enters a decision.
type Failure struct {
	Reason string // panic, sql or invalid
	Code   string // SQLSTATE
	err    error
}

func (f *Failure) Error() string { return f.err.Error() }
func (f *Failure) Unwrap() error { return f.err }

// recovered turns a panic of a handler into an error of its event.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = &Failure{Reason: "panic", err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
	}
}

// domain marks what a handler returned as the event's fault, unless it came from
// the infrastructure: then trying again can help.
func domain(err error) error {
	var pg *pgconn.PgError
	var network net.Error
	var parse *pgconn.ConnectError
	switch {
	case errors.As(err, &pg):
		return err
	case errors.As(err, &network), errors.As(err, &parse), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return err
	}
	var invalid *invalidError
	if errors.As(err, &invalid) {
		return err
	}
	return Invalid(err)
}

// IsDomain says whether the event itself is at fault: a handler that panicked or
// refused it, or data that PostgreSQL cannot take (SQLSTATE classes 22, 23, 54;
// 25P02 is a handler that continued after such an error). Everything else is
// infrastructure.
func IsDomain(err error) bool { return err != nil && FailureOf(err) != nil }

// FailureOf is why an event is to be parked that failed with an error; nil where the event
// is not at fault.
func FailureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	if stall.IsAlarm(err) {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case len(pg.Code) == 5 && (pg.Code[:2] == "22" || pg.Code[:2] == "23" || pg.Code[:2] == "54" || pg.Code == "25P02"):
			return &Failure{Reason: "sql", Code: pg.Code, err: err}
		}
		return nil
	}
	var invalid *invalidError
	if errors.As(err, &invalid) {
		return &Failure{Reason: "invalid", err: err}
	}
	return nil
}
