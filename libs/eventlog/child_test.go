package eventlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A test process with this set is a suite that its parent kills: NATS, a log,
// and callers that print every fact that was acknowledged.
const childRole = "FRESHET_EVENTLOG_CHILD"

// laborer decides, opens an effect per fact, and counts each once.
func laborer() (*Fold, []Handler) {
	f := counts("adder")
	add := f.apply[full("adder.added")]
	f.Apply(full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
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
	server, err := natsserver.Start(natsserver.Options{DataDir: os.Getenv(childRole), Users: []natsserver.User{natsserver.All("test")}})
	if err != nil {
		return err
	}
	nc, err := nats.Connect(server.URL("test"))
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
	f, handlers := laborer()
	l, err := Open(ctx, Options{Fold: f, IsDecision: isDecision, Codec: plainCodec{}, Pool: pool, NATS: nc, Stream: stream, Clock: clock.System(), Handlers: handlers})
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

func TestNothingIsLostOrDoubledWhenTheProcessIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	dir, url := t.TempDir(), databaseURL(t)
	acknowledged := map[string]bool{}
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childRole+"="+dir, "CHILD_POSTGRES="+url, fmt.Sprintf("CHILD_ROUND=%d", round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		stopAt := 50 + rand.IntN(300)
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
	f, handlers := laborer()
	l := w.start(f, handlers...)
	settle(t, l)
	log := w.wholeLog()
	sequences(t, log)
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
	require.NoError(t, l.State().QueryRow(context.Background(), "SELECT coalesce(sum(n) FILTER (WHERE subject <> 'worked'), 0), coalesce(sum(n) FILTER (WHERE subject = 'worked'), 0) FROM sums").Scan(&n, &worked))
	require.Equal(t, []int{added, added}, []int{n, worked})
	again, _ := laborer()
	require.Equal(t, w.dump("adder", "sums"), w.rebuild("adder", again, "sums"))
}

func TestTwoProcessesOfAServiceShareItsLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var logs []*Log
	var stops []func()
	for range 2 {
		f, handlers := laborer()
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
	if logs[1].leading.Load() {
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
