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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := cli.Root().ExecuteContext(ctx)
	stop()
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	fmt.Fprintln(os.Stderr, "freshet:", err)
	os.Exit(1)
}
