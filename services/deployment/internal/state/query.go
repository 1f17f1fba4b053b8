package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/deployment/internal/domain"
	"github.com/jackc/pgx/v5"
)

// ErrNone means that what was asked for does not exist.
var ErrNone = errors.New("not found")

// An Environment of a model, with the rollout under way.
type Environment struct {
	Namespace   string
	Model       string
	Environment string
	Serving     *int64
	Rollout     *domain.Rollout // open, or nil
	Withdrawn   bool
	Last        bool // the model's last environment, which its bare name means
	Key         string
	Changed     time.Time
}

const rolloutColumns = `r.rollout, r.model, r.environment, r.version, r.previous, r.kind, r.state, r.step, r.weight, r.steps`

func scanRollout(r *domain.Rollout) []any {
	return []any{&r.ID, &r.Model, &r.Environment, &r.Version, &r.Previous, &r.Kind, &r.State, &r.Step, &r.Weight, &r.Steps}
}

// Rollout finds a rollout by its id.
func Rollout(ctx context.Context, db eventlog.Reader, namespace, id string) (domain.Rollout, error) {
	var r domain.Rollout
	err := db.QueryRow(ctx, `SELECT `+rolloutColumns+` FROM rollouts r WHERE r.namespace = $1 AND r.rollout = $2`, namespace, id).Scan(scanRollout(&r)...)
	return r, none(err)
}

// Serves returns what an environment serves and the rollout open in it.
func Serves(ctx context.Context, db eventlog.Reader, namespace, model, environment string) (serving *int64, open *domain.Rollout, err error) {
	var rollout string
	err = db.QueryRow(ctx, `SELECT serving, rollout FROM environments WHERE namespace = $1 AND model = $2 AND environment = $3`,
		namespace, model, environment).Scan(&serving, &rollout)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil || rollout == "" {
		return serving, nil, err
	}
	r, err := Rollout(ctx, db, namespace, rollout)
	return serving, &r, err
}

// Before is the version that served before the one that serves now, as the
// rollout that brought it says; nil if there was none.
func Before(ctx context.Context, db eventlog.Reader, namespace, model, environment string, serving int64) (*int64, error) {
	var previous *int64
	err := db.QueryRow(ctx, `SELECT previous FROM rollouts
		WHERE namespace = $1 AND model = $2 AND environment = $3 AND version = $4 AND state = $5 AND kind = $6
		ORDER BY ordinal DESC, rollout LIMIT 1`,
		namespace, model, environment, serving, string(domain.Completed), domain.Promotion).Scan(&previous)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return previous, err
}

// Served reports whether a version ever had all of an environment's traffic.
func Served(ctx context.Context, db eventlog.Reader, namespace, model, environment string, version int64) (bool, error) {
	var served bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rollouts
		WHERE namespace = $1 AND model = $2 AND environment = $3 AND version = $4 AND state = $5)`,
		namespace, model, environment, version, string(domain.Completed)).Scan(&served)
	return served, err
}

// Approved returns the approval that lets an environment serve a version.
func Approved(ctx context.Context, db eventlog.Reader, namespace, model, environment string, version int64) (events.ModelVersionApproved, error) {
	var p events.ModelVersionApproved
	var raw string
	err := db.QueryRow(ctx, `SELECT payload FROM approvals WHERE namespace = $1 AND model = $2 AND environment = $3 AND version = $4`,
		namespace, model, environment, version).Scan(&raw)
	if err != nil {
		return p, none(err)
	}
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return p, fmt.Errorf("approval of %s version %d: %w", model, version, err)
	}
	return p, nil
}

// Environments lists all environments, of one namespace or of all where it is
// empty, in the order of their keys.
func Environments(ctx context.Context, db eventlog.Reader, namespace string) ([]Environment, error) {
	rows, err := db.Query(ctx, `SELECT e.namespace, e.model, e.environment, e.serving, e.changed, e.rollout,
			coalesce(m.withdrawn, false), coalesce(m.environments, '{}'), coalesce(d.keys, '{}'),
			coalesce(r.version, 0), r.previous, coalesce(r.kind, ''), coalesce(r.state, ''), coalesce(r.step, 0),
			coalesce(r.weight, 0), coalesce(r.steps, '{}')
		FROM environments e
		LEFT JOIN models m ON m.namespace = e.namespace AND m.model = e.model
		LEFT JOIN datasets d ON d.namespace = e.namespace AND d.dataset = m.dataset
		LEFT JOIN rollouts r ON r.namespace = e.namespace AND r.rollout = e.rollout
		WHERE $1 = '' OR e.namespace = $1
		ORDER BY e.namespace, e.model, e.environment`, namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Environment
	for rows.Next() {
		var e Environment
		var r domain.Rollout
		var declared, keys []string
		if err := rows.Scan(&e.Namespace, &e.Model, &e.Environment, &e.Serving, &e.Changed, &r.ID, &e.Withdrawn, &declared, &keys,
			&r.Version, &r.Previous, &r.Kind, &r.State, &r.Step, &r.Weight, &r.Steps); err != nil {
			return nil, err
		}
		if r.ID != "" {
			r.Model, r.Environment = e.Model, e.Environment
			e.Rollout = &r
		}
		if len(keys) > 0 {
			e.Key = keys[0]
		}
		e.Last = len(declared) > 0 && declared[len(declared)-1] == e.Environment
		all = append(all, e)
	}
	return all, rows.Err()
}

// A Listed rollout, as the list route shows it.
type Listed struct {
	Rollout     string    `json:"rollout"`
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Version     int64     `json:"version"`
	Previous    *int64    `json:"previous,omitempty"`
	Kind        string    `json:"kind"`
	State       string    `json:"state"`
	Step        int64     `json:"step"`
	Weight      int64     `json:"weight"`
	Steps       []int64   `json:"steps"`
	Reason      string    `json:"reason,omitempty"`
	Started     time.Time `json:"started"`
	Moved       time.Time `json:"moved"`
}

// Rollouts lists rollouts, newest first; an empty model or environment means all.
func Rollouts(ctx context.Context, db eventlog.Reader, namespace, model, environment string, limit int) ([]Listed, error) {
	rows, err := db.Query(ctx, `SELECT `+rolloutColumns+`, r.reason, r.started, r.moved FROM rollouts r
		WHERE r.namespace = $1 AND ($2 = '' OR r.model = $2) AND ($3 = '' OR r.environment = $3)
		ORDER BY r.started DESC, r.model, r.environment, r.ordinal DESC LIMIT $4`, namespace, model, environment, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Listed{}
	for rows.Next() {
		var r domain.Rollout
		var l Listed
		if err := rows.Scan(append(scanRollout(&r), &l.Reason, &l.Started, &l.Moved)...); err != nil {
			return nil, err
		}
		l.Rollout, l.Model, l.Environment, l.Version, l.Previous = r.ID, r.Model, r.Environment, r.Version, r.Previous
		l.Kind, l.State, l.Step, l.Weight, l.Steps = r.Kind, string(r.State), r.Step, r.Weight, r.Steps
		list = append(list, l)
	}
	return list, rows.Err()
}

func none(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNone
	}
	return err
}
