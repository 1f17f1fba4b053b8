package eventlog

import (
	"context"
	"errors"
	"fmt"
	"github.com/cloudevents/sdk-go/v2/event"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// figure is how much of something a test does: few in every run of the tests, and
// all of what was promised where FRESHET_PROMISES is "full".
func figure(few, all int) int {
	if os.Getenv("FRESHET_PROMISES") == "full" {
		return all
	}
	return few
}

// requireOutbox says that a service's outbox and its part of a log are the same.
func (w *world) requireOutbox(service string, log []event.Event) {
	w.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.url)
	require.NoError(w.t, err)
	defer conn.Close(ctx) //nolint:errcheck // only read from
	rows, err := conn.Query(ctx, "SELECT event FROM "+schema.Of(service)+"_io.outbox ORDER BY sequence")
	require.NoError(w.t, err)
	outbox, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(w.t, err)
	next := 0
	for _, e := range log {
		if e.Source() != envelope.SourcePrefix+service {
			continue
		}
		require.Less(w.t, next, len(outbox), "%s is in the log and not in the outbox", e.ID())
		b, err := plainCodec{}.Encode(e)
		require.NoError(w.t, err)
		require.JSONEq(w.t, string(outbox[next]), string(b))
		next++
	}
	require.Len(w.t, outbox, next, "in the outbox and not in the log")
}

// cutConnections breaks the services' connections to the database, now and then,
// until the context ends: what they committed last, they do not know.
func (w *world) cutConnections(ctx context.Context, every time.Duration) error {
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	for {
		if stall.PauseFor(ctx, rand.N(2*every)) != nil {
			return nil
		}
		_, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND pid <> pg_backend_pid() AND random() < 0.5")
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Every fact is recorded one to five times, by two processes at once, while
// connections break between a commit and its answer.
func TestPromise03OneEffectPerEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := []*Log{w.start(counts("adder")), w.start(counts("adder"))}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	const callers, group = 16, 50
	total := figure(10_000, 1_000_000)
	var next atomic.Int64
	var again atomic.Int64
	errs := make(chan error, callers)
	for range callers {
		go func() {
			errs <- func() error {
				for {
					from := int(next.Add(group)) - group
					if from >= total {
						return nil
					}
					facts := make([]Fact, 0, group)
					for n := from; n < min(from+group, total); n++ {
						facts = append(facts, fact("adder.added", fmt.Sprint(n%7), 1, "fact", fmt.Sprint(n)))
					}
					for times := 1 + rand.IntN(5); times > 0; {
						l := logs[rand.IntN(2)]
						r, err := l.Record(ctx, facts...)
						if err != nil {
							return err
						}
						for _, x := range r {
							if x.Existing {
								again.Add(1)
							}
						}
						times--
					}
				}
			}()
		}()
	}
	cut := make(chan error, 1)
	go func() { cut <- w.cutConnections(ctx, 300*time.Millisecond) }()
	for range callers {
		require.NoError(t, <-errs)
	}
	stop()
	require.NoError(t, <-cut)
	settle(t, logs...)
	require.NotZero(t, again.Load())
	var n int
	require.NoError(t, logs[0].State().QueryRow(context.Background(), "SELECT sum(n) FROM sums").Scan(&n))
	require.Equal(t, total, n)
	k, err := logs[0].sessions.Current()
	require.NoError(t, err)
	_, last, err := k.Bounds(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 2*total, last, "a fact and its decision, once each")
}

// Sixty-four writers of two processes stall at random; whoever reads the log sees
// each source numbered without a gap, and each writer's facts in their order.
func TestPromise04OrderWithoutGaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := []*Log{w.start(NewFold("adder", 1, "")), w.start(NewFold("adder", 1, "")), w.start(NewFold("other", 1, ""))}
	const writers = 64
	each := figure(200, 1_000_000/writers)
	errs := make(chan error, writers)
	for writer := range writers {
		l := logs[writer%3]
		go func() {
			var err error
			for n := 1; n <= each && err == nil; {
				var facts []Fact
				for range 1 + rand.IntN(20) {
					if n <= each {
						facts = append(facts, fact(l.engine.Service()+".added", fmt.Sprint(writer), n))
						n++
					}
				}
				_, err = l.Record(context.Background(), facts...)
				if rand.IntN(50) == 0 {
					err = errors.Join(err, stall.PauseFor(context.Background(), rand.N(20*time.Millisecond)))
				}
			}
			errs <- err
		}()
	}
	for range writers {
		require.NoError(t, <-errs)
	}
	settle(t, logs...)
	log := w.wholeLog()
	require.Len(t, log, writers*each)
	sequences(t, log)
	last := map[string]int{}
	for _, e := range log {
		p, err := payloadOf(e)
		require.NoError(t, err)
		require.Equal(t, last[e.Subject()]+1, p.N, "writer %s", e.Subject())
		last[e.Subject()] = p.N
	}
}

