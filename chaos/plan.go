package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A fault is one thing that happens to the suite in a round.
type fault struct {
	kind   kind
	target string
	at     time.Duration // after the round's start
	lasts  time.Duration
	number int
}

func (f fault) String() string {
	s := string(f.kind)
	if f.target != "" {
		s += " " + f.target
	}
	s += fmt.Sprintf(" at %d ms", f.at.Milliseconds())
	if f.lasts > 0 {
		s += fmt.Sprintf(" for %d ms", f.lasts.Milliseconds())
	}
	if f.alone() {
		s += " after it was found out"
	}
	return s
}

// alone says that nobody helps: a second process finds out that the first one is
// stopped, and ends its sessions. That takes it over ten seconds, so it is one in four.
func (f fault) alone() bool { return (f.kind == takeover || f.kind == zombie) && f.number%4 == 0 }

type kind string

// Kinds of faults.
const (
	kill      kind = "kill"      // kill -9
	crash     kind = "kill all"  // kill -9 of every process at once
	pauses    kind = "pause"     // SIGSTOP, and SIGCONT
	outages   kind = "outage"    // of a server, which comes back
	slow      kind = "slow link" // to a server
	cut       kind = "cut link"
	blackhole kind = "black hole" // connections stay open, nothing comes through
	answers   kind = "lost answers"
	takeover  kind = "take over" // the leader stops, a second instance leads, the leader continues
	zombie    kind = "zombie"    // an executor stops past its leases and continues when another has done its work
	full      kind = "full disk"
	clocks    kind = "clock" // steps by an hour
	again     kind = "deliver again"
	stop      kind = "stop"      // SIGTERM, and a start right after
	rebuild   kind = "rebuild"   // from the log or its archive, swapped in
	rollback  kind = "roll back" // the log's store is an older copy
	lost      kind = "lose"      // the log's store is empty
	older     kind = "restore"   // a service's database is from an older dump
)

// everything that a round can be about, in the order in which a cycle of rounds is
// dealt.
func kinds(can func(kind) bool) []kind {
	all := []kind{kill, crash, pauses, outages, slow, cut, blackhole, answers, takeover, zombie, full, clocks, again, stop, rebuild, rollback, lost, older}
	return slices.DeleteFunc(all, func(k kind) bool { return !can(k) })
}

// targets of a kind of fault.
func targets(k kind, services []string) []string {
	switch k {
	case kill:
		return append(slices.Clone(services), "nats", "kafka", "postgres", "postmaster")
	case pauses:
		return append(slices.Clone(services), Servers...)
	case outages, slow, cut, blackhole, answers:
		return Servers
	case takeover, clocks, stop, rebuild, older:
		return services
	case zombie: // those whose effects the load opens
		return []string{"ingestion", "feature-store", "training", "deployment"}
	case full:
		return []string{"nats", "kafka", "postgres", "objects"}
	case again: // those that read an input beside the log
		return []string{"ingestion", "monitoring"}
	case rollback, lost:
		return []string{"nats"}
	case crash: // the whole machine
	}
	return []string{""}
}

// randomness of a round, the same for the same seed and round.
func randomness(seed uint64, round int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(round)*0x9e3779b97f4a7c15+1)) //nolint:gosec // not a secret
}

// plan draws what happens in a round. Rounds are dealt from a shuffled deck, so that
// every kind of fault has its turn; up to two kills come on top. Of the faults that may
// hit the run's aim, if there is one, every other does.
func (c Config) plan(round int, can func(kind) bool) []fault {
	deck := kinds(can)
	shuffle := randomness(c.Seed, -1-round/len(deck))
	shuffle.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	r := randomness(c.Seed, round)
	faults := []fault{c.draw(r, deck[round%len(deck)])}
	for range r.IntN(3) {
		if can(kill) {
			faults = append(faults, c.draw(r, kill))
		}
	}
	slices.SortStableFunc(faults, func(a, b fault) int { return int(a.at - b.at) })
	return faults
}

func (c Config) draw(r *rand.Rand, k kind) fault {
	within := func(d time.Duration) time.Duration {
		return time.Duration(r.Int64N(int64(d))).Truncate(time.Millisecond)
	}
	f := fault{kind: k, at: within(c.Span * 2 / 3), number: r.IntN(1 << 20)}
	all := targets(k, c.Services)
	f.target = all[r.IntN(len(all))]
	if f.number>>10%2 == 0 && slices.Contains(all, c.aim()) {
		f.target = c.aim()
	}
	switch k {
	case pauses, slow, cut, blackhole, answers, full, clocks:
		f.lasts = c.Span/6 + within(c.Span/2)
	case outages:
		f.lasts = c.Outage/4 + within(c.Outage*3/4)
	case takeover, zombie, rollback, older:
		f.at, f.lasts = within(c.Span/4), c.Span/6+within(c.Span/4)
	case kill, crash, again, stop, rebuild, lost: // do not last
	}
	return f
}

func describe(faults []fault) string {
	all := make([]string, len(faults))
	for i, f := range faults {
		all[i] = f.String()
	}
	return strings.Join(all, ", ")
}
