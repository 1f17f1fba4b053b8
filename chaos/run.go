package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Config of a run.
type Config struct {
	Options
	Seed   uint64
	From   int           // first round
	Rounds int           // 0 for one of every kind of fault
	Span   time.Duration // of faults and load in a round
	Outage time.Duration // the longest of a server; the round lasts as long
	Rate   int           // events per second and producer
	Kinds  []string      // only these; all if empty
	Out    io.Writer
}

const (
	// settleWithin is how long a suite may take, once repaired, to finish its work.
	settleWithin = 90 * time.Second
	// mostEach is how much a producer announces at most during a long outage.
	mostEach = 60
)

// Run runs rounds until one finds something, and returns what it found.
func Run(ctx context.Context, c Config) (*Findings, error) {
	began := time.Now()
	f := &Findings{}
	can, skipped := c.can()
	if c.Rounds == 0 {
		c.Rounds = len(kinds(can))
	}
	fmt.Fprintf(c.Out, "on %s: seed %d, rounds %d to %d, in %s\n", c.Kafka, c.Seed, c.From, c.From+c.Rounds-1, c.Dir)
	for _, why := range skipped {
		fmt.Fprintln(c.Out, "skipped:", why)
	}
	s, err := Start(ctx, c.Options)
	if err != nil {
		return f, err
	}
	l, err := newLoad(ctx, s)
	if err != nil {
		return f, errors.Join(err, s.Stop())
	}
	err = l.prepare(ctx)
	if err == nil {
		fmt.Fprintf(c.Out, "%d services and %d servers are up after %.1f s\n", len(c.Services), len(Servers), time.Since(began).Seconds())
		err = c.rounds(ctx, s, l, can, f)
	}
	stopping := time.Now()
	stopped := s.Stop()
	var late *slowStop
	if errors.As(stopped, &late) {
		f.diverged("%v", stopped)
		stopped = nil
	}
	err = errors.Join(err, l.close(), stopped)
	if orphans, orphanErr := s.Orphans(5 * time.Second); err == nil {
		err = orphanErr
		for _, o := range orphans {
			f.diverged("left behind after the end: %s", o)
		}
	}
	fmt.Fprintf(c.Out, "stopped in %.1f s; %.0f s in all\n", time.Since(stopping).Seconds(), time.Since(began).Seconds())
	return f, err
}

// can says which faults are possible here, and why others are not.
func (c Config) can() (func(kind) bool, []string) {
	var skipped []string
	if !c.Inside {
		skipped = append(skipped, "full disks: mounting file systems needs root")
	}
	dumps := true
	for _, program := range []string{"pg_dump", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			dumps = false
			skipped = append(skipped, "restored databases: "+err.Error())
			break
		}
	}
	return func(k kind) bool {
		if k == full && !c.Inside || k == older && !dumps {
			return false
		}
		for _, only := range c.Kinds {
			if only == string(k) {
				return true
			}
		}
		return len(c.Kinds) == 0
	}, skipped
}

// aim is what faults are to hit in particular: where it is Apache Kafka, that is it.
func (c Config) aim() string {
	if c.Kafka == Apache {
		return "kafka"
	}
	return ""
}

func (c Config) rounds(ctx context.Context, s *Suite, l *load, can func(kind) bool, f *Findings) error {
	check := newChecker()
	for round := c.From; round < c.From+c.Rounds; round++ {
		began := time.Now()
		faults := c.plan(round, can)
		before, asked := check.next, l.ledger.inferred
		fmt.Fprintf(c.Out, "round %d: %s", round, describe(faults))
		err := c.round(ctx, s, l, check, faults, round, f)
		fmt.Fprintf(c.Out, ": %d events, %d answers, %.1f s", check.next-before, l.ledger.inferred-asked, time.Since(began).Seconds())
		if err != nil || !f.None() {
			fmt.Fprintf(c.Out, "\n%s", report(f))
			fmt.Fprintf(c.Out, "to see it again: make chaos SEED=%d FROM=%d ROUNDS=1 RATE=%d OUTAGE=%s KAFKA=%s\n", c.Seed, round, c.Rate, c.Outage, string(c.Kafka))
			return err
		}
		fmt.Fprintln(c.Out, ": ok")
	}
	fmt.Fprintf(c.Out, "%d events in the log, %d models approved, %d records repeated in the archive; from the beginning once more\n",
		check.next-1, check.counts["approval_given"], check.repeated)
	whole := newChecker()
	whole.repeats = true // they were looked at when they came
	if err := whole.check(ctx, s, newLedger(), f); err != nil {
		return err
	}
	for sequence, digest := range check.digests {
		if whole.digests[sequence] != digest {
			f.diverged("event %d of the log is not what it was", sequence)
		}
	}
	for _, from := range origins {
		if err := s.verify(ctx, c.Services, from, f); err != nil {
			return err
		}
	}
	fmt.Fprint(c.Out, report(f))
	return nil
}

