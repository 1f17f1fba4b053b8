// Command freshet runs the suite and talks to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/freshet-io/freshet/cmd/freshet/internal/cli"
	"github.com/freshet-io/freshet/services/training"
)

func main() {
	if training.RunBuiltin() { // this process is a training job
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			cancel(interrupted{s})
		}
	}()
	err := cli.Root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	var by interrupted
	if !errors.Is(err, context.Canceled) || !errors.As(context.Cause(ctx), &by) {
		fmt.Fprintln(os.Stderr, "freshet:", err)
		os.Exit(1)
	}
	said := "interrupted"
	if text := err.Error(); text != context.Canceled.Error() && text != by.Error() {
		said += ": " + text
	}
	fmt.Fprintln(os.Stderr, "freshet:", said)
	os.Exit(128 + int(by.signal)) // as a shell says it
}

// interrupted is why a command was told to end.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// Unwrap makes it what a context's end is otherwise.
func (i interrupted) Unwrap() error { return context.Canceled }
