package suite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// whole reads the archive and holds the log against it, byte for byte; sources have
// no gap, causes come first, and nothing that was acknowledged is missing.
func (h *faultySuite) whole() [][]byte {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := attest.Current(ctx, js)
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
func (h *faultySuite) dump() string {
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
		}, waitLimit, poll)
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
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT x::text FROM (SELECT %s FROM %s) AS x
			ORDER BY x::text COLLATE "C"`, columns, pgx.Identifier(table[:]).Sanitize()))
		require.NoError(h.t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(h.t, err)
		fmt.Fprintf(&b, "%s\n%s\n", table, strings.Join(lines, "\n"))
	}
	return b.String()
}

func (h *faultySuite) schemas() []string {
	out := make([]string, len(h.services))
	for i, name := range h.services {
		out[i] = strings.ReplaceAll(name, "-", "_")
	}
	return out
}

// messages are those of the log's stream, from its first event on.
func (h *faultySuite) messages() []string {
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

// verified checks that every service's tables and decisions are what the log, and its
// archive, make of it.
func (h *faultySuite) verified() {
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
func (h *faultySuite) rebuilt() {
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
func (h *faultySuite) right(before [][]byte) {
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

func (h *faultySuite) stream() string {
	h.t.Helper()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := attest.Current(context.Background(), js)
	require.NoError(h.t, err)
	return name
}

// dumped copies schemas, or everything if none is named, and returns what puts the
// copy in their place, for a suite that has stopped.
func (h *faultySuite) dumped(schemas []string) (restore func()) {
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
func (h *faultySuite) dumpOf(schemas []string) []byte {
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
func (h *faultySuite) load(url string, schemas []string, dump []byte) {
	h.t.Helper()
	load := exec.Command("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--dbname="+url)
	load.Stdin = io.MultiReader(strings.NewReader("DROP SCHEMA "+strings.Join(schemas, ", ")+" CASCADE;\n"), bytes.NewReader(dump))
	out, err := load.CombinedOutput()
	require.NoError(h.t, err, "%s", out)
}