// ways are how producers announce data in a round. What only the log's server was
// told, and nobody had read yet, goes with its store where that is lost or set back.
func ways(faults []fault) []string {
	for _, f := range faults {
		if f.kind == rollback || f.kind == lost {
			return []string{"http", "kafka"}
		}
	}
	return []string{"http", "nats", "kafka"}
}

// origins are where a service may be rebuilt from.
var origins = []string{"log", "archive"}

// round injects faults into the suite under load, repairs it, lets it settle, and checks.
func (c Config) round(ctx context.Context, s *Suite, l *load, check *checker, faults []fault, round int, f *Findings) error {
	span := c.Span
	for _, x := range faults {
		if x.kind == outages {
			span = max(span, x.at+x.lasts)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, span+4*time.Minute)
	defer cancel()
	working, stop := context.WithTimeout(ctx, span)
	defer stop()
	loaded := make(chan error, 1)
	pause := max(time.Second/time.Duration(c.Rate), span/mostEach) // all of it has to be done with in the end
	go func() { loaded <- l.run(ctx, working, randomness(c.Seed, 1<<30+round), round, pause, ways(faults)) }()
	began := time.Now()
	errs := group(faults, func(x fault) error {
		sleep(ctx, x.at-time.Since(began))
		return s.inject(ctx, x, l)
	})
	<-working.Done()
	for _, err := range errs {
		var late *slowStop
		if errors.As(err, &late) {
			f.diverged("%v", err)
		} else if err != nil {
			return fmt.Errorf("the harness: %w", err)
		}
	}
	if err := s.repair(ctx); err != nil {
		f.diverged("after the faults: %v", err)
		return nil
	}
	if err := <-loaded; err != nil {
		f.lost("%v", err)
	}
	if err := s.Settle(ctx, settleWithin); err != nil {
		f.diverged("%v", err)
		return nil
	}
	check.repeats = slices.ContainsFunc(faults, func(x fault) bool {
		return x.target == "kafka" || x.kind == crash || x.target == "audit" && (x.kind == takeover || x.kind == pauses)
	})
	if err := check.check(ctx, s, l.ledger, f); err != nil {
		return err
	}
	// One service a round, from the log and from the archive in turn; all at the end.
	if err := s.verify(ctx, []string{c.Services[round%len(c.Services)]}, origins[round/len(c.Services)%2], f); err != nil {
		return err
	}
	orphans, err := s.Orphans(5 * time.Second)
	for _, o := range orphans {
		f.diverged("left behind by a process that was killed: %s", o)
	}
	for _, p := range s.all() {
		for _, e := range p.Exits() {
			if strings.HasPrefix(e, crashMark) {
				f.diverged("%s: %s", p.Name, e)
			}
		}
	}
	return err
}

// report lists the findings, the first few of each kind.
func report(f *Findings) string {
	var b strings.Builder
	for _, part := range []struct {
		name string
		all  []string
	}{{"lost", f.Lost}, {"doubled", f.Doubled}, {"reordered", f.Reordered}, {"diverged", f.Diverged}} {
		for i, what := range part.all {
			if i == 10 {
				fmt.Fprintf(&b, "  %s: and %d more\n", part.name, len(part.all)-i)
				break
			}
			fmt.Fprintf(&b, "  %s: %s\n", part.name, what)
		}
	}
	return b.String()
}
