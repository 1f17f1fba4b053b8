// Command chaos runs the suite's processes under load, injects faults into them, and says what
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

	"github.com/freshet-io/freshet/chaos"
	"github.com/freshet-io/freshet/libs/testkit/apachekafka"
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

// A part of a run: rounds on one Kafka.
type part struct {
	kafka  chaos.Kafka
	rounds int
}

func run(args []string) (ok bool, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "what the rounds are drawn from")
	rounds := flags.Int("rounds", 0, "how many rounds; 0 for one of every kind of fault")
	from := flags.Int("from", 0, "the first round")
	span := flags.Duration("span", 3*time.Second, "how long a round gives work and injects faults")
	outage := flags.Duration("outage", 2*time.Second, "the longest outage of a server")
	rate := flags.Int("rate", 4, "events per second of each producer")
	kinds := flags.String("kinds", "", "only these kinds of faults, separated by commas")
	kafka := flags.String("kafka", string(chaos.Embedded), "which Kafka: kfake, which a suite embeds, or apache, which Java and Maven are needed for")
	apache := flags.Int("then-apache", 0, "so many rounds on Apache Kafka after the others, where Java and Maven are there")
	services := flags.String("services", "services/services.yaml", "the list of the suite's services")
	users := flags.String("users", "bin/nats-users.json", "file with the log's users, as freshet nats-users prints them")
	binaries := flags.String("binaries", "bin/services", "directory of the services' binaries")
	keep := flags.Bool("keep", false, "keep the directory with data and logs; it is kept anyway where something was found")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *rounds < 0 || *from < 0 || *apache < 0 || *rate < 1 || *span < 500*time.Millisecond {
		return false, errors.New("use no negative numbers, at least one event per second and a span of 500ms")
	}
	c := chaos.Config{Seed: *seed, From: *from, Span: *span, Outage: *outage, Rate: *rate, Out: os.Stdout}
	if *kinds != "" {
		c.Kinds = strings.Split(*kinds, ",")
	}
	parts := []part{{chaos.Kafka(*kafka), *rounds}}
	if parts[0].kafka != chaos.Embedded && parts[0].kafka != chaos.Apache {
		return false, fmt.Errorf("there is no Kafka %q", *kafka)
	}
	if *apache > 0 {
		parts = append(parts, part{chaos.Apache, *apache})
	}
	if c.Self, err = os.Executable(); err != nil {
		return false, err
	}
	if c.Binaries, err = filepath.Abs(*binaries); err != nil {
		return false, err
	}
	if c.Users, err = filepath.Abs(*users); err != nil {
		return false, err
	}
	if c.Services, err = chaos.ReadServices(*services); err != nil {
		return false, err
	}
	if c.Inside, err = chaos.Isolate(); err != nil {
		return false, fmt.Errorf("namespaces: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	all := &chaos.Findings{}
	for i, p := range parts {
		if p.kafka == chaos.Apache {
			if _, err := apachekafka.Find(); err != nil && i == 0 {
				return false, fmt.Errorf("%s: %w", p.kafka, err)
			} else if err != nil {
				fmt.Printf("not on %s: %v\n", p.kafka, err)
				continue
			}
		}
		c.Kafka, c.Rounds = p.kafka, p.rounds
		found, err := one(ctx, c, *keep)
		if err != nil {
			return false, err
		}
		fmt.Printf("on %s: %s\n", p.kafka, found)
		if all.Add(found); !all.None() {
			break
		}
		c.From = 0
	}
	fmt.Println(all)
	return all.None(), nil
}

// one runs the rounds of a part in a directory of their own.
func one(ctx context.Context, c chaos.Config, keep bool) (found *chaos.Findings, err error) {
	if c.Dir, err = os.MkdirTemp("", "freshet-chaos-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.Dir, 0o755); err != nil { // PostgreSQL's user enters it
		return nil, err
	}
	found, err = chaos.Run(ctx, c)
	if err == nil && found.None() && !keep {
		return found, os.RemoveAll(c.Dir)
	}
	fmt.Println("data and logs are in", c.Dir)
	return found, err
}
