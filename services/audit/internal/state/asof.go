package state

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// A Row is how one thing stood.
type Row struct {
	Kind  string
	Key   string
	Model string
	Event string
	Value json.RawMessage
}

// stoodSQL asks for everything that held at one position: one lookup in past_at.
const stoodSQL = `SELECT kind, key, model, event, value FROM past
	WHERE namespace = $1 AND int8range(from_sequence, until_sequence) @> $2::bigint AND ($3 = '' OR model = $3 OR model = '') ORDER BY kind, key`

// Stood returns everything that held at a position of the log, or that of one model and
// of what is of no model.
func Stood(ctx context.Context, r eventlog.Reader, namespace string, position int64, model string) ([]Row, error) {
	rows, err := r.Query(ctx, stoodSQL, namespace, position, model)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
}

// StoodOne returns how one thing stood at a position, ErrUnknown where it did not exist.
func StoodOne(ctx context.Context, r eventlog.Reader, namespace, kind, key string, position int64) (Row, error) {
	rows, err := r.Query(ctx, `SELECT kind, key, model, event, value FROM past
		WHERE namespace = $1 AND kind = $2 AND key = $3 AND from_sequence <= $4 AND until_sequence > $4 ORDER BY from_sequence DESC LIMIT 1`,
		namespace, kind, key, position)
	if err != nil {
		return Row{}, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Row])
	if errors.Is(err, pgx.ErrNoRows) {
		return Row{}, ErrUnknown
	}
	return row, err
}

// A DataCommit is one version of a dataset.
type DataCommit struct {
	Number      int64      `json:"number"`
	Commit      string     `json:"commit"`
	Event       string     `json:"event"`
	Committed   time.Time  `json:"committed"`
	Rows        int64      `json:"rows"`
	AddedRows   int64      `json:"added_rows"`
	Quarantined int64      `json:"quarantined"`
	MinTime     *time.Time `json:"min_time,omitempty"`
	MaxTime     *time.Time `json:"max_time,omitempty"`
}

const commitsSQL = `SELECT number, commit, event, committed, rows, added_rows, quarantined, min_time, max_time FROM commits
	WHERE namespace = $1 AND dataset = $2 AND sequence <= $3 ORDER BY sequence DESC LIMIT $4`

// Commits returns the newest commits that a dataset had at a position, newest first.
func Commits(ctx context.Context, r eventlog.Reader, namespace, dataset string, position int64, limit int) ([]DataCommit, error) {
	rows, err := r.Query(ctx, commitsSQL, namespace, dataset, position, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (DataCommit, error) {
		c, err := pgx.RowToStructByPos[DataCommit](row)
		c.Committed = c.Committed.UTC()
		for _, t := range []*time.Time{c.MinTime, c.MaxTime} {
			if t != nil {
				*t = t.UTC()
			}
		}
		return c, err
	})
}

// Materialised is what had been computed of a view.
type Materialised struct {
	Commits      int64      `json:"commits"`
	Rows         int64      `json:"rows"`
	Through      *time.Time `json:"through,omitempty"`
	LastComputed *time.Time `json:"last_computed,omitempty"`
	LastError    string     `json:"last_error,omitempty"`
}

// materialisedSQL takes the newest result of each commit, and tells of the newest commit
// when it was computed and what failed.
const materialisedSQL = `WITH newest AS (
		SELECT DISTINCT ON (commit) commit, number, rows, through, error, at FROM materialisations
		WHERE namespace = $1 AND view = $2 AND version = $3 AND sequence <= $4 ORDER BY commit, sequence DESC
	), last AS (SELECT error, at FROM newest ORDER BY number DESC, commit DESC LIMIT 1)
	SELECT count(*), coalesce(sum(rows), 0)::bigint, max(through), (SELECT at FROM last), coalesce((SELECT error FROM last), '') FROM newest`

// MaterialisedOf returns what had been computed of a view's version at a position.
func MaterialisedOf(ctx context.Context, r eventlog.Reader, namespace, view string, version, position int64) (Materialised, error) {
	var m Materialised
	err := r.QueryRow(ctx, materialisedSQL, namespace, view, version, position).Scan(&m.Commits, &m.Rows, &m.Through, &m.LastComputed, &m.LastError)
	for _, t := range []*time.Time{m.Through, m.LastComputed} {
		if t != nil {
			*t = t.UTC()
		}
	}
	return m, err
}

const (
	positionSQL = `SELECT sequence FROM moments WHERE at > $1 ORDER BY at LIMIT 1`
	timeSQL     = `SELECT at FROM moments WHERE sequence <= $1 ORDER BY sequence DESC, at DESC LIMIT 1`
)

// PositionAt returns the last position of the log before the suite's time went past an
// instant, or end where it never did.
func PositionAt(ctx context.Context, r eventlog.Reader, at time.Time, end int64) (int64, error) {
	var next int64
	err := r.QueryRow(ctx, positionSQL, at).Scan(&next)
	if errors.Is(err, pgx.ErrNoRows) {
		return end, nil
	}
	return next - 1, err
}

// TimeAt returns the suite's time at a position; zero before the first event.
func TimeAt(ctx context.Context, r eventlog.Reader, position int64) (time.Time, error) {
	var at time.Time
	err := r.QueryRow(ctx, timeSQL, position).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return at.UTC(), err
}
