package eventlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A test process with this set is a suite that its parent kills: NATS, a log,
// and callers that print every fact that was acknowledged.
const childRole = "FRESHET_EVENTLOG_CHILD"

// worker decides, opens an effect per fact, and counts each once.
func worker() (*Fold, []Handler) {
	f := counts("adder")
	add := applyOf(f, full("adder.added"))
	replaceApply(f, full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		tx.Open(Effect{Kind: "work"})
		return add(ctx, tx, e)
	})
	f.Apply(full("adder.worked"), func(ctx context.Context, tx *Tx, e event.Event) error {
		tx.Exec("INSERT INTO sums VALUES ('worked', 1, 0) ON CONFLICT (subject) DO UPDATE SET n = sums.n + 1")
		return nil
	})
	done := func(context.Context, *Run) (event.Event, error) {
		return draft("adder.worked", "worked", payload{}), nil
	}
	return f, []Handler{{Kind: "work", Concurrency: 4, Attempts: 100, Run: done,
		Failed: func(ctx context.Context, run *Run, _ error) (event.Event, error) { return done(ctx, run) }}}
}

func childMain() {
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func child() error {
	ctx := context.Background()
	if os.Getenv(childRole) == "rebuild" {
		return rebuildingChild(ctx)
	}
	log := os.Getenv("CHILD_NATS")
	if log == "" {
		server, err := natsserver.Start(natsserver.Options{DataDir: os.Getenv(childRole), Users: []natsserver.User{natsserver.All("test")}})
		if err != nil {
			return err
		}
		log = server.URL("test")
	}
	nc, err := nats.Connect(log, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	if err := EnsureStream(ctx, nc, stream); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_POSTGRES"))
	if err != nil {
		return err
	}
	f, handlers := worker()
	l, err := Open(ctx, Options{Fold: f, IsDecision: isDecision, Codec: plainCodec{}, Pool: pool, NATS: nc, Clock: clock.System(), Handlers: handlers})
	if err != nil {
		return err
	}
	errs := make(chan error, 9)
	go func() { errs <- l.Run(ctx) }()
	for c := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%s/%d/%d", os.Getenv("CHILD_ROUND"), c, i)
				r, err := l.Record(ctx, fact("adder.added", fmt.Sprint(c%3), 1, key))
				if err == nil && os.Getenv("CHILD_NATS") != "" {
					err = stall.PauseFor(ctx, 25*time.Millisecond)
				}
				if err != nil {
					errs <- err
					return
				}
				fmt.Println(r[0].ID)
			}
		}()
	}
	return <-errs
}

func TestPromise01NoCommittedEventIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	dir, url := t.TempDir(), databaseURL(t)
	acknowledged := map[string]bool{}
	for round := range figure(6, 1000) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childRole+"="+dir, "CHILD_POSTGRES="+url, fmt.Sprintf("CHILD_ROUND=%d", round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		stopAt := rand.IntN(figure(350, 60))
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if id := lines.Text(); len(id) == 36 {
				acknowledged[id] = true
			}
			if n == stopAt {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
	}
	require.NotEmpty(t, acknowledged)

	server, err := natsserver.Start(natsserver.Options{DataDir: dir, Users: []natsserver.User{natsserver.All("test")}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	w := &world{t: t, url: url, nats: server, clock: clock.NewDriven(time.Now().Add(time.Hour))}
	f, handlers := worker()
	l := w.start(f, handlers...)
	settle(t, l)
	log := w.wholeLog()
	sequences(t, log)
	w.requireOutbox("adder", log)
	seen := map[string]int{}
	for _, e := range log {
		seen[e.Type()]++
		delete(acknowledged, e.ID())
	}
	require.Empty(t, acknowledged, "acknowledged and lost")
	added := seen[full("adder.added")]
	require.Equal(t, added, seen[full("adder.doubled")])
	require.Equal(t, added, seen[full("adder.worked")])
	var n, worked int
	require.NoError(t, l.State().QueryRow(context.Background(),
		"SELECT coalesce(sum(n) FILTER (WHERE subject <> 'worked'), 0), coalesce(sum(n) FILTER (WHERE subject = 'worked'), 0) FROM sums").Scan(&n, &worked))
	require.Equal(t, []int{added, added}, []int{n, worked})
	again, _ := worker()
	require.Equal(t, w.dump("adder", "sums"), w.rebuild("adder", again, "sums"))
}

// Of two processes the leading one is stopped in mid-air and its sessions are
// ended, by an administrator or, where there is none, by the other process; that
// leads, and then the first one continues where it was: it has batches to publish,
// positions to move and results to record that are not its own any more.
func TestPromise05NoSplitPublisher(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and stops processes")
	}
	t.Parallel()
	w := newWorld(t)
	pool := w.pool()
	ctx := context.Background()
	var acknowledged sync.Map
	var count atomic.Int64
	type child struct {
		name string
		cmd  *exec.Cmd
		said chan struct{} // closed at its end
	}
	at, err := url.Parse(w.url)
	require.NoError(t, err)
	options := at.Query()
	start := func(n int) *child {
		c := &child{name: fmt.Sprintf("child-%d", n), said: make(chan struct{})}
		options.Set("application_name", c.name)
		at.RawQuery = strings.ReplaceAll(options.Encode(), "+", "%20")
		c.cmd = exec.Command(os.Args[0])
		c.cmd.Env = append(os.Environ(), childRole+"=1", "CHILD_NATS="+w.nats.URL("test"), "CHILD_ROUND="+c.name, "CHILD_POSTGRES="+at.String())
		c.cmd.Stderr = os.Stderr
		out, err := c.cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.cmd.Start())
		go func() {
			defer close(c.said)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if id := lines.Text(); len(id) == 36 {
					acknowledged.Store(id, true)
					count.Add(1)
				}
			}
		}()
		t.Cleanup(func() {
			_ = c.cmd.Process.Kill()
			<-c.said
			_ = c.cmd.Wait()
		})
		return c
	}
	leader := func() string { return leaderOf(t, pool).name }
	follows := func(c *child) (yes bool) {
		err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ("+schema.HeldLocks+") held JOIN pg_stat_activity a USING (pid) WHERE key = "+
			"hashtextextended('freshet/adder/follow', 0) AND a.application_name = $1)", c.name).Scan(&yes)
		require.NoError(t, err)
		return yes
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, stallLimit, pollTest, what)
	}
	first := start(0)
	await("a leader", func() bool { return leader() == first.name })
	next := 1
	for round := range figure(4, 60) {
		second := start(next)
		next++
		before := count.Load()
		await("facts of both", func() bool { return count.Load() > before+50 })
		require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP))
		if round%4 > 0 {
			_, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", first.name)
			require.NoError(t, err)
			_, err = pool.Exec(ctx, "UPDATE adder_io.leases SET until = '-infinity'")
			require.NoError(t, err)
		}
		await("the second to lead", func() bool { return leader() == second.name })
		end := w.end()
		await("the second to publish", func() bool { return w.end() > end+20 })
		require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
		await("the first to follow", func() bool { return follows(first) })
		require.Equal(t, second.name, leader())
		end = w.end()
		await("both to go on", func() bool { return w.end() > end+100 })
		require.NoError(t, first.cmd.Process.Kill())
		first = second
	}
	require.NoError(t, first.cmd.Process.Kill())
	<-first.said

	f, handlers := worker()
	l := w.start(f, handlers...)
	settle(t, l)
	log := w.wholeLog()
	sequences(t, log)
	w.requireOutbox("adder", log)
	seen := map[string]int{}
	for _, e := range log {
		seen[e.Type()]++
		acknowledged.Delete(e.ID())
	}
	acknowledged.Range(func(id, _ any) bool { t.Errorf("%s was acknowledged and is lost", id); return true })
	require.Equal(t, seen[full("adder.added")], seen[full("adder.doubled")])
	require.Equal(t, seen[full("adder.added")], seen[full("adder.worked")])
}

func TestTwoProcessesOfAServiceShareItsLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var logs []*Log
	var stops []func()
	for range 2 {
		f, handlers := worker()
		l := w.open(f, handlers...)
		logs, stops = append(logs, l), append(stops, run(t, l))
	}
	record := func(l *Log, who string, n int) error {
		var errs error
		for i := range n {
			_, err := l.Record(context.Background(), fact("adder.added", "x", 1, who, fmt.Sprint(i)))
			errs = errors.Join(errs, err)
		}
		return errs
	}
	errs := make(chan error, 8)
	for c := range 8 {
		go func() { errs <- record(logs[c%2], fmt.Sprint(c), 30) }()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
	settle(t, logs...)
	// The one that leads goes; the other takes over.
	first := 0
	if logs[1].lease.Leading() {
		first = 1
	}
	stops[first]()
	require.ErrorIs(t, record(logs[first], "late", 1), ErrStopped)
	require.NoError(t, record(logs[1-first], "after", 30))
	_, err := logs[1-first].RecordAndWait(context.Background(), fact("adder.added", "x", 1, "last"))
	require.NoError(t, err)
	settle(t, logs[1-first])
	n, doubled := sum(t, logs[1-first], "x")
	require.Equal(t, []int{271, 542}, []int{n, doubled})
	sequences(t, w.wholeLog())
	require.Len(t, w.wholeLog(), 3*271)
}

// What another process records and publishes while this one opens is no sign that
// the database was restored.
func TestAProcessOpensWhileAnotherRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.start(counts("adder"))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	recorded := make(chan error, 1)
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := l.Record(ctx, fact("adder.added", "x", 1, fmt.Sprint(n))); err != nil && ctx.Err() == nil {
				recorded <- err
				return
			}
		}
		recorded <- nil
	}()
	for range 40 {
		second := w.open(counts("adder"))
		end := run(t, second)
		require.Eventually(t, func() bool { return second.engine.Position() > 0 }, stallLimit, time.Millisecond)
		require.NoError(t, second.Status(context.Background()).Err)
		end()
	}
	stop()
	require.NoError(t, <-recorded)
	settle(t, l)
	sequences(t, w.wholeLog())
}

func TestAnInterruptedEffectGoesOnAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func() *Fold {
		f := NewFold("worker", 1, "")
		f.Apply(full("worker.asked"), func(ctx context.Context, tx *Tx, e event.Event) error {
			tx.Open(Effect{Kind: "long"})
			return nil
		})
		return f
	}
	began := make(chan struct{})
	l := w.open(f(), Handler{Kind: "long", Timeout: time.Hour, Attempts: 1, Failed: failed, Run: func(ctx context.Context, run *Run) (event.Event, error) {
		close(began)
		<-ctx.Done()
		return event.Event{}, ctx.Err()
	}})
	stop := run(t, l)
	_, err := l.Record(context.Background(), fact("worker.asked", "x", 1))
	require.NoError(t, err)
	<-began
	stop()
	var attempt atomic.Int64
	l = w.start(f(), Handler{Kind: "long", Timeout: time.Hour, Attempts: 1, Failed: failed, Run: func(ctx context.Context, run *Run) (event.Event, error) {
		attempt.Store(int64(run.Attempt))
		return draft("worker.finished", "x", payload{}), nil
	}})
	settle(t, l)
	require.EqualValues(t, 1, attempt.Load(), "a stopped attempt is not counted")
	log := w.wholeLog()
	require.True(t, strings.HasSuffix(log[len(log)-1].Type(), "finished"))
}
