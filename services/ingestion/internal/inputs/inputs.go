// Package inputs keeps what ingestion knows of the topics that it reads: how far each
// is read, and the quarantine, which holds outside events that could not be taken. It
// is no folded state: a rebuild leaves it as it is, and where it is lost, an input is
// read again from its beginning and what was taken before is found to be.
package inputs

import (
	"context"
	"embed"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Migrations are the tables.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store reads and writes the tables.
type Store struct{ pool *pgxpool.Pool }

// New returns a store in the service's schema.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// Position is how far an input is read, -1 where it never was.
func (s *Store) Position(ctx context.Context, input string) (int64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce((SELECT position FROM input_positions WHERE input = $1), -1)`, input).Scan(&n)
	return n, err
}

// Advance moves an input forward, never back.
func (s *Store) Advance(ctx context.Context, input string, position int64) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO input_positions (input, position) VALUES ($1, $2)
		ON CONFLICT (input) DO UPDATE SET position = greatest(input_positions.position, excluded.position)`, input, position)
	return err
}

// Set puts an input where it is read now, forward or back, and its mark with it.
func (s *Store) Set(ctx context.Context, input string, position int64, mark string, marked int64) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO input_positions (input, position) VALUES ($1, $2), ($3, $4)
		ON CONFLICT (input) DO UPDATE SET position = excluded.position`, input, position, mark, marked)
	return err
}

// Forget lets inputs be read from their beginning.
func (s *Store) Forget(ctx context.Context, inputs ...string) error {
	_, err := s.pool.Exec(ctx, "DELETE FROM input_positions WHERE input = ANY($1)", inputs)
	return err
}

// A Refused is an outside event that could not be taken, and why.
type Refused struct {
	Input, Position, Namespace string
	Reason, Detail             string
	Source, ID, Type           string // of the event, where it could be read
	Body                       []byte
	Received                   time.Time
}

// maxBody is how much of a refused event's bytes is kept.
const maxBody = 64 << 10

// Quarantine keeps a refused event, once for each place in an input.
func (s *Store) Quarantine(ctx context.Context, r Refused) error {
	kept := r.Body[:min(len(r.Body), maxBody)]
	if kept == nil {
		kept = []byte{}
	}
	_, err := s.pool.Exec(ctx, `INSERT INTO quarantined_events (input, position, namespace, reason, detail, source, event_id, event_type, body, bytes, received)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
		r.Input, r.Position, r.Namespace, r.Reason, r.Detail, r.Source, r.ID, r.Type, kept, len(r.Body), r.Received)
	return err
}
