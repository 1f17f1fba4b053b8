package eventlog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// copied keeps the database as it is now; the function puts the copy in its place.
func (w *world) copied() (restore func()) {
	w.t.Helper()
	u, err := url.Parse(w.url)
	require.NoError(w.t, err)
	original := strings.TrimPrefix(u.Path, "/")
	backup := original + "_b"
	admin(w.t, databaseServer.url, "CREATE DATABASE "+backup+" TEMPLATE "+original)
	w.t.Cleanup(func() { admin(w.t, databaseServer.url, "DROP DATABASE IF EXISTS "+backup+" WITH (FORCE)") })
	return func() {
		u.Path = "/" + backup
		w.url = u.String()
	}
}

// during runs a log and ends it and its connections.
func (w *world) during(f *Fold, do func(*Log)) {
	w.t.Helper()
	o := w.options(f)
	l, err := Open(context.Background(), o)
	require.NoError(w.t, err)
	stop := run(w.t, l)
	do(l)
	settle(w.t, l)
	stop()
	o.Pool.Close()
}

func TestARestoredDatabaseLearnsFromTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	record := func(from, to int) func(*Log) {
		return func(l *Log) {
			for i := from; i < to; i++ {
				_, err := l.RecordAndWait(context.Background(), fact("adder.added", fmt.Sprint(i%2), 1, fmt.Sprint(i)))
				require.NoError(t, err)
			}
		}
	}
	w.during(counts("adder"), record(0, 10))
	restore := w.copied()
	w.during(counts("adder"), record(10, 20))
	want, length := w.dump("adder", "sums"), len(w.wholeLog())

	restore()
	w.during(counts("adder"), func(*Log) {})
	require.Equal(t, want, w.dump("adder", "sums"))
	require.Len(t, w.wholeLog(), length)
	// Keys recorded after the backup are still known, and new facts follow on.
	w.during(counts("adder"), record(15, 25))
	log := w.wholeLog()
	require.Len(t, log, length+10)
	sequences(t, log)
}

// Between the backup and its restore, a version decides that is no longer there.
func TestWhatWasDecidedIsNotDecidedAnewAfterARestore(t *testing.T) {
	t.Parallel()
	more := func() *Fold {
		f := counts("adder")
		f.Version = 2
		replaceDecide(f, full("adder.added"), func(_ context.Context, _ Reader, e event.Event, _ time.Time) ([]event.Event, error) {
			return []event.Event{draft("adder.doubled", e.Subject(), payload{}), draft("adder.counted", e.Subject(), payload{})}, nil
		})
		return f
	}
	for name, c := range map[string]struct {
		after Fact // what the first version recorded last
		again int
	}{
		// Nothing says that the log has all that was decided on the last one.
		"a decision": {fact("adder.added", "last", 1), 1},
		"a fact":     {fact("adder.noted", "last", 1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx := context.Background()
			add := func(l *Log) {
				for i := range 5 {
					_, err := l.RecordAndWait(ctx, fact("adder.added", fmt.Sprint(i), 1))
					require.NoError(t, err)
				}
			}
			w.during(counts("adder"), add)
			restore := w.copied()
			w.during(counts("adder"), func(l *Log) {
				add(l)
				_, err := l.RecordAndWait(ctx, c.after)
				require.NoError(t, err)
			})
			length := len(w.wholeLog())

			restore()
			w.during(more(), func(*Log) {})
			require.Len(t, w.wholeLog(), length+c.again)
			w.during(more(), func(l *Log) {
				_, err := l.RecordAndWait(ctx, fact("adder.added", "0", 1))
				require.NoError(t, err)
			})
			require.Len(t, w.wholeLog(), length+c.again+3, "what comes now is decided on as now")

			// The same with nothing but the log.
			w.url = databaseURL(t)
			w.during(more(), func(*Log) {})
			require.Len(t, w.wholeLog(), length+c.again+3)
		})
	}
}

func TestAForeignPublisherStopsTheRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.start(counts("adder"))
	_, err := l.RecordAndWait(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
	settle(t, l)
	e, err := envelope.Place(draft("adder.added", "x", payload{N: 9}), "adder", envelope.FactID("adder", "default", "rogue"), Cause{}, w.clock.Now(), "")
	require.NoError(t, err)
	n, err := envelope.NewEntry(plainCodec{}, e)
	require.NoError(t, err)
	n.Number(3)
	require.NoError(t, w.connect().PublishMsg(&nats.Msg{Subject: n.Subject, Data: n.Bytes}))
	require.Eventually(t, func() bool { return w.end() == 3 }, stallLimit, pollTest)
	// What is recorded before the relay notices stays in the outbox; then nothing more is taken.
	require.Eventually(t, func() bool {
		_, err := l.Record(ctx, fact("adder.added", "x", 2))
		return errors.Is(err, ErrStopped)
	}, stallLimit, pollTest)
	require.ErrorContains(t, l.Status(ctx).Err, "relay stopped")
}

func TestPromise11AnUnavailableBrokerStallsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	_, serve := w.durable()
	l := w.start(counts("adder"))
	_, err := l.RecordAndWait(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
	settle(t, l)
	w.nats.Stop()
	// Facts are taken all the time that the broker is unavailable, a thousand a second.
	recorded := 0
	for began, away := time.Now(), time.Duration(figure(1, 600))*time.Second; time.Since(began) < away; recorded += 20 {
		facts := make([]Fact, 20)
		for i := range facts {
			facts[i] = fact("adder.added", "x", 1, fmt.Sprint(recorded+i))
		}
		_, err = l.Record(ctx, facts...)
		require.NoError(t, err)
		time.Sleep(20 * time.Millisecond)
	}
	require.NotZero(t, l.Status(ctx).Outbox)
	require.Error(t, l.Status(ctx).Err)
	serve()
	settle(t, l)
	n, doubled := sum(t, l, "x")
	require.Equal(t, []int{recorded + 1, 2*recorded + 2}, []int{n, doubled})
	sequences(t, w.wholeLog())
	require.Eventually(t, func() bool { return l.Status(ctx).Err == nil }, stallLimit, pollTest)
}

func TestBrokenDatabaseConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	f, handlers := worker()
	l := w.start(f, handlers...)
	pool := w.pool()
	for i := range 30 {
		_, err := l.Record(ctx, fact("adder.added", "x", 1, fmt.Sprint(i)))
		require.NoError(t, err)
		if i%10 == 5 {
			_, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
			require.NoError(t, err)
		}
	}
	settle(t, l)
	n, doubled := sum(t, l, "x")
	require.Equal(t, []int{30, 60}, []int{n, doubled})
	sequences(t, w.wholeLog())
}

// What could not be recorded is trouble for as long as somebody waits for it, not
// until somebody records something else.
func TestTroubleEndsWithWhoeverWaitsForIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(counts("adder"))
	_, err := a.Record(context.Background(), fact("adder.added", "x", 1, "k1"))
	require.NoError(t, err)
	settle(t, a)
	admin(t, w.url, "ALTER TABLE adder_io.outbox RENAME TO away")
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	ended := make(chan error, 1)
	go func() {
		_, err := a.Record(ctx, fact("adder.added", "x", 2, "k2"))
		ended <- err
	}()
	recording := func() bool {
		err := a.Status(context.Background()).Err
		return err != nil && strings.Contains(err.Error(), "record: ")
	}
	require.Eventually(t, recording, stallLimit, 2*time.Millisecond)
	giveUp()
	require.Error(t, <-ended)
	admin(t, w.url, "ALTER TABLE adder_io.away RENAME TO outbox")
	require.Eventually(t, func() bool { return !recording() }, stallLimit, 2*time.Millisecond)
}

func TestAStreamThatIsNoLogIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc := w.connect()
	js, err := nc.JetStream()
	require.NoError(t, err)
	_, err = js.AddStream(&nats.StreamConfig{Name: "FRESHET_9", Subjects: []string{"elsewhere.>"}, Storage: nats.MemoryStorage})
	require.NoError(t, err)
	require.Error(t, EnsureStream(context.Background(), nc, "FRESHET_9"))
	now, err := jetstream.New(nc)
	require.NoError(t, err)
	for i, lossy := range []jetstream.StreamConfig{
		{Discard: jetstream.DiscardOld}, {Discard: jetstream.DiscardNew, MaxMsgs: 9}, {Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1},
	} {
		lossy.Name = "FRESHET_" + strconv.Itoa(90+i)
		lossy.Subjects, lossy.Storage, lossy.AllowAtomicPublish = []string{lossy.Name + ".>"}, jetstream.FileStorage, true
		_, err = now.CreateStream(context.Background(), lossy)
		require.NoError(t, err)
		require.ErrorContains(t, EnsureStream(context.Background(), nc, lossy.Name), "is not a log")
	}
	require.Error(t, EnsureStream(context.Background(), nc, "OTHER"))
	require.NoError(t, EnsureStream(context.Background(), nc, stream), "again")
}
