package schema

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Fold is what the tables of a service's fold follow from.
type Fold struct {
	Service string
	Version int
	Tables  string // DDL of the service's own
}

// A Reader reads a row.
type Reader interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Create makes the empty tables of the fold in a schema, before the first event.
func (f Fold) Create(ctx context.Context, tx pgx.Tx, in string) error {
	fold := Quote(in)
	if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+fold+"; SET LOCAL search_path = "+fold+";"+foldTables); err != nil {
		return fmt.Errorf("tables of the fold: %w", err)
	}
	if strings.TrimSpace(f.Tables) != "" {
		if _, err := tx.Exec(ctx, f.Tables); err != nil {
			return fmt.Errorf("tables of %s: %w", f.Service, err)
		}
	}
	_, err := tx.Exec(ctx, "INSERT INTO "+fold+`.fold_position (epoch, sequence, digest, now, version, tables)
		VALUES ($1, 0, '', '0001-01-01T00:00:00Z', $2, $3)`, "", int64(f.Version), f.digest())
	if err != nil {
		return fmt.Errorf("first position: %w", err)
	}
	return nil
}

// Outdated says whether the live tables are those of another version of the fold.
func (f Fold) Outdated(ctx context.Context, q Reader) (bool, error) {
	var version int64
	var tables string
	err := q.QueryRow(ctx, "SELECT version, tables FROM "+Quote(Of(f.Service))+".fold_position").Scan(&version, &tables)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the fold's version: %w", err)
	}
	return version != int64(f.Version) || tables != f.digest(), nil
}

// digest tells one version of a fold's tables from another.
func (f Fold) digest() string {
	sum := sha256.Sum256([]byte(foldTables + f.Tables))
	return hex.EncodeToString(sum[:8])
}

// Prepare creates the live tables where there are none. A fold of another version
// stays as it is, and serves reads, until it was rebuilt.
func (f Fold) Prepare(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", Quote(Of(f.Service))+".fold_position").Scan(&exists); err != nil {
		return err
	}
	if exists {
		return nil
	}
	return f.Create(ctx, tx, Of(f.Service))
}
