package eventlog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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

// moveSQL moves the position, the sources' numbers with it, how far was decided, and
// what is remembered of the log's order.
const moveSQL = `WITH sources AS (
	INSERT INTO %[1]s.fold_sources (source, sequence, digest) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
	ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest
), decided AS (
	UPDATE %[2]s.decided SET through = $4 WHERE through < $4
), tail AS (
	` + tailSQL + `
)
UPDATE %[1]s.fold_position SET epoch = $5, digest = $6, now = $7,
	sequence = CASE WHEN sequence = $8 AND digest = $9 AND version = $10 THEN $4::bigint END`

// schemaOf is the name of a service's schema.
func schemaOf(service string) string { return strings.ReplaceAll(service, "-", "_") }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// tablesDigest tells one version of a fold's tables from another.
func tablesDigest(f *Fold) string {
	sum := sha256.Sum256([]byte(foldTables + f.Tables))
	return hex.EncodeToString(sum[:8])
}

// SessionName is an application_name of a service's sessions, another one for each
// process, so that its sessions can be told from a replica's.
func SessionName(service string) string { return "freshet-" + service + "/" + rand.Text()[:8] }

// withSearchPath returns a pool whose connections have a name and see the service's
// schemas first: the given one if they do already, else one of its own (owned is true).
func withSearchPath(ctx context.Context, pool *pgxpool.Pool, service string) (_ *pgxpool.Pool, owned bool, err error) {
	cfg := pool.Config()
	schema := schemaOf(service)
	first, _, _ := strings.Cut(cfg.ConnConfig.RuntimeParams["search_path"], ",")
	name := cfg.ConnConfig.RuntimeParams["application_name"]
	if strings.Trim(strings.TrimSpace(first), `"`) == schema && name != "" {
		return pool, false, nil
	}
	if name == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = SessionName(service)
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = strings.Join([]string{quote(schema), quote(schema + "_io"), quote(schema + "_data")}, ", ")
	cfg.MaxConns = max(cfg.MaxConns, 4)
	cfg.MinConns = 0
	p, err := pgxpool.NewWithConfig(ctx, cfg)
	return p, true, err
}

// moveBesideSQL moves the position of a fold that nobody else moves.
const moveBesideSQL = `WITH sources AS (
	INSERT INTO %[1]s.fold_sources (source, sequence, digest) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
	ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest
)
UPDATE %[1]s.fold_position SET sequence = $4, epoch = $5, digest = $6, now = $7`

// prepareSchemas creates what is missing. A fold of another version stays as it is,
// and serves reads, until it was rebuilt.
func (l *Log) prepareSchemas(ctx context.Context, tx pgx.Tx) error {
	fold, io := quote(l.schema), quote(l.schema+"_io")
	if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s;", io)+fmt.Sprintf(ioTables, io)); err != nil {
		return fmt.Errorf("tables of the outbox: %w", err)
	}
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", fold+".fold_position").Scan(&exists); err != nil {
		return err
	}
	if exists {
		return nil
	}
	return l.createFold(ctx, tx, l.schema)
}

// outdated says whether the live tables are those of another version of the fold.
func (l *Log) outdated(ctx context.Context, q Reader) (bool, error) {
	var version int64
	var tables string
	err := q.QueryRow(ctx, "SELECT version, tables FROM "+quote(l.schema)+".fold_position").Scan(&version, &tables)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the fold's version: %w", err)
	}
	return version != int64(l.fold.Version) || tables != l.tables, nil
}

// faraway says whether the tables are still empty and the log before the service's
// first start is long: that is folded faster beside.
func (l *Log) faraway(ctx context.Context, q Reader) (bool, error) {
	var position, through int64
	err := q.QueryRow(ctx, "SELECT p.sequence, coalesce((SELECT through FROM "+quote(l.schema+"_io")+".decided), 0) FROM "+quote(l.schema)+".fold_position p").Scan(&position, &through)
	if err != nil {
		return false, fmt.Errorf("read the position: %w", err)
	}
	return position == 0 && through > chunkEvents, nil
}

// createFold makes the empty tables of the fold in a schema, before the first event.
func (l *Log) createFold(ctx context.Context, tx pgx.Tx, schema string) error {
	fold := quote(schema)
	if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+fold+"; SET LOCAL search_path = "+fold+";"+foldTables); err != nil {
		return fmt.Errorf("tables of the fold: %w", err)
	}
	if strings.TrimSpace(l.fold.Tables) != "" {
		if _, err := tx.Exec(ctx, l.fold.Tables); err != nil {
			return fmt.Errorf("tables of %s: %w", l.fold.Service, err)
		}
	}
	_, err := tx.Exec(ctx, "INSERT INTO "+fold+`.fold_position (epoch, sequence, digest, now, version, tables)
		VALUES ($1, 0, '', '0001-01-01T00:00:00Z', $2, $3)`, "", int64(l.fold.Version), l.tables)
	if err != nil {
		return fmt.Errorf("first position: %w", err)
	}
	return nil
}
