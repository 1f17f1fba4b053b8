// Command chaos runs the suite's processes under load, hurts them, and says what
// was lost, doubled, reordered or diverged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/testkit/chaos"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := chaos.Serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ok, err := run(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func run(args []string) (ok bool, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "what the rounds are drawn from")
	rounds := flags.Int("rounds", 10, "how many rounds")
	from := flags.Int("from", 0, "the first round")
	span := flags.Duration("span", 3*time.Second, "how long a round gives work and does harm")
	outage := flags.Duration("outage", 2*time.Second, "how long a server that goes away is away at most")
	rate := flags.Int("rate", 4, "events per second of each producer")
	kinds := flags.String("kinds", "", "only these kinds of faults, separated by commas")
	binaries := flags.String("binaries", "bin/services", "directory of the services' binaries")
	keep := flags.Bool("keep", false, "keep the directory with data and logs; it is kept anyway where something was found")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *rounds < 1 || *from < 0 || *rate < 1 || *span < 500*time.Millisecond {
		return false, errors.New("use at least one round, one event per second and a span of 500ms")
	}
	inside, err := chaos.Isolate()
	if err != nil {
		return false, fmt.Errorf("namespaces: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "freshet-chaos-")
	if err != nil {
		return false, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's user enters it
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	bin, err := filepath.Abs(*binaries)
	if err != nil {
		return false, err
	}
	var only []string
	if *kinds != "" {
		only = strings.Split(*kinds, ",")
	}
	found, err := chaos.Run(ctx, chaos.Config{
		Options: chaos.Options{Dir: dir, Binaries: bin, Self: self, Inside: inside},
		Seed:    *seed, From: *from, Rounds: *rounds, Span: *span, Outage: *outage, Rate: *rate, Kinds: only, Out: os.Stdout,
	})
	if err == nil && found.None() && !*keep {
		err = os.RemoveAll(dir)
	} else {
		fmt.Println("data and logs are in", dir)
	}
	if err != nil {
		return false, err
	}
	fmt.Println(found)
	return found.None(), nil
}
