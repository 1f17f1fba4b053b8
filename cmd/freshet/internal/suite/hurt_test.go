package suite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

const (
	patience = 60 * time.Second
	poll     = 20 * time.Millisecond
)

// A hurt is a suite whose stores are set back.
type hurt struct {
	t            *testing.T
	dir          string
	services     []string
	clock        clock.Clock // the system's if nil
	suite        *Suite
	acknowledged map[string]bool // ids of facts whose recording was acknowledged
	asked        int
}

func newHurt(t *testing.T, services ...string) *hurt {
	t.Helper()
	return newHurtIn(t, hurtDir(t), services...)
}

func hurtDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-epochs-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func newHurtIn(t *testing.T, dir string, services ...string) *hurt {
	t.Helper()
	if len(services) == 0 {
		services = []string{"audit", "training", "console"}
	}
	h := hurtOf(t, dir, services)
	h.start()
	return h
}

// hurtOf is one whose suite is started by somebody else.
func hurtOf(t *testing.T, dir string, services []string) *hurt {
	t.Helper()
	// Ports that no other suite takes while a server is away.
	require.NoError(t, ports{NATS: freePort(t), Kafka: freePort(t)}.write(dir))
	return &hurt{t: t, dir: dir, services: services, acknowledged: map[string]bool{}}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	require.NoError(t, l.Close())
	return addr.Port
}

func (h *hurt) logger() *slog.Logger {
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: level}))
}

func (h *hurt) tryStart() error {
	var err error
	h.suite, err = Start(context.Background(), Options{DataDir: h.dir, Listen: "127.0.0.1:0", Services: h.services, Clock: h.clock, Logger: h.logger()})
	return err
}

func (h *hurt) start() {
	h.t.Helper()
	require.NoError(h.t, h.tryStart())
	s := h.suite
	h.t.Cleanup(func() {
		if h.suite == s {
			_ = s.Stop(context.Background())
		}
	})
}

func (h *hurt) stop() {
	h.t.Helper()
	require.NoError(h.t, h.suite.Stop(context.Background()))
	h.suite = nil
}

func (h *hurt) log(name string) *eventlog.Log {
	h.t.Helper()
	for _, s := range h.suite.services {
		if s.Name() == name {
			return s.Log()
		}
	}
	h.t.Fatalf("%s does not run", name)
	return nil
}

// record records facts that another service decides on, and remembers them.
func (h *hurt) record(n int) {
	h.t.Helper()
	for range n {
		require.NoError(h.t, h.tryRecord(patience))
	}
}

func (h *hurt) tryRecord(within time.Duration) error {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	h.asked++
	draft, err := events.NewTrainingAsked("default", "m", events.TrainingAsked{Model: "m"})
	require.NoError(h.t, err)
	receipts, err := h.log("console").Record(ctx, eventlog.Fact{Event: draft, Key: []string{"asked", strconv.Itoa(h.asked)}, Actor: "tester"})
	if err == nil {
		h.acknowledged[receipts[0].ID] = true
	}
	return err
}

// applied waits until every service has applied the whole log.
func (h *hurt) applied() {
	h.t.Helper()
	calm := 0
	var last Status
	require.Eventually(h.t, func() bool {
		last = h.suite.Status(context.Background())
		if !drained(last) {
			calm = 0
			return false
		}
		calm++
		return calm > 2
	}, patience, poll, "%+v", &last)
}

// drained tells whether every service has published what it recorded and applied the
// whole log.
func drained(at Status) bool {
	for _, s := range at.Services {
		if s.Error != "" || s.Position != at.End || s.Behind["outbox"] != 0 {
			return false
		}
	}
	return true
}

// everywhere tells whether so many events of a subject are in the log, and every service
// has applied the last of them. The log may grow meanwhile.
func (h *hurt) everywhere(n int, subject string) bool {
	ctx := context.Background()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := epoch.Current(ctx, js)
	if err != nil {
		return false
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return false
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false
	}
	for _, count := range info.State.Subjects {
		n -= int(count) //nolint:gosec // a test's few
	}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil || n > 0 {
		return false
	}
	for _, s := range h.suite.Status(ctx).Services {
		if s.Error != "" || s.Position < last.Sequence {
			return false
		}
	}
	return true
}

func (h *hurt) settled() {
	h.t.Helper()
	h.settledWithin(patience)
}

func (h *hurt) settledWithin(within time.Duration) {
	h.t.Helper()
	var last Status
	require.Eventually(h.t, func() bool {
		last = h.suite.Status(context.Background())
		return last.Settled
	}, within, poll, "%+v", &last)
}

