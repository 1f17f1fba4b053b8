package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command line of this process and returns its exit code: that of the
// error, or 128 and the signal's number where a signal ended it, as a shell says it.
func Main() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			cancel(interrupted{s})
		}
	}()
	err := Root().ExecuteContext(ctx)
	if err == nil {
		return exitYes
	}
	var by interrupted
	if !errors.Is(err, context.Canceled) || !errors.As(context.Cause(ctx), &by) {
		code := exitCode(err)
		complain(os.Stderr, os.Args[1:], err, code)
		return code
	}
	said := "interrupted"
	if text := err.Error(); text != context.Canceled.Error() && text != by.Error() {
		said += ": " + text
	}
	fmt.Fprintln(os.Stderr, "freshet:", said)
	return 128 + int(by.signal)
}

// interrupted is why a command was told to end.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// Unwrap makes it what a context's end is otherwise.
func (i interrupted) Unwrap() error { return context.Canceled }
