// Command eventpath measures the way of an event from being recorded by one
// service to being applied by another, durably, beside two outboxes of known
// libraries in the same run: watermill's forwarder (SQL outbox to JetStream) and
// River (jobs in PostgreSQL; no broker). Every contender keeps the same promise:
// PostgreSQL commits synchronously, JetStream syncs always, and the consumer's
// state and its position are committed together.
//
// Throughput: producers record one event per call, concurrently; the clock stops
// when the consumer has applied the last. Latency: events are recorded at a fixed
// rate, and each one's time from the call to the consumer's commit is kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
)

// A contender carries events from a producer to a consumer's state.
type contender interface {
	name() string
	// throughput records n events from the given number of producers and returns
	// when all are applied.
	throughput(ctx context.Context, n, producers int) (time.Duration, error)
	// latency records rate events a second for a while and returns the time each took.
	latency(ctx context.Context, rate int, duration time.Duration) ([]time.Duration, error)
	close()
}

func main() {
	n := flag.Int("n", 60_000, "events per round of freshet; peers get a share that takes about as long")
	producers := flag.Int("producers", 1024, "concurrent producers")
	rounds := flag.Int("rounds", 3, "rounds, each in the order ABCCBA")
	seconds := flag.Int("seconds", 4, "length of the latency measurement")
	only := flag.Bool("only", false, "measure freshet alone")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process")
	flag.Parse()
	debug.SetGCPercent(400) // for every contender alike
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			log.Fatal(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			log.Fatal(err)
		}
	}
	err := run(*n, *producers, *rounds, time.Duration(*seconds)*time.Second, *only)
	if *profile != "" {
		pprof.StopCPUProfile()
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(n, producers, rounds int, latencyFor time.Duration, only bool) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "freshet-eventpath-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return err
	}
	for _, d := range []string{"postgres", "nats"} {
		if err := os.Mkdir(dir+"/"+d, 0o755); err != nil {
			return err
		}
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pg, err := postgres.Start(ctx, postgres.Options{DataDir: dir + "/postgres", URL: os.Getenv("FRESHET_POSTGRES_URL"), Logger: logger})
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop(ctx) }()
	ns, err := natsserver.Start(natsserver.Options{DataDir: dir + "/nats", Users: []natsserver.User{natsserver.All("bench")}, Logger: logger})
	if err != nil {
		return err
	}
	defer ns.Stop()

	starts := []func(context.Context, string, string) (contender, error){startFreshet, startWatermill, startRiver}
	shares := []float64{1, 0.05, 0.15} // of n, so that every contender runs about as long
	if only {
		starts = starts[:1]
	}
	// Only one contender runs at a time: an idle one still polls.
	names := make([]string, len(starts))
	measure := func(i int, fn func(contender) error) error {
		c, err := starts[i](ctx, pg.URL(), ns.URL("bench"))
		if err != nil {
			return err
		}
		defer c.close()
		names[i] = c.name()
		if err := fn(c); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		return nil
	}
	rates := make([][]float64, len(starts))
	order := []int{0, 1, 2, 2, 1, 0}
	for round := range rounds + 1 { // the first warms up and is not counted
		for _, i := range order {
			if i >= len(starts) {
				continue
			}
			count := max(1000, int(float64(n)*shares[i]))
			err := measure(i, func(c contender) error {
				took, err := c.throughput(ctx, count, producers)
				if round > 0 {
					rates[i] = append(rates[i], float64(count)/took.Seconds())
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	fmt.Printf("record → applied by another service, durable (events/s, %d producers, geometric mean of %d rounds)\n", producers, 2*rounds)
	for i, name := range names {
		ratio, low, high := ratioOf(rates[0], rates[i])
		fmt.Printf("  %-42s %9.0f", name, geometric(rates[i]))
		if i > 0 {
			fmt.Printf("   freshet is %.1f× (%.1f to %.1f)", ratio, low, high)
		}
		fmt.Println()
	}
	fmt.Println("record → applied at 500 events/s (ms)")
	var freshet float64
	for i, name := range names {
		var took []time.Duration
		err := measure(i, func(c contender) error {
			if _, err := c.throughput(ctx, 200, 4); err != nil { // connections and plans are made once
				return err
			}
			var err error
			took, err = c.latency(ctx, 500, latencyFor)
			return err
		})
		if err != nil {
			return err
		}
		slices.Sort(took)
		p := func(q float64) float64 {
			return float64(took[min(len(took)-1, int(q*float64(len(took))))].Microseconds()) / 1000
		}
		fmt.Printf("  %-42s p50 %7.2f  p99 %7.2f", name, p(0.5), p(0.99))
		if i == 0 {
			freshet = p(0.5)
		} else {
			fmt.Printf("   freshet is %.1f×", p(0.5)/freshet)
		}
		fmt.Println()
	}
	goal := map[bool]string{true: "met", false: "missed"}
	said := fmt.Sprintf("goals: ≥ 20,000 events/s %s; p50 ≤ 2 ms %s", goal[geometric(rates[0]) >= 20_000], goal[freshet <= 2])
	if !only {
		said += "; ≥ 10× the forwarder " + goal[geometric(rates[0]) >= 10*geometric(rates[1])]
	}
	fmt.Println(said)
	return nil
}

func geometric(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(x)))
}

// ratioOf is the geometric mean of the pairs' ratios, with the smallest and largest pair.
func ratioOf(a, b []float64) (mean, low, high float64) {
	low = math.Inf(1)
	var r []float64
	for i := range a {
		q := a[i] / b[i]
		r, low, high = append(r, q), min(low, q), max(high, q)
	}
	return geometric(r), low, high
}