// Poison of every sort among good events: whoever has nothing to do with a parked
// event is applied, in order, as if it were not there.
func TestPromise09PoisonNeverBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l, other := w.start(fragile(func() bool { return false })), w.start(NewFold("other", 1, ""))
	const subjects = 10
	var want [subjects]int // good events of a subject that come before its first poison
	poisoned := map[int]bool{}
	var parked, all int
	for range figure(60, 5000) {
		facts := make([]Fact, 0, 10)
		for range 10 {
			subject, n := rand.IntN(subjects), 2*rand.IntN(5)
			// Half of the subjects stay clean.
			if subject%2 == 1 && rand.IntN(20) == 0 {
				n = 13 + rand.IntN(4)
				if !poisoned[subject] {
					parked++
				}
				poisoned[subject] = true
			} else if !poisoned[subject] {
				want[subject]++
			}
			facts = append(facts, fact("fragile.added", fmt.Sprint(subject), n))
			all++
		}
		_, err := l.Record(ctx, facts...)
		require.NoError(t, err)
		// What no service of this version can read is others' poison.
		for _, bad := range []any{"text", []int{1}, nil, map[string]any{"n": "x"}, map[string]any{"n": 1e300}} {
			_, err = other.Record(ctx, Fact{Event: draft("other.added", "x", bad)})
			require.NoError(t, err)
		}
	}
	settle(t, l, other)
	require.EqualValues(t, parked, l.Status(ctx).Parked)
	require.NotZero(t, parked)
	for subject := range subjects {
		var n int
		require.NoError(t, l.State().QueryRow(ctx, "SELECT count(*) FROM seen WHERE subject = $1", fmt.Sprint(subject)).Scan(&n))
		require.Equal(t, want[subject], n, "subject %d", subject)
	}
	sequences(t, w.wholeLog())
	require.NoError(t, l.Status(ctx).Err)
}

// Facts that are recorded beside poison are applied as soon as those that are not.
func TestPromise09PoisonDelaysNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.start(fragile(func() bool { return false }))
	const block, every = 50, 20 // facts; one in so many has poison before it
	var took [2][]time.Duration // without and with poison
	for round := range figure(4, 100) {
		withPoison := round % 2
		for n := range block {
			if withPoison == 1 && n%every == 0 {
				_, err := l.Record(ctx, fact("fragile.added", fmt.Sprintf("poison %d.%d", round, n), 13+n/every))
				require.NoError(t, err)
			}
			began := time.Now()
			_, err := l.RecordAndWait(ctx, fact("fragile.added", "x", 2))
			require.NoError(t, err)
			took[withPoison] = append(took[withPoison], time.Since(began))
		}
	}
	var p99 [2]time.Duration
	for i := range took {
		slices.Sort(took[i])
		p99[i] = took[i][len(took[i])*99/100]
	}
	t.Logf("p99 %s, withPoison poison %s", p99[0], p99[1])
	require.NotZero(t, l.Status(ctx).Parked)
	if figure(0, 1) == 1 {
		require.Less(t, p99[1], 2*p99[0], "what was promised")
	}
}
