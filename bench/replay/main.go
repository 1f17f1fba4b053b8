// Command replay measures how fast a service's state is rebuilt from the log, and
// verified against it, beside others who fold the same events into the same table:
// Axon Framework's replay, a Kafka consumer and a consumer of the log with
// transactions of 256 events, and a consumer with a transaction per event.
//
// The log is made by the service itself: it records facts about 5,000 aggregates, and
// decides on one in four, so that a fifth of the log are decisions, each after its
// cause. Events have about 783 bytes. What is expected of everybody is counted from
// the log by the standard library; no time counts before the state's checksum is
// that. Verify decides every event again, and has to find as many decisions as there
// are. Before anything is measured it has to find one that was altered.
//
// Everybody writes with the same SQL, and nobody waits for the disk: what is folded
// can be folded again. Those who are slow fold the first part of the log only. CPU is
// that of this process, with the log's server in it, of Axon's, and of PostgreSQL.
//
// How it could mislead. The decider looks at its event alone; with -reads it looks at
// a row first, as most do, and is slower by that. The Kafka broker is the one that a
// suite embeds, in this process, so its CPU counts; how fast its records are read
// without folding them is told beside. Axon's events are those of this log, stored by
// Axon; there the decisions are events among others. On a machine that works for
// somebody else too, which is told, rates say nothing, and ratios by CPU the most. A
// virtual machine may be half as fast as it was an hour ago, and nobody tells it: how
// fast the standard library alone reads the log is printed first, beside what a like
// reader did when the goals were set.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/jackc/pgx/v5"
)

// options are the command's flags.
type options struct {
	events  int
	rounds  int
	share   float64
	only    bool
	reads   bool
	profile string
}

func main() {
	var o options
	flag.IntVar(&o.events, "n", 1_000_000, "events of the log, facts and decisions")
	flag.IntVar(&o.rounds, "rounds", 2, "rounds, each in the order ABCDDCBA")
	flag.Float64Var(&o.share, "share", 0.02, "of the log that the peer with a transaction per event folds; others fold five times as much")
	flag.BoolVar(&o.only, "only", false, "measure own alone")
	flag.BoolVar(&o.reads, "reads", false, "the decider reads the row of its aggregate before it decides")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the measurements of this process")
	flag.Parse()
	debug.SetGCPercent(400) // for everybody alike
	o.events = factsOf(o.events) / every * (every + 1)
	if err := run(context.Background(), o); err != nil {
		log.Fatal(err)
	}
}

// A folder folds the first events of the log into an empty state.
type folder struct {
	name  string
	share float64 // of the log
	run   func(ctx context.Context, n int) error
	state func() eventlog.Reader // what it folded; nil where it folds nothing
	pid   int                    // of a process of its own, or 0

	took, programs, database []float64 // µs per event; CPU of programs and of PostgreSQL
	others                   []float64 // processors that somebody else used meanwhile
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "freshet-replay-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := os.Mkdir(dir+"/postgres", 0o755); err != nil {
		return err
	}
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
	natsURL := ns.URL("bench")

	said, err := controlIn(ctx, dir, pg.URL(), logger)
	if err != nil {
		return fmt.Errorf("the control: %w", err)
	}
	fmt.Println("control:", said)
	s, err := startService(ctx, pg.URL(), natsURL, o.reads)
	if err != nil {
		return err
	}
	defer s.close()
	began := time.Now()
	if err := s.live(ctx, o.events); err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	made := time.Since(began)
	// The server would do it by itself, in the middle of what is measured.
	if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE)"); err != nil {
		return fmt.Errorf("settle the database: %w", err)
	}
	began = time.Now()
	h, err := readHistory(ctx, natsURL, o.events)
	if err != nil {
		return fmt.Errorf("the log is not what it should be: %w", err)
	}
	read := time.Since(began)
	fmt.Printf("a log of %d events, %d of them decisions, %d bytes each, over %d aggregates; live at %.0f events/s\n",
		o.events, h.decisions, h.bytes/o.events, aggregates, float64(o.events)/made.Seconds())
	fmt.Printf("this machine now: the standard library reads that log at %.0f events/s; when the goals were set, a like reader did 100,000 to 113,000\n",
		float64(o.events)/read.Seconds())

	folders := []*folder{
		{name: "freshet replay rebuild", share: 1, run: s.rebuild, state: s.log.State},
		{name: "freshet replay verify", share: 1, run: s.verify, state: s.log.State},
	}
	if !o.only {
		more, stop, err := peers(ctx, o, dir, pg.URL(), natsURL)
		defer stop()
		if err != nil {
			return err
		}
		folders = append(folders, more...)
	}
	if o.profile != "" {
		out, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for range o.rounds {
		for i := range 2 * len(folders) { // there and back again
			if err := folders[min(i, 2*len(folders)-1-i)].measure(ctx, o.events, h, pg.PID()); err != nil {
				return err
			}
		}
	}
	fmt.Printf("verified: %d decisions made again in %d events, %d tables of %d rows: equal\n", s.report.Decisions, s.report.Events, s.report.Tables,
		s.report.Rows)
	printReport(folders, o)
	return nil
}

