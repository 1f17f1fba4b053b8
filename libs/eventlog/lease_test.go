package eventlog

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// A leader is the session that holds the lead.
type leader struct {
	pid    int32
	name   string
	silent time.Duration // since PostgreSQL heard of this one session
}

// leaderOf adder; zero where nobody leads.
func leaderOf(t testing.TB, q Reader) (x leader) {
	t.Helper()
	rows, err := q.Query(context.Background(), "SELECT pid, application_name, now() - state_change FROM ("+schema.HeldLocks+
		") held JOIN pg_stat_activity USING (pid) WHERE key = hashtextextended('freshet/adder/lead', 0)")
	require.NoError(t, err)
	_, err = pgx.ForEachRow(rows, []any{&x.pid, &x.name, &x.silent}, func() error { return nil })
	require.NoError(t, err)
	return x
}

// session is one of a process of some name, which has executed statements.
func (w *world) session(process string, statements ...string) *pgx.Conn {
	w.t.Helper()
	ctx := context.Background()
	at, err := url.Parse(w.url)
	require.NoError(w.t, err)
	options := at.Query()
	options.Set("application_name", process)
	at.RawQuery = options.Encode()
	conn, err := pgx.Connect(ctx, at.String())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close(ctx) })
	for _, sql := range statements {
		_, err := conn.Exec(ctx, sql)
		require.NoError(w.t, err)
	}
	return conn
}

// The sessions of processes that PostgreSQL does not hear of any more, one that leads
// and one that follows and is in the middle of recording, are ended; one that is as
// silent and none of the service's is not.
func TestAFrozenProcessStallsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*stallLimit)
	defer cancel()
	l := w.open(counts("adder"))
	other := w.session("psql", "BEGIN", "SELECT FROM adder_io.counter")
	leads := w.session("first", "SELECT pg_advisory_lock(hashtextextended('freshet/adder/lead', 0))")
	run(t, l)
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest)
	require.Error(t, leads.Ping(ctx))

	follows := w.session("second", "SELECT pg_advisory_lock_shared(hashtextextended('freshet/adder/follow', 0))")
	records := w.session("second", "BEGIN", "UPDATE adder_io.counter SET sequence = sequence")
	_, err := l.RecordAndWait(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
	require.Error(t, follows.Ping(ctx))
	require.Error(t, records.Ping(ctx))
	require.NoError(t, other.Ping(ctx))
}

// A process that starts waits for nobody of whom PostgreSQL hears nothing: not for one that
// holds what is to be prepared, nor for one that was frozen while it prepared it.
func TestAFrozenProcessKeepsNobodyFromOpening(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.open(counts("adder"))
	run(t, before)()
	w.session("in a transaction", "SELECT pg_advisory_lock_shared(hashtextextended('freshet/adder/follow', 0))", "BEGIN", "SELECT FROM adder_io.outbox")
	w.session("preparing", "SELECT pg_advisory_lock(hashtextextended('freshet/adder/open', 0))")
	ctx, cancel := context.WithTimeout(context.Background(), stallLimit)
	defer cancel()
	l, err := Open(ctx, w.options(counts("adder")))
	require.NoError(t, err)
	run(t, l)
	_, err = l.RecordAndWait(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
}

func TestALeaderThatIsSlowGoesOnLeading(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]int{"in a batch": 1, "in a rebuild": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx := context.Background()
			goOn, began := make(chan struct{}), make(chan struct{}, 1)
			slow := func() *Fold {
				f := counts("adder")
				f.Version = version
				add := applyOf(f, full("adder.added"))
				replaceApply(f, full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
					var n int
					if err := tx.QueryRow(ctx, "SELECT count(*) FROM sums").Scan(&n); err != nil {
						return err
					}
					select {
					case began <- struct{}{}:
					default:
					}
					select {
					case <-goOn:
					case <-ctx.Done():
						return ctx.Err()
					}
					return add(ctx, tx, e)
				})
				return f
			}
			before := w.open(counts("adder"))
			stop := run(t, before)
			settle(t, before)
			if version > 1 {
				_, err := before.RecordAndWait(ctx, fact("adder.added", "x", 1))
				require.NoError(t, err)
			}
			stop()
			l := w.start(slow())
			if version == 1 {
				_, err := l.Record(ctx, fact("adder.added", "x", 1))
				require.NoError(t, err)
			}
			<-began
			q := w.pool()
			was := leaderOf(t, q)
			second := w.start(slow())
			// And everything else that the process has is busy too.
			var busy []*pgxpool.Conn
			for range l.pool.Config().MaxConns {
				conn, err := l.pool.Acquire(ctx)
				require.NoError(t, err)
				t.Cleanup(conn.Release)
				busy = append(busy, conn)
			}
			require.Eventually(t, func() bool { return leaderOf(t, q).silent > lead.SilentFor+2*lead.HeartbeatEvery }, stallLimit, pollTest)
			require.Equal(t, was.pid, leaderOf(t, q).pid)
			for _, conn := range busy {
				conn.Release()
			}
			close(goOn)
			settle(t, l, second)
			require.Equal(t, was.pid, leaderOf(t, q).pid)
			require.False(t, second.lease.Leading())
		})
	}
}

func TestALeaderWhoseSessionEndedReleasesTheLead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.start(counts("adder"))
	settle(t, l)
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest)
	next := w.session("next")
	took := make(chan error, 1)
	go func() {
		_, err := next.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended('freshet/adder/lead', 0))")
		took <- err
	}()
	w.awaitWaiting()
	admin(t, w.url, "SELECT pg_terminate_backend(pid) FROM ("+schema.HeldLocks+") held WHERE key = hashtextextended('freshet/adder/lead', 0)")
	require.NoError(t, <-took)
	require.Eventually(t, func() bool { return !l.lease.Leading() }, stallLimit, pollTest, "nothing happens in the log meanwhile")
	require.NoError(t, next.Close(ctx))
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest)
}

// A link that broke without a word leaves PostgreSQL a session of a process that
// has begun another one.
func TestAProcessEndsItsOwnEarlierSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.open(counts("adder"))
	earlier := w.session("earlier")
	_, err := earlier.Exec(ctx, "SELECT pg_advisory_lock($1), pg_advisory_lock(hashtextextended('freshet/adder/lead', 0))", l.lease.Holder())
	require.NoError(t, err)
	run(t, l)
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest)
}
