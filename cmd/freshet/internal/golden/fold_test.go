package golden_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/golden"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// goldenLog is a server that holds the golden log, and lets nobody add to it.
type goldenLog struct {
	server *natsserver.Server
	end    uint64
}

func open(t *testing.T) *goldenLog {
	t.Helper()
	recorded, err := golden.Read(logFile)
	require.NoError(t, err)
	server, err := natsserver.Start(natsserver.Options{DataDir: t.TempDir(), Users: []natsserver.User{
		natsserver.All("admin"),
		{Name: "reader", Publish: natsserver.ReadStream(suite.Stream), Subscribe: []string{"_INBOX.>"}},
	}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	nc, err := nats.Connect(server.URL("admin"))
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, eventlog.EnsureStream(t.Context(), nc, suite.Stream))
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	for i, b := range recorded {
		e, err := events.Codec{}.Decode(b)
		require.NoError(t, err, "event %d of the golden log can be read no more: %s", i+1, b)
		subject, err := eventlog.Subject(e)
		require.NoError(t, err)
		ack, err := js.Publish(t.Context(), subject, b)
		require.NoError(t, err)
		require.Equal(t, uint64(i+1), ack.Sequence)
	}
	return &goldenLog{server: server, end: uint64(len(recorded))}
}

// folded is what a fold made of the log.
type folded struct {
	tables map[string][]string // rows in the order of their keys
	added  []string            // events that it would add to the log
}

// fold has a service with an empty database read the log to its end, with given
// settings of PostgreSQL, and says what its tables hold.
func (g *goldenLog) fold(t *testing.T, f *eventlog.Fold, o eventlog.Options, settings map[string]string) folded {
	t.Helper()
	admin, pool := guarded(t, f.Service, settings)
	l, stop := g.run(t, f, o, pool)
	require.Eventually(t, func() bool { return l.Status(t.Context()).Position >= g.end }, waitLimit, tick, "%s: %v", f.Service, l.Status(t.Context()))
	stop()
	schema := strings.ReplaceAll(f.Service, "-", "_")
	return folded{tables: dump(t, admin, schema), added: added(t, admin, schema, f.Service)}
}

// refuses has a fold read the log and returns what holds it up.
func (g *goldenLog) refuses(t *testing.T, f *eventlog.Fold) error {
	t.Helper()
	_, pool := guarded(t, f.Service, nil)
	l, stop := g.run(t, f, eventlog.Options{}, pool)
	defer stop()
	var held error
	require.Eventually(t, func() bool {
		held = l.Status(t.Context()).Err
		return held != nil && strings.Contains(held.Error(), "apply") || l.Status(t.Context()).Position >= g.end
	}, waitLimit, tick)
	return held
}

func (g *goldenLog) run(t *testing.T, f *eventlog.Fold, o eventlog.Options, pool *pgxpool.Pool) (*eventlog.Log, func()) {
	t.Helper()
	nc, err := nats.Connect(g.server.URL("reader"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	o.Fold, o.IsDecision, o.Codec = f, events.IsDecision, events.Codec{}
	o.Pool, o.NATS, o.Clock = pool, nc, testkit.Clock()
	l, err := eventlog.Open(t.Context(), o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		cancel()
		require.NoError(t, <-done)
		nc.Close()
	}
}

// unsafeCalls are the functions that a fold's connection may not call.
var unsafeCalls = []string{
	"now()", "clock_timestamp()", "statement_timestamp()", "transaction_timestamp()", "timeofday()",
	"random()", "setseed(double precision)", "gen_random_uuid()", "nextval(regclass)", "setval(regclass, bigint)",
}

// guarded is a database of its own with a user that may make the service's schemas
// and see nothing else, and the connection of an administrator.
func guarded(t *testing.T, service string, settings map[string]string) (*pgxpool.Pool, *pgxpool.Pool) {
	t.Helper()
	ctx := t.Context()
	admin := testkit.Postgres(t)
	user := "fold_" + strings.ToLower(rand.Text()[:16])
	secret := rand.Text()
	statements := []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, secret),
		fmt.Sprintf("GRANT CREATE, CONNECT ON DATABASE %s TO %s", pgx.Identifier{admin.Config().ConnConfig.Database}.Sanitize(), user),
		"CREATE SCHEMA others; CREATE TABLE others.facts (at timestamptz); INSERT INTO others.facts VALUES ('epoch')",
		"REVOKE ALL ON SCHEMA public FROM PUBLIC",
	}
	for _, call := range unsafeCalls {
		statements = append(statements, "REVOKE EXECUTE ON FUNCTION pg_catalog."+call+" FROM PUBLIC")
	}
	for _, sql := range statements {
		_, err := admin.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
	t.Cleanup(func() {
		for _, sql := range []string{"DROP OWNED BY " + user + " CASCADE", "DROP ROLE " + user} {
			_, err := admin.Exec(context.Background(), sql)
			require.NoError(t, err, sql)
		}
	})
	cfg := admin.Config()
	u, err := url.Parse(cfg.ConnString())
	require.NoError(t, err)
	u.User = url.UserPassword(user, secret)
	if cfg, err = pgxpool.ParseConfig(u.String()); err == nil {
		for name, value := range settings {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	require.NoError(t, err)
	schema := strings.ReplaceAll(service, "-", "_")
	cfg.ConnConfig.RuntimeParams["search_path"] = schema + ", " + schema + "_io"
	cfg.MaxConns = 6
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return admin, pool
}

// dump is every row of a fold's tables, in the order of their keys. How the log
// itself counts is left out: it names the fold's version.
func dump(t *testing.T, admin *pgxpool.Pool, schema string) map[string][]string {
	t.Helper()
	rows, err := admin.Query(t.Context(), `SELECT c.relname::text, string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(i.indkey::int2[], a.attnum))
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
		WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname <> 'fold_position' GROUP BY c.relname ORDER BY c.relname`, schema)
	require.NoError(t, err)
	keys := map[string]string{}
	var table, key string
	_, err = pgx.ForEachRow(rows, []any{&table, &key}, func() error { keys[table] = key; return nil })
	require.NoError(t, err)
	out := map[string][]string{}
	for table, key := range keys {
		rows, err := admin.Query(t.Context(), fmt.Sprintf("SELECT t::text FROM %s t ORDER BY %s", pgx.Identifier{schema, table}.Sanitize(), key))
		require.NoError(t, err)
		out[table], err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
	}
	return out
}

func digests(tables map[string][]string) map[string]string {
	out := map[string]string{}
	for name, rows := range tables {
		sum := sha256.New()
		for _, r := range rows {
			sum.Write([]byte(r + "\n"))
		}
		out[name] = fmt.Sprintf("%d rows, sha256:%s", len(rows), hex.EncodeToString(sum.Sum(nil)))
	}
	return out
}

// added are the events in the outbox that the log does not have: what a rebuild
// would decide anew. That a service starts for the first time is not decided.
func added(t *testing.T, admin *pgxpool.Pool, schema, service string) []string {
	t.Helper()
	recorded, err := golden.Read(logFile)
	require.NoError(t, err)
	known := map[string]bool{}
	for _, b := range recorded {
		known[string(b)] = true
	}
	rows, err := admin.Query(t.Context(), "SELECT convert_from(event, 'UTF8') FROM "+pgx.Identifier{schema + "_io", "outbox"}.Sanitize()+" ORDER BY sequence")
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	var out []string
	for _, e := range all {
		if !known[e] && !strings.Contains(e, `"io.freshet.`+service+`.v1.service_activated"`) {
			out = append(out, e)
		}
	}
	return out
}
