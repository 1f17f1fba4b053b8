package sqlbatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A Table of the fold, as the database knows it.
type Table struct {
	Columns []string
	Key     []string // the primary key's columns, in their order
	unique  bool     // it has another unique index
}

// A Reader reads the catalog.
type Reader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Tables are a schema's tables.
func Tables(ctx context.Context, q Reader, schema string) (map[string]Table, error) {
	rows, err := q.Query(ctx, `SELECT c.relname,
			(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
			coalesce((SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
				FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[]) WHERE i.indrelid = c.oid AND i.indisprimary), '{}'),
			EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND NOT i.indisprimary)
		FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY c.relname COLLATE "C"`, schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	all := map[string]Table{}
	var name string
	var t Table
	_, err = pgx.ForEachRow(rows, []any{&name, &t.Columns, &t.Key, &t.unique}, func() error {
		all[name] = Table{Columns: slices.Clone(t.Columns), Key: slices.Clone(t.Key), unique: t.unique}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	return all, nil
}
