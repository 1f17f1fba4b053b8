package eventlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// TestAKilledRebuildLeavesWhatIsLive kills a process at several moments of its
// rebuild. What was live stays, and the next start continues from it.
func TestAKilledRebuildLeavesWhatIsLive(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	dir, url := t.TempDir(), databaseURL(t)
	server, err := natsserver.Start(natsserver.Options{DataDir: dir, Users: []natsserver.User{natsserver.All("test")}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	base := newWorld(t)
	w := &world{t: t, url: url, nats: server, clock: base.clock}
	require.NoError(t, EnsureStream(context.Background(), w.connect(), stream))
	_, stop := summed(t, w, 500)
	stop()
	before := between(w.dump("adder", "sums"), "sums")
	for _, moment := range []struct{ name, hold string }{
		{"fold", ""},
		{"swap", "LOCK TABLE adder.fold_position IN ACCESS SHARE MODE"},
		{"drop", "LOCK TABLE adder.sums IN ACCESS SHARE MODE"},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childRole+"=rebuild", "CHILD_MOMENT="+moment.name, "CHILD_POSTGRES="+url, "CHILD_NATS="+server.URL("test"))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "leads" {
		}
		if moment.hold != "" {
			w.whileWaitingFor(moment.hold, in, func() { require.NoError(t, cmd.Process.Kill()) })
		}
		require.ErrorContains(t, cmd.Wait(), "killed", moment.name)
		require.Equal(t, before, between(w.dump("adder", "sums"), "sums"), moment.name)
	}
	l := w.start(counts("adder"))
	settle(t, l)
	_, err = l.RecordAndWait(context.Background(), fact("adder.added", "0", 1))
	require.NoError(t, err)
	settle(t, l)
	report, err := l.Verify(context.Background(), FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	require.Equal(t, []string{"adder", "adder_io"}, w.schemas("adder"))
}

// whileWaitingFor holds a lock, lets the child go, and calls then once it waits for
// the lock.
func (w *world) whileWaitingFor(lock string, start io.Writer, then func()) {
	w.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.url)
	require.NoError(w.t, err)
	defer conn.Close(ctx) //nolint:errcheck // of a test
	_, err = conn.Exec(ctx, "BEGIN; "+lock)
	require.NoError(w.t, err)
	_, err = fmt.Fprintln(start, "go")
	require.NoError(w.t, err)
	w.awaitWaiting()
	then()
}

// awaitWaiting waits until some session waits for a lock.
func (w *world) awaitWaiting() {
	w.t.Helper()
	conn := w.session("test")
	require.Eventually(w.t, func() bool {
		var waiting int
		require.NoError(w.t, conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid "+
			"FROM pg_database WHERE datname = current_database())").Scan(&waiting))
		return waiting > 0
	}, stallLimit, pollTest)
}

// rebuildingChild leads, and rebuilds until it is killed.
func rebuildingChild(ctx context.Context) error {
	nc, err := nats.Connect(os.Getenv("CHILD_NATS"))
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_POSTGRES"))
	if err != nil {
		return err
	}
	armed := false
	f := counts("adder")
	add := applyOf(f, full("adder.added"))
	replaceApply(f, full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		if p, _ := payloadOf(e); armed && p.N == 250 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return add(ctx, tx, e)
	})
	l, err := Open(ctx, Options{Fold: f, IsDecision: isDecision, Codec: plainCodec{}, Pool: pool, NATS: nc, Clock: clock.System()})
	if err != nil {
		return err
	}
	go func() { _ = l.Run(ctx) }()
	for l.Status(ctx).Position < 1000 || !l.lease.Leading() {
		if err := stall.PauseFor(ctx, pollTest); err != nil {
			return err
		}
	}
	fmt.Println("leads")
	if os.Getenv("CHILD_MOMENT") == "fold" {
		armed = true
	} else if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for {
		if _, err := l.Rebuild(ctx, FromLog, nil); !errors.Is(err, ErrReplaying) {
			return errors.Join(err, errors.New("not killed"))
		}
	}
}
