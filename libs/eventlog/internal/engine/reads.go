package engine

import "github.com/jackc/pgx/v5"

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