func (h *hurt) copy(from, to string) {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(filepath.Join(h.dir, to)))
	out, err := exec.Command("cp", "-a", filepath.Join(h.dir, from), filepath.Join(h.dir, to)).CombinedOutput()
	require.NoError(h.t, err, "%s", out)
}

// nats stops the log's server, changes its directory, and starts it again where it
// was, while everything else lives on.
func (h *hurt) nats(change func()) {
	h.t.Helper()
	i := h.suite.infra
	port := h.portOf(i.nats.Addr())
	i.nats.Stop()
	change()
	var err error
	i.nats, err = natsserver.Start(natsserver.Options{DataDir: filepath.Join(h.dir, "nats"), Port: port, Users: Users(), Logger: h.logger()})
	require.NoError(h.t, err)
}

// stopKafka takes Kafka away; what it returns brings it back.
func (h *hurt) stopKafka() (back func()) {
	h.t.Helper()
	i := h.suite.infra
	port := h.portOf(i.kafka.Addr())
	i.kafka.Stop()
	return func() {
		h.t.Helper()
		var err error
		i.kafka, err = kafkaserver.Start(kafkaserver.Options{DataDir: filepath.Join(h.dir, "kafka"), Port: port})
		require.NoError(h.t, err)
	}
}

func (h *hurt) portOf(addr string) int {
	h.t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(h.t, err)
	n, err := strconv.Atoi(port)
	require.NoError(h.t, err)
	return n
}

func (h *hurt) sql(statement string, args ...any) {
	h.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, h.suite.infra.postgres.URL())
	require.NoError(h.t, err)
	defer conn.Close(ctx) //nolint:errcheck // of a test
	_, err = conn.Exec(ctx, statement, args...)
	require.NoError(h.t, err)
}

// whole reads the archive and holds the log against it, byte for byte; sources have
// no gap, causes come first, and nothing that was acknowledged is missing.
func (h *hurt) whole() [][]byte {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := epoch.Current(ctx, js)
	require.NoError(h.t, err)
	stream, err := js.Stream(ctx, name)
	require.NoError(h.t, err)
	state := stream.CachedInfo().State
	client := kafka.New(h.suite.infra.KafkaAddr())
	defer client.Close()
	var log [][]byte
	require.NoError(h.t, archive.New(client).Read(ctx, 1, state.LastSeq, func(batch []archive.Record) error {
		for _, r := range batch {
			log = append(log, r.Data)
		}
		return nil
	}))
	for n := state.FirstSeq; n <= state.LastSeq && state.Msgs > 0; n++ {
		m, err := stream.GetMsg(ctx, n)
		require.NoError(h.t, err)
		require.Equal(h.t, string(log[n-1]), string(m.Data), "at %d of %s", n, name)
	}
	seen, last, left := map[string]bool{}, map[string]uint64{}, len(h.acknowledged)
	for i, raw := range log {
		e, err := events.Codec{}.Decode(raw)
		require.NoError(h.t, err)
		require.False(h.t, seen[e.ID()], "%s twice", e.ID())
		if cause := eventlog.Causation(e); cause != "" {
			require.True(h.t, seen[cause], "%d comes before its cause", i+1)
		}
		seen[e.ID()] = true
		require.Equal(h.t, last[e.Source()]+1, eventlog.Sequence(e), "%s at %d", e.Source(), i+1)
		last[e.Source()]++
		if h.acknowledged[e.ID()] {
			left--
		}
	}
	require.Zero(h.t, left, "acknowledged facts are missing")
	return log
}

