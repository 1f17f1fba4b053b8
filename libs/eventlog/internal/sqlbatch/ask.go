package sqlbatch

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Ask sends a batch's statements and a question after them, in one round trip. The error
// of a statement is returned instead of an answer.
func Ask(ctx context.Context, conn *pgx.Conn, b *pgx.Batch, sql string, args ...any) (pgx.Rows, error) {
	if b.Len() == 0 {
		return conn.Query(ctx, sql, args...)
	}
	ahead := b.Len()
	b.Queue(sql, args...)
	results := conn.SendBatch(ctx, b)
	for range ahead {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // it says the same
			return nil, err
		}
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close() // it says the same
		return nil, err
	}
	return &lastRows{Rows: rows, batch: results}, nil
}

// Row is the first row of what was asked.
func Row(rows pgx.Rows, err error) pgx.Row { return oneRow{rows, err} }

// lastRows are the rows of a batch's last statement; closing them frees the connection.
type lastRows struct {
	pgx.Rows
	batch pgx.BatchResults
	err   error // of the batch's end
}

func (r *lastRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *lastRows) Close() {
	r.Rows.Close()
	if r.batch != nil {
		r.err, r.batch = r.batch.Close(), nil
	}
}

func (r *lastRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// oneRow is the first row of a query, or why there is none.
type oneRow struct {
	rows pgx.Rows
	err  error
}

func (r oneRow) Scan(into ...any) error {
	if r.rows != nil {
		defer r.rows.Close()
	}
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
