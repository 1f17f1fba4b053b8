// Command replay measures how fast a service's state is rebuilt from the log, and
// verified against it, beside two ways of folding the same events into the same
// table: a statement per event in a transaction of its own, and a plain consumer
// that sends the same statements in transactions of 256.
//
// The log is made for it: events of about 783 bytes over 5,000 aggregates, published
// by atomic batches as the relay does. Everybody reads them from JetStream, decodes
// them with the same codec and parser, and writes with the same SQL. No time counts
// before the state's checksum is the one that was expected. CPU is that of this
// process, with the log's server in it, and of PostgreSQL.
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
	"time"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
)

func main() {
	n := flag.Int("n", 1_000_000, "events of the log")
	rounds := flag.Int("rounds", 2, "rounds, each in the order ABCDDCBA")
	share := flag.Float64("share", 0.02, "of the log that the peer with a transaction per event folds")
	only := flag.Bool("only", false, "measure ours alone")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the measurements of this process")
	flag.Parse()
	debug.SetGCPercent(400) // for everybody alike
	if err := run(*n, *rounds, *share, *only, *profile); err != nil {
		log.Fatal(err)
	}
}

// A folder folds the first events of the log into an empty state.
type folder struct {
	name  string
	share float64 // of the log
	run   func(ctx context.Context, n int) error
	check func(ctx context.Context, n int) error // the state's checksum

	took, own, database []float64 // µs per event; CPU of this process and of PostgreSQL
}

func run(n, rounds int, share float64, only bool, profile string) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "freshet-replay-")
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
	pg, err := postgres.Start(ctx, postgres.Options{DataDir: dir + "/postgres", Logger: logger})
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop(ctx) }()
	ns, err := natsserver.Start(natsserver.Options{DataDir: dir + "/nats", Users: []natsserver.User{natsserver.All("bench")}, Logger: logger})
	if err != nil {
		return err
	}
	defer ns.Stop()

	began := time.Now()
	size, err := makeLog(ctx, ns.URL("bench"), n)
	if err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	fmt.Printf("a log of %d events, %d bytes each, over %d aggregates (made in %.1f s)\n", n, size, aggregates, time.Since(began).Seconds())
	f, err := startFreshet(ctx, pg.URL(), ns.URL("bench"))
	if err != nil {
		return err
	}
	defer f.close()
	p := &peer{postgres: pg.URL(), nats: ns.URL("bench")}
	folders := []*folder{
		{name: "freshet replay rebuild", share: 1, run: f.rebuild, check: f.check},
		{name: "freshet replay verify", share: 1, run: f.verify, check: f.check},
	}
	if !only {
		folders = append(folders,
			&folder{name: "consumer, transactions of 256", share: min(1, 5*share), run: p.batches, check: p.check},
			&folder{name: "consumer, a transaction per event", share: share, run: p.rows, check: p.check},
			&folder{name: "consumer, reads and decodes only", share: 0.5, run: p.decodes, check: func(context.Context, int) error { return nil }})
	}
	postmaster, err := postmasterOf(dir + "/postgres")
	if err != nil {
		return err
	}
	if profile != "" {
		out, err := os.Create(profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for range rounds {
		for i := range 2 * len(folders) { // there and back again
			x := folders[min(i, 2*len(folders)-1-i)]
			count := int(float64(n) * x.share)
			own, database, err := cpuTime(postmaster)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := x.run(ctx, count); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			took := time.Since(began)
			ownAfter, databaseAfter, err := cpuTime(postmaster)
			if err != nil {
				return err
			}
			if err := x.check(ctx, count); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			x.took = append(x.took, float64(took.Microseconds())/float64(count))
			x.own = append(x.own, float64((ownAfter-own).Microseconds())/float64(count))
			x.database = append(x.database, float64((databaseAfter-database).Microseconds())/float64(count))
		}
	}
	fmt.Printf("%-36s %12s %22s\n%-36s %12s %11s %10s %8s\n", "", "", "CPU µs per event", "", "events/s", "program", "PostgreSQL", "both")
	for _, x := range folders {
		fmt.Printf("%-36s %12.0f %11.1f %10.1f %8.1f\n", x.name, 1e6/geometric(x.took), mean(x.own), mean(x.database), x.cpu())
	}
	for _, ours := range folders[:2] {
		for _, other := range folders[min(2, len(folders)):] {
			fmt.Printf("%s is %.1f× %s (%.1f× by CPU)\n", ours.name, geometric(other.took)/geometric(ours.took), other.name, other.cpu()/ours.cpu())
		}
	}
	goal := map[bool]string{true: "met", false: "missed"}
	rebuilt, verified := 1e6/geometric(folders[0].took), 1e6/geometric(folders[1].took)
	fmt.Printf("goals: ≥ 25,000 events/s rebuilt %s; ≥ 100,000 events/s verified %s\n", goal[rebuilt >= 25_000], goal[verified >= 100_000])
	return nil
}

func (x *folder) cpu() float64 { return mean(x.own) + mean(x.database) }

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func geometric(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(x)))
}