// dump is the content of the services' folds.
func (h *hurt) dump() string {
	h.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, h.suite.infra.postgres.URL())
	require.NoError(h.t, err)
	defer conn.Close(ctx)                //nolint:errcheck // of a test
	for _, schema := range h.schemas() { // a position moves a little after its events
		require.Eventually(h.t, func() bool {
			var at uint64
			err := conn.QueryRow(ctx, "SELECT sequence FROM "+pgx.Identifier{schema, "fold_position"}.Sanitize()).Scan(&at)
			return err == nil && at == h.suite.Status(ctx).End
		}, patience, poll)
	}
	rows, err := conn.Query(ctx, "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = ANY($1) ORDER BY 1, 2", h.schemas())
	require.NoError(h.t, err)
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (out [2]string, err error) {
		return out, row.Scan(&out[0], &out[1])
	})
	require.NoError(h.t, err)
	require.NotEmpty(h.t, tables)
	var b bytes.Buffer
	for _, table := range tables {
		columns := "*"
		if table[1] == "fold_position" {
			columns = "sequence, digest, now"
		}
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT x::text FROM (SELECT %s FROM %s) AS x ORDER BY x::text COLLATE "C"`, columns, pgx.Identifier(table[:]).Sanitize()))
		require.NoError(h.t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(h.t, err)
		fmt.Fprintf(&b, "%s\n%s\n", table, strings.Join(lines, "\n"))
	}
	return b.String()
}

func (h *hurt) schemas() []string {
	out := make([]string, len(h.services))
	for i, name := range h.services {
		out[i] = strings.ReplaceAll(name, "-", "_")
	}
	return out
}

// messages are those of the log's stream, from its first event on.
func (h *hurt) messages() []string {
	h.t.Helper()
	ctx := context.Background()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	stream, err := js.Stream(ctx, h.stream())
	require.NoError(h.t, err)
	var out []string
	for n := uint64(1); n <= stream.CachedInfo().State.LastSeq; n++ {
		m, err := stream.GetMsg(ctx, n)
		require.NoError(h.t, err)
		out = append(out, string(m.Data))
	}
	return out
}

// dumped copies schemas, or everything if none is named, and returns what puts the
// copy in their place, for a suite that has stopped.
func (h *hurt) dumped(schemas []string) (restore func()) {
	h.t.Helper()
	if schemas == nil {
		home, err := filepath.EvalSymlinks(filepath.Join(h.dir, "postgres")) // it may be elsewhere, for root
		require.NoError(h.t, err)
		copied := func(from, to string) {
			h.t.Helper()
			out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
			require.NoError(h.t, err, "%s", out)
		}
		h.t.Cleanup(func() { _ = os.RemoveAll(home + ".old") })
		h.stop()
		copied(home, home+".old")
		h.start()
		return func() {
			h.t.Helper()
			require.NoError(h.t, os.RemoveAll(home))
			copied(home+".old", home)
		}
	}
	dump := h.dumpOf(schemas)
	return func() {
		h.t.Helper()
		i, err := StartInfrastructure(context.Background(), h.dir, h.logger())
		require.NoError(h.t, err)
		h.load(i.postgres.URL(), schemas, dump)
		require.NoError(h.t, i.Stop(context.Background()))
	}
}

// dumpOf is what an operator's backup has of schemas.
func (h *hurt) dumpOf(schemas []string) []byte {
	h.t.Helper()
	args := []string{"--format=plain", "--dbname=" + h.suite.infra.postgres.URL()}
	for _, schema := range schemas {
		args = append(args, "--schema="+schema)
	}
	dump, err := exec.Command("pg_dump", args...).Output()
	require.NoError(h.t, err)
	return dump
}

// load puts a dump in the place of schemas, at once.
func (h *hurt) load(url string, schemas []string, dump []byte) {
	h.t.Helper()
	load := exec.Command("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--dbname="+url)
	load.Stdin = io.MultiReader(strings.NewReader("DROP SCHEMA "+strings.Join(schemas, ", ")+" CASCADE;\n"), bytes.NewReader(dump))
	out, err := load.CombinedOutput()
	require.NoError(h.t, err, "%s", out)
}

// verified checks that every service's tables and decisions are what the log, and its
// archive, make of it.
func (h *hurt) verified() {
	h.t.Helper()
	for _, s := range h.suite.services {
		for _, from := range []eventlog.Origin{eventlog.FromLog, eventlog.FromArchive} {
			report, err := s.Log().Verify(context.Background(), from, nil)
			require.NoError(h.t, err, "%s from the %s", s.Name(), from)
			require.True(h.t, report.Equal, "%s from the %s: %+v", s.Name(), from, report.Difference)
			require.NotZero(h.t, report.Rows, s.Name())
		}
	}
}

// rebuilt checks that folding the log again, from the archive where it has to,
// leads to the same state.
func (h *hurt) rebuilt() {
	h.t.Helper()
	live := h.dump()
	for _, schema := range h.schemas() {
		h.sql("DROP SCHEMA " + pgx.Identifier{schema}.Sanitize() + " CASCADE")
	}
	_ = h.suite.Stop(context.Background()) // its connections were cut from under it
	h.start()
	h.applied()
	require.Equal(h.t, live, h.dump())
}

// right is what has to be true whatever happened.
func (h *hurt) right(before [][]byte) {
	h.t.Helper()
	h.settled()
	h.record(5)
	h.settled()
	after := h.whole()
	for i := range before {
		require.Equal(h.t, string(before[i]), string(after[i]), "event %d is another one", i+1)
	}
	code, body := asked(h.t, http.MethodGet, h.suite.URL()+"/v1/events/replay")
	require.Equal(h.t, http.StatusOK, code, "%s", body)
	require.Equal(h.t, string(bytes.Join(after, []byte("\n")))+"\n", string(body), "a replay is of the whole log")
	h.rebuilt()
}

func (h *hurt) stream() string {
	h.t.Helper()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := epoch.Current(context.Background(), js)
	require.NoError(h.t, err)
	return name
}
