package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrate brings a service's data tables up to date, one process at a time. An
// older binary on newer tables is refused.
func migrate(ctx context.Context, o Options, all []fs.FS) (err error) {
	if len(all) == 0 {
		return nil
	}
	if len(all) > 1 {
		return fmt.Errorf("%d sets of migrations: a service has one", len(all))
	}
	files, err := fs.Sub(all[0], "migrations")
	if err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	config, err := pgx.ParseConfig(o.Postgres)
	if err != nil {
		return fmt.Errorf("PostgreSQL's connection string: %w", err)
	}
	_, _, schema := Schemas(o.Name)
	config.RuntimeParams["search_path"] = `"` + schema + `"`
	config.RuntimeParams["timezone"] = "UTC"
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()

	one, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	if err := prepareSchema(ctx, one, schema); err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrating the data tables: %w", err)
	}
	sources := provider.ListSources()
	if known := sources[len(sources)-1].Version; have > known {
		return fmt.Errorf("the data tables are at version %d, this program knows up to %d: use a newer one", have, known)
	}
	return nil
}

// prepareSchema makes the schema, holding the lock until the connection closes.
func prepareSchema(ctx context.Context, conn *sql.Conn, schema string) error {
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", "freshet migrations "+schema); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS "`+schema+`"`)
	return err
}
