package inbox

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Migrations are the tables of the inbox.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Broker is what the inbox needs of Kafka; *kafka.Client has it.
type Broker interface {
	Ensure(ctx context.Context, topic string, partitions int) error
	Bounds(ctx context.Context, topic string) (first, end map[int]int64, err error)
	Consume(ctx context.Context, topic string, offsets map[int]int64, fn func(ctx context.Context, records []kafka.Record) error) error
}

// Inbox keeps inference records.
type Inbox struct {
	pool   *pgxpool.Pool
	broker Broker
	logger *slog.Logger

	mu      sync.Mutex
	next    map[int]int64 // offsets consumed up to
	arrived chan struct{} // closed when records were taken in
}

// New returns an inbox.
func New(pool *pgxpool.Pool, broker Broker, logger *slog.Logger) *Inbox {
	return &Inbox{pool: pool, broker: broker, logger: logger, arrived: make(chan struct{})}
}

// Arrived is closed when the next records are in the tables.
func (b *Inbox) Arrived() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived
}

// Run consumes until the context ends.
func (b *Inbox) Run(ctx context.Context) error {
	if err := b.broker.Ensure(ctx, Topic, 1); err != nil {
		return err
	}
	offsets, err := b.offsets(ctx)
	if err != nil {
		return err
	}
	b.moved(offsets)
	return b.broker.Consume(ctx, Topic, offsets, b.take)
}

func (b *Inbox) offsets(ctx context.Context) (map[int]int64, error) {
	rows, err := b.pool.Query(ctx, `SELECT partition, next FROM consumed WHERE topic = $1 ORDER BY partition`, Topic)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	offsets := map[int]int64{}
	for rows.Next() {
		var partition int
		var next int64
		if err := rows.Scan(&partition, &next); err != nil {
			return nil, err
		}
		offsets[partition] = next
	}
	return offsets, rows.Err()
}

func (b *Inbox) moved(offsets map[int]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = map[int]int64{}
	}
	for p, n := range offsets {
		b.next[p] = n
	}
	close(b.arrived)
	b.arrived = make(chan struct{})
}

// take stores a batch and its offsets in one transaction.
func (b *Inbox) take(ctx context.Context, records []kafka.Record) error {
	offsets := map[int]int64{}
	batch := &pgx.Batch{}
	for _, r := range records {
		offsets[r.Partition] = max(offsets[r.Partition], r.Offset+1)
		row, err := parse(r)
		if err != nil {
			b.logger.Warn("an inference record is skipped", "partition", r.Partition, "offset", r.Offset, "error", err)
			batch.Queue(`INSERT INTO refused_records (topic, partition, position, reason, value) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
				Topic, r.Partition, r.Offset, text(err.Error(), 1000), r.Value[:min(len(r.Value), 4096)])
			continue
		}
		batch.Queue(`INSERT INTO records (namespace, id, model, environment, at, rollout, step, rows, versions, version_rows, failed, latency_ms, answers, features)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`,
			row.namespace, row.id, row.model, row.environment, row.at, row.rollout, row.step, row.rows, row.versions, row.versionRows,
			row.failed, row.latency, row.answers, row.features)
	}
	for partition, next := range offsets {
		batch.Queue(`INSERT INTO consumed (topic, partition, next) VALUES ($1, $2, $3)
			ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next WHERE consumed.next < excluded.next`, Topic, partition, next)
	}
	if err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
		return fmt.Errorf("storing inference records: %w", err)
	}
	b.moved(offsets)
	return nil
}

// text is what PostgreSQL takes as text, within a limit.
func text(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "")
}

// Behind is how many records are in Kafka and not yet in the tables.
func (b *Inbox) Behind(ctx context.Context) (int64, error) {
	first, end, err := b.broker.Bounds(ctx, Topic)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var n int64
	for p, e := range end {
		n += max(0, e-max(b.next[p], first[p]))
	}
	return n, nil
}

// CatchUp waits until everything that is in Kafka now is in the tables.
func (b *Inbox) CatchUp(ctx context.Context) error {
	first, end, err := b.broker.Bounds(ctx, Topic)
	if err != nil {
		return err
	}
	for {
		b.mu.Lock()
		arrived, there := b.arrived, true
		for p, e := range end {
			there = there && max(b.next[p], first[p]) >= e
		}
		b.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CandidateRows is how many rows a version answered or failed in a rollout's step.
func (b *Inbox) CandidateRows(ctx context.Context, namespace, rollout string, step, version int64) (int64, error) {
	var n int64
	err := b.pool.QueryRow(ctx, `SELECT coalesce(sum(u.n), 0)::bigint FROM records r, unnest(r.versions, r.version_rows) AS u(v, n)
		WHERE r.namespace = $1 AND r.rollout = $2 AND r.rollout <> '' AND r.step = $3 AND u.v = $4
		AND r.failed NOT IN ('invalid_request', 'cancelled')`, namespace, rollout, step, version).Scan(&n)
	return n, err
}

// Asked reports whether an environment was ever asked before a time, as far as
// records are kept.
func (b *Inbox) Asked(ctx context.Context, namespace, model, environment string, before time.Time) (bool, error) {
	var asked bool
	err := b.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM records WHERE namespace = $1 AND model = $2 AND environment = $3 AND at < $4)`,
		namespace, model, environment, before).Scan(&asked)
	return asked, err
}

// Between calls each for every record of an environment in [from, to), in the
// order of their times and ids.
func (b *Inbox) Between(ctx context.Context, namespace, model, environment string, from, to time.Time, features bool, each func(*Record) error) error {
	return b.each(ctx, features, each, `WHERE namespace = $1 AND model = $2 AND environment = $3 AND at >= $4 AND at < $5 ORDER BY at, id`,
		namespace, model, environment, from, to)
}

// OfStep calls each for every record of a rollout's step.
func (b *Inbox) OfStep(ctx context.Context, namespace, rollout string, step int64, each func(*Record) error) error {
	return b.each(ctx, false, each, `WHERE namespace = $1 AND rollout = $2 AND rollout <> '' AND step = $3 ORDER BY at, id`, namespace, rollout, step)
}

func (b *Inbox) each(ctx context.Context, features bool, each func(*Record) error, where string, args ...any) error {
	column := "NULL::bytea"
	if features {
		column = "features"
	}
	rows, err := b.pool.Query(ctx, `SELECT at, rows, failed, latency_ms, answers, `+column+` FROM records `+where, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r Record
		var a, f []byte
		if err := rows.Scan(&r.At, &r.Rows, &r.Failed, &r.LatencyMS, &a, &f); err != nil {
			return err
		}
		if err := r.decode(a, f); err != nil {
			return err
		}
		if err := each(&r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Forget deletes the records before a time.
func (b *Inbox) Forget(ctx context.Context, before time.Time) error {
	_, err := b.pool.Exec(ctx, `DELETE FROM records WHERE at < $1`, before)
	return err
}
