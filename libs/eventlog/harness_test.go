package eventlog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

const (
	stallLimit = 2 * time.Minute
	pollTest   = 5 * time.Millisecond
)

func TestMain(m *testing.M) {
	if os.Getenv(childRole) != "" {
		childMain()
		return
	}
	// Each case runs a whole suite; the flag asks for more of them.
	_ = flag.Set("rapid.checks", "5")
	flag.Parse()
	code := m.Run()
	if databaseServer.stop != nil {
		databaseServer.stop()
	}
	os.Exit(code)
}

// databaseServer is the one PostgreSQL of this test process.
var databaseServer struct {
	once sync.Once
	url  string
	err  error
	stop func()
}

func databaseURL(t testing.TB) string {
	t.Helper()
	databaseServer.once.Do(func() {
		if given := os.Getenv("FRESHET_POSTGRES_URL"); given != "" {
			databaseServer.url = given
			return
		}
		dir, err := os.MkdirTemp("", "eventlog")
		if err != nil {
			databaseServer.err = err
			return
		}
		s, err := postgres.Start(context.Background(), postgres.Options{DataDir: dir, Settings: []string{
			"fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200",
		}})
		if err != nil {
			databaseServer.err = err
			return
		}
		databaseServer.url = s.URL()
		databaseServer.stop = func() {
			_ = s.Stop(context.Background())
			_ = os.RemoveAll(dir)
		}
	})
	require.NoError(t, databaseServer.err)
	name := "t_" + strings.ToLower(rand.Text()[:12])
	admin(t, databaseServer.url, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { admin(t, databaseServer.url, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(databaseServer.url)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func admin(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, sql)
	require.NoError(t, errors.Join(err, conn.Close(ctx)))
}

// A world is one suite's surroundings: a database, a log, a clock.
type world struct {
	t     testing.TB
	url   string
	nats  *natsserver.Server
	clock *clock.Driven
}

const stream = "FRESHET_1"

var epochStart = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	server, err := natsserver.Start(natsserver.Options{DataDir: t.TempDir(), Users: []natsserver.User{natsserver.All("test")}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	w := &world{t: t, url: databaseURL(t), nats: server, clock: clock.NewDriven(epochStart)}
	require.NoError(t, EnsureStream(context.Background(), w.connect(), stream))
	return w
}

// durable moves the log to a server that can be stopped, and started again on the same
// directory and port by serve.
func (w *world) durable() (dir string, serve func()) {
	w.t.Helper()
	_, port, err := net.SplitHostPort(w.nats.Addr())
	require.NoError(w.t, err)
	w.nats.Stop()
	number, err := strconv.Atoi(port)
	require.NoError(w.t, err)
	dir = w.t.TempDir()
	serve = func() {
		server, err := natsserver.Start(natsserver.Options{DataDir: dir, Port: number, Users: []natsserver.User{natsserver.All("test")}})
		require.NoError(w.t, err)
		w.t.Cleanup(server.Stop)
		w.nats = server
	}
	serve()
	require.NoError(w.t, EnsureStream(context.Background(), w.connect(), stream))
	return dir, serve
}

func (w *world) connect() *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(w.nats.URL("test"), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(w.t, err)
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *world) pool() *pgxpool.Pool {
	w.t.Helper()
	pool, err := pgxpool.New(context.Background(), w.url)
	require.NoError(w.t, err)
	w.t.Cleanup(pool.Close)
	return pool
}

func (w *world) options(f *Fold, handlers ...Handler) Options {
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return Options{
		Fold: f, IsDecision: isDecision, Codec: plainCodec{}, Pool: w.pool(), NATS: w.connect(),
		Clock: w.clock, Handlers: handlers, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
}

func (w *world) open(f *Fold, handlers ...Handler) *Log {
	w.t.Helper()
	l, err := Open(context.Background(), w.options(f, handlers...))
	require.NoError(w.t, err)
	return l
}

// run runs a log until stop is called or the test ends.
func run(t testing.TB, l *Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func (w *world) start(f *Fold, handlers ...Handler) *Log {
	w.t.Helper()
	l := w.open(f, handlers...)
	run(w.t, l)
	return l
}

// settle waits until all logs have nothing left to do: for as long as it takes,
// while they get on with it.
func settle(t testing.TB, logs ...*Log) {
	t.Helper()
	var last []Status
	stable := 0
	awaitProgress(t, func() (done bool, progress any) {
		last = nil
		settled := true
		var end uint64
		for _, l := range logs {
			s := l.Status(context.Background())
			settled = settled && l.engine.Saved() == s.Position
			end = max(end, s.End)
			last = append(last, s)
		}
		for _, s := range last {
			settled = settled && s.Position == end && s.Outbox == 0 && s.Effects == 0
		}
		if stable++; !settled {
			stable = 0
		}
		return stable >= 2, fmt.Sprint(last)
	}, "not settled: %+v", &last)
}

// awaitProgress waits until something is done, and fails where its progress stands
// still for too long.
func awaitProgress(t testing.TB, look func() (done bool, progress any), message ...any) {
	t.Helper()
	var before any
	for moved := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		done, progress := look()
		if done {
			return
		}
		if progress != before {
			before, moved = progress, time.Now()
		}
		if time.Since(moved) > stallLimit {
			require.Fail(t, "It stands still", message...)
		}
	}
}

func isDecision(typ string) bool {
	return strings.HasSuffix(typ, ".doubled") || strings.HasSuffix(typ, ".event_parked") || strings.HasSuffix(typ, ".counted")
}

// plainCodec is the SDK's JSON; the strict one is not libs'.
type plainCodec struct{}

func (plainCodec) Encode(e event.Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e.MarshalJSON()
}

func (plainCodec) Decode(b []byte) (event.Event, error) {
	var e event.Event
	if err := e.UnmarshalJSON(b); err != nil {
		return e, err
	}
	return e, e.Validate()
}

type payload struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

func draft(typ, subject string, p any) event.Event {
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte("{}")
	}
	service, name, _ := strings.Cut(typ, ".")
	return envelope.Draft(service, name, "default", subject, b)
}

func payloadOf(e event.Event) (payload, error) {
	var p payload
	err := json.Unmarshal(e.Data(), &p)
	return p, err
}

func fact(typ, subject string, n int, key ...string) Fact {
	return Fact{Event: draft(typ, subject, payload{N: n}), Key: key}
}

func full(name string) string {
	service, rest, _ := strings.Cut(name, ".")
	return envelope.TypePrefix + service + ".v1." + rest
}

// wholeLog reads every event of the log.
func (w *world) wholeLog() []event.Event {
	w.t.Helper()
	nc := w.connect()
	js, err := jetstream.New(nc)
	require.NoError(w.t, err)
	s, err := js.Stream(context.Background(), stream)
	require.NoError(w.t, err)
	var all []event.Event
	if s.CachedInfo().State.Msgs == 0 {
		return all
	}
	c, err := s.OrderedConsumer(context.Background(), jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	require.NoError(w.t, err)
	messages, err := c.Messages()
	require.NoError(w.t, err)
	defer messages.Stop()
	for next := s.CachedInfo().State.FirstSeq; next <= s.CachedInfo().State.LastSeq; next++ {
		ctx, cancel := context.WithTimeout(context.Background(), stallLimit)
		m, err := messages.Next(jetstream.NextContext(ctx))
		cancel()
		require.NoError(w.t, err)
		meta, err := m.Metadata()
		require.NoError(w.t, err)
		require.Equal(w.t, next, meta.Sequence.Stream)
		e, err := plainCodec{}.Decode(m.Data())
		require.NoError(w.t, err)
		all = append(all, e)
	}
	return all
}

// dump is the canonical content of a service's fold tables.
func (w *world) dump(service string, tables ...string) string {
	w.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.url)
	require.NoError(w.t, err)
	defer conn.Close(ctx) //nolint:errcheck // of a test
	var b strings.Builder
	for _, table := range append([]string{"fold_position", "fold_sources", "fold_effects", "fold_timers", "fold_timers_stale", "fold_parked"}, tables...) {
		columns := "*"
		if table == "fold_position" {
			columns = "epoch, sequence, digest, now"
		}
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT x::text FROM (SELECT %s FROM %s.%s) AS x ORDER BY x::text COLLATE "C"`, columns, schema.Of(service), table))
		require.NoError(w.t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(w.t, err)
		fmt.Fprintf(&b, "%s\n%s\n", table, strings.Join(lines, "\n"))
	}
	return b.String()
}

// sequences checks that every source's events are numbered 1, 2, 3 …
func sequences(t testing.TB, log []event.Event) {
	t.Helper()
	last, ids := map[string]uint64{}, map[string]bool{}
	for _, e := range log {
		require.Equal(t, last[e.Source()]+1, Sequence(e), e.Source())
		last[e.Source()]++
		require.False(t, ids[e.ID()], "%s twice", e.ID())
		ids[e.ID()] = true
		if c := Causation(e); c != "" {
			require.True(t, ids[c], "%s before its cause", e.ID())
		}
	}
}