// peers are the others, with what they need loaded. Stop is to be called in any case.
func peers(ctx context.Context, o options, dir, postgresURL, natsURL string) (all []*folder, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	few, many := o.share, min(1, 5*o.share)
	loaded := int(float64(o.events) * many)

	ax, reason, err := startAxon(ctx, dir, postgresURL, natsURL, loaded)
	switch {
	case err != nil:
		return nil, stop, fmt.Errorf("axon: %w", err)
	case ax == nil:
		fmt.Println("without Axon Framework:", reason)
	default:
		stops = append(stops, func() { _ = ax.close(ctx) })
		all = append(all, &folder{name: "Axon Framework, replay", share: many, run: ax.replay, state: ax.state, pid: ax.cmd.Process.Pid})
	}
	ks, err := kafkaserver.Start(kafkaserver.Options{DataDir: dir + "/kafka"})
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, ks.Stop)
	if err := fillTopic(ctx, ks.Addr(), natsURL, loaded); err != nil {
		return nil, stop, fmt.Errorf("kafka: %w", err)
	}
	p := &peer{postgres: postgresURL}
	fromNATS := func(ctx context.Context, n int, fn func([]byte) error) error { return consume(ctx, natsURL, n, fn) }
	fromKafka := func(ctx context.Context, n int, fn func([]byte) error) error { return fetch(ctx, ks.Addr(), n, fn) }
	return append(all,
		&folder{name: "Kafka consumer, transactions of 256", share: many, run: p.batches(fromKafka), state: p.state},
		&folder{name: "consumer, transactions of 256", share: many, run: p.batches(fromNATS), state: p.state},
		&folder{name: "consumer, a transaction per event", share: few, run: p.rows(fromNATS), state: p.state},
		&folder{name: "Kafka consumer, reads and decodes only", share: many, run: decodes(fromKafka)},
		&folder{name: "consumer, reads and decodes only", share: many, run: decodes(fromNATS)},
	), stop, nil
}

// measure runs a folder once, and keeps what it took if the outcome is right.
func (x *folder) measure(ctx context.Context, n int, h *history, postmaster int) error {
	count := int(float64(n) * x.share)
	before, err := cpuTime(postmaster, x.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := x.run(ctx, count); err != nil {
		return fmt.Errorf("%s: %w", x.name, err)
	}
	took := time.Since(began)
	after, err := cpuTime(postmaster, x.pid)
	if err != nil {
		return err
	}
	if x.state != nil {
		if err := stateIs(ctx, x.state(), h.expected(count)); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(count) }
	x.took = append(x.took, each(took))
	cpu := after.minus(before)
	x.programs = append(x.programs, each(cpu.programs))
	x.database = append(x.database, each(cpu.database))
	x.others = append(x.others, max(0, (cpu.machine-cpu.programs-cpu.database).Seconds()/took.Seconds()))
	return nil
}

func printReport(folders []*folder, o options) {
	fmt.Printf("%-40s %9s %9s   %-28s %s\n%-40s %9s %9s %10s %10s %8s %9s\n", "", "", "", "CPU µs per event", "others on",
		"", "events/s", "events", "programs", "PostgreSQL", "both", "the CPUs")
	for _, x := range folders {
		fmt.Printf("%-40s %9.0f %9.0f %10.1f %10.1f %8.1f %9.1f\n", x.name, x.rate(), float64(o.events)*x.share, mean(x.programs), mean(x.database),
			x.cpu(), mean(x.others))
	}
	for _, own := range folders[:2] {
		for _, other := range folders[2:] {
			if other.state == nil {
				continue
			}
			fmt.Printf("%s is %.1f× %s (%.1f× by CPU)\n", own.name, own.rate()/other.rate(), other.name, other.cpu()/own.cpu())
		}
	}
	goal := map[bool]string{true: "met", false: "missed"}
	rebuilt, verified := folders[0].rate(), folders[1].rate()
	if busy := mean(append(folders[0].others, folders[1].others...)); busy > 0.1 {
		fmt.Printf("the machine was not free: %.1f of its %d processors worked for somebody else while own ran\n", busy, runtime.NumCPU())
	}
	fmt.Printf("goals: ≥ 25,000 events/s rebuilt %s (%.0f); ≥ 100,000 events/s verified %s (%.0f)\n",
		goal[rebuilt >= 25_000], rebuilt, goal[verified >= 100_000], verified)
}

// controlIn runs the control on a database and a log of its own.
func controlIn(ctx context.Context, dir, postgresURL string, logger *slog.Logger) (string, error) {
	conn, err := pgx.Connect(ctx, postgresURL)
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE control")
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return "", err
	}
	u, err := url.Parse(postgresURL)
	if err != nil {
		return "", err
	}
	u.Path = "/control"
	ns, err := natsserver.Start(natsserver.Options{DataDir: dir + "/control", Users: []natsserver.User{natsserver.All("bench")}, Logger: logger})
	if err != nil {
		return "", err
	}
	defer ns.Stop()
	return control(ctx, u.String(), ns.URL("bench"))
}

// stateIs holds the table's content against what is expected.
func stateIs(ctx context.Context, q eventlog.Reader, want string) error {
	rows, err := q.Query(ctx, `SELECT concat_ws(' ', key, n, last, rejected, failed) FROM state`)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if checksum(lines) != want {
		return errors.New("the state is not what the events make of it")
	}
	return nil
}

func (x *folder) rate() float64 { return 1e6 / geometric(x.took) }
func (x *folder) cpu() float64  { return mean(x.programs) + mean(x.database) }

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
