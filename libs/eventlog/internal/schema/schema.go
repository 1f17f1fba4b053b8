// Package schema is where a service's part of the log lives in PostgreSQL: the names of
// its schemas, the tables in them that are no service's own, and the pool that sees them.
//
// # What it guarantees
//
// The schema <service> holds folded state and nothing else, so that a rebuild can put
// another one in its place; what a rebuild must not touch is in <service>_io. Creating
// what exists changes nothing.
//
// # How it fails
//
// Statements return the database's errors as they are. A name is always quoted.
package schema

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ioTables survive a rebuild: what was recorded, under which key, how far it was
// counted, how far it was decided, by which version of the fold since when, and who
// is executing what.
const ioTables = `
CREATE TABLE IF NOT EXISTS %[1]s.counter (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	sequence bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO %[1]s.counter (sequence) VALUES (0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS %[1]s.outbox (
	sequence bigint PRIMARY KEY,
	id uuid NOT NULL,
	cause text COLLATE "C", -- of a decision
	digest bytea, -- of a fact
	subject text COLLATE "C" NOT NULL,
	event bytea NOT NULL
);
ALTER TABLE %[1]s.outbox ALTER COLUMN event SET STORAGE EXTERNAL;
-- A replay asks it for the numbers of all decisions, and so reads no row.
CREATE INDEX IF NOT EXISTS outbox_cause ON %[1]s.outbox (cause) INCLUDE (sequence) WHERE cause IS NOT NULL;
CREATE TABLE IF NOT EXISTS %[1]s.inbox (
	id uuid PRIMARY KEY,
	digest bytea NOT NULL,
	sequence bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS %[1]s.decided (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	through bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS %[1]s.versions (
	since bigint PRIMARY KEY,
	version bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS %[1]s.applied (
	last bigint PRIMARY KEY,
	sources text[] NOT NULL,
	sequences bigint[] NOT NULL,
	digests bytea[] NOT NULL
);
CREATE TABLE IF NOT EXISTS %[1]s.leases (
	effect uuid PRIMARY KEY,
	holder bigint NOT NULL,
	token bigint NOT NULL,
	attempt integer NOT NULL,
	until timestamptz NOT NULL
);
`

// foldTables stand beside the service's own. They are folded state too.
const foldTables = `
CREATE TABLE fold_position (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	epoch text COLLATE "C" NOT NULL,
	sequence bigint NOT NULL,
	digest bytea NOT NULL,
	now timestamptz NOT NULL,
	version bigint NOT NULL,
	tables text COLLATE "C" NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE fold_sources (
	source text COLLATE "C" PRIMARY KEY,
	sequence bigint NOT NULL,
	digest bytea NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE fold_effects (
	id uuid PRIMARY KEY,
	kind text COLLATE "C" NOT NULL,
	namespace text COLLATE "C" NOT NULL,
	cause text COLLATE "C" NOT NULL,
	correlation text COLLATE "C" NOT NULL,
	hops integer NOT NULL,
	traceparent text COLLATE "C" NOT NULL,
	args json NOT NULL,
	opened bigint NOT NULL,
	ordinal integer NOT NULL
);
CREATE TABLE fold_timers (
	namespace text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	id uuid NOT NULL,
	generation bigint NOT NULL,
	due timestamptz NOT NULL,
	root boolean NOT NULL,
	cause text COLLATE "C" NOT NULL,
	correlation text COLLATE "C" NOT NULL,
	hops integer NOT NULL,
	traceparent text COLLATE "C" NOT NULL,
	fact json NOT NULL,
	PRIMARY KEY (namespace, name)
);
CREATE TABLE fold_timers_stale (
	fact uuid PRIMARY KEY,
	due timestamptz NOT NULL
);
CREATE TABLE fold_parked (
	id text COLLATE "C" PRIMARY KEY,
	sequence bigint NOT NULL,
	queued boolean NOT NULL,
	type text COLLATE "C" NOT NULL,
	namespace text COLLATE "C" NOT NULL,
	subject text COLLATE "C" NOT NULL,
	correlation text COLLATE "C" NOT NULL,
	reason text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	event bytea NOT NULL
);
`

// Of is the name of a service's schema.
func Of(service string) string { return strings.ReplaceAll(service, "-", "_") }

// Quote makes a name an identifier.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// SessionName is an application_name of a service's sessions, another one for each
// process, so that its sessions can be told from a replica's.
func SessionName(service string) string { return "freshet-" + service + "/" + rand.Text()[:8] }

// Pool returns a pool whose connections have a name and see the service's
// schemas first: the given one if they do already, else one of its own (owned is true).
func Pool(ctx context.Context, pool *pgxpool.Pool, service string) (_ *pgxpool.Pool, owned bool, err error) {
	cfg := pool.Config()
	schema := Of(service)
	first, _, _ := strings.Cut(cfg.ConnConfig.RuntimeParams["search_path"], ",")
	name := cfg.ConnConfig.RuntimeParams["application_name"]
	if strings.Trim(strings.TrimSpace(first), `"`) == schema && name != "" {
		return pool, false, nil
	}
	if name == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = SessionName(service)
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = strings.Join([]string{Quote(schema), Quote(schema + "_io"), Quote(schema + "_data")}, ", ")
	cfg.MaxConns = max(cfg.MaxConns, 4)
	cfg.MinConns = 0
	p, err := pgxpool.NewWithConfig(ctx, cfg)
	return p, true, err
}

// IO is the quoted name of the schema that a rebuild does not touch.
func IO(schema string) string { return Quote(schema + "_io") }

// PrepareIO creates what is missing of what a rebuild does not touch.
func PrepareIO(ctx context.Context, tx pgx.Tx, schema string) error {
	io := IO(schema)
	if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s;", io)+fmt.Sprintf(ioTables, io)); err != nil {
		return fmt.Errorf("tables of the outbox: %w", err)
	}
	return nil
}

// HeldLocks are the advisory locks of sessions on this database, by session and key.
const HeldLocks = `SELECT pid, classid::bigint << 32 | objid::bigint AS key FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// Dedicated is a connection of its own, out of a pool.
func Dedicated(ctx context.Context, pool *pgxpool.Pool) (*pgx.Conn, error) {
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return pooled.Hijack(), nil
}

// Release ends a connection and the locks that it holds, at once: a server that is
// only told goodbye takes its time.
func Release(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if !conn.IsClosed() && conn.PgConn().TxStatus() == 'I' {
		_, err = conn.PgConn().Exec(ctx, "SELECT pg_advisory_unlock_all()").ReadAll()
	}
	return errors.Join(err, conn.Close(ctx))
}
