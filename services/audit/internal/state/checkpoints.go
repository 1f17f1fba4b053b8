package state

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

func checkpointSigned(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CheckpointSigned) error {
	tx.Exec(`INSERT INTO checkpoints (size, key, root, note, event, time) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (size, key) DO NOTHING`,
		p.Size, p.Key, p.Root, p.Note, e.ID(), e.Time())
	return nil
}

// A Checkpoint was signed.
type Checkpoint struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	events.CheckpointSigned
}

// Checkpoints returns the newest checkpoints, newest first.
func Checkpoints(ctx context.Context, r eventlog.Reader, limit int) ([]Checkpoint, error) {
	rows, err := r.Query(ctx, `SELECT event, time, size, root, note, key FROM checkpoints ORDER BY size DESC, key LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Checkpoint, error) {
		var c Checkpoint
		err := row.Scan(&c.Event, &c.Time, &c.Size, &c.Root, &c.Note, &c.Key)
		c.Time = c.Time.UTC()
		return c, err
	})
}

// NewestCheckpoint is the newest one, the zero one where there is none.
func NewestCheckpoint(ctx context.Context, r eventlog.Reader) (events.CheckpointSigned, error) {
	list, err := Checkpoints(ctx, r, 1)
	if err != nil || len(list) == 0 {
		return events.CheckpointSigned{}, err
	}
	return list[0].CheckpointSigned, nil
}

// ErrTooMany: more events than asked for at most.
var ErrTooMany = errors.New("too many events")

// A Selection chooses the ripples that belong to a model's evidence.
type Selection struct {
	Namespace string
	Subjects  []string // of the types whose subject is a model
	Types     []string
	Events    []string // ids whose ripples belong to it
	Rollouts  []string // types whose subject is a rollout
	Limit     int
}

// Ripples returns every event of the chosen ripples, of the ripples that those rest on
// (contributors), and of those that moved or judged their rollouts, in the log's order.
func Ripples(ctx context.Context, r eventlog.Reader, s Selection) ([]Entry, error) {
	rows, err := r.Query(ctx, `
		WITH RECURSIVE chosen (correlation) AS (
			SELECT correlation FROM events WHERE namespace = $1 AND (subject = ANY($2) AND type = ANY($3) OR id = ANY($4))
			UNION
			SELECT more.correlation FROM chosen
			JOIN events e ON e.namespace = $1 AND e.correlation = chosen.correlation
			CROSS JOIN LATERAL (
				SELECT m.correlation FROM events m WHERE m.namespace = $1 AND m.id = ANY(e.contributors)
				UNION ALL
				SELECT m.correlation FROM events m WHERE e.type = ANY($5) AND m.namespace = $1 AND m.subject = e.subject AND m.type = ANY($5)
			) more
		)
		SELECT `+columns+` FROM events WHERE namespace = $1 AND correlation IN (SELECT correlation FROM chosen) ORDER BY sequence, id LIMIT $6`,
		s.Namespace, s.Subjects, s.Types, s.Events, s.Rollouts, s.Limit+1)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scan)
	if err == nil && len(list) > s.Limit {
		return nil, ErrTooMany
	}
	return list, err
}
