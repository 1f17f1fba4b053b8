package state

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/jackc/pgx/v5"
)

// A Model is what decisions need to know of one.
type Model struct {
	Latest    int64
	Withdrawn bool
}

// ModelOf returns a model, the zero Model where there is none.
func ModelOf(ctx context.Context, r eventlog.Reader, namespace, model string) (Model, error) {
	var m Model
	err := r.QueryRow(ctx, `SELECT latest, withdrawn FROM models WHERE namespace = $1 AND model = $2`, namespace, model).
		Scan(&m.Latest, &m.Withdrawn)
	if errors.Is(err, pgx.ErrNoRows) {
		return Model{}, nil
	}
	return m, err
}

// RunKnown reports whether a run has become a version already.
func RunKnown(ctx context.Context, r eventlog.Reader, namespace, model, run string) (bool, error) {
	var known bool
	err := r.QueryRow(ctx, `SELECT EXISTS (SELECT FROM versions WHERE namespace = $1 AND model = $2 AND run = $3)`,
		namespace, model, run).Scan(&known)
	return known, err
}

// A Version is what an approval needs to know of one.
type Version struct {
	Status       domain.Status
	Registered   events.ModelVersionRegistered
	Environments []events.EnvironmentSpec
	Mode         domain.Mode
}

// VersionOf returns a version and whether it exists.
func VersionOf(ctx context.Context, r eventlog.Reader, namespace, model string, version int64) (Version, bool, error) {
	var v Version
	var status, mode string
	var registered, environments []byte
	err := r.QueryRow(ctx, `SELECT v.status, v.registered, c.environments, c.mode
		FROM versions v JOIN candidates c USING (namespace, model, run)
		WHERE v.namespace = $1 AND v.model = $2 AND v.version = $3`, namespace, model, version).
		Scan(&status, &registered, &environments, &mode)
	if errors.Is(err, pgx.ErrNoRows) {
		return Version{}, false, nil
	}
	if err != nil {
		return Version{}, false, err
	}
	v.Status, v.Mode = domain.Status(status), domain.Mode(mode)
	if err := errors.Join(json.Unmarshal(registered, &v.Registered), json.Unmarshal(environments, &v.Environments)); err != nil {
		return Version{}, false, err
	}
	return v, true, nil
}

// Environment returns the position and the rules of an environment.
func (v Version) Environment(name string) (int, events.EnvironmentSpec, bool) {
	for i, e := range v.Environments {
		if e.Environment == name {
			return i, e, true
		}
	}
	return 0, events.EnvironmentSpec{}, false
}

// Standing returns where a model's versions stand in an environment, oldest first.
func Standing(ctx context.Context, r eventlog.Reader, namespace, model, environment string) ([]domain.Standing, error) {
	rows, err := r.Query(ctx, `SELECT version, stage FROM stages
		WHERE namespace = $1 AND model = $2 AND environment = $3 ORDER BY version`, namespace, model, environment)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (domain.Standing, error) {
		var s domain.Standing
		var stage string
		err := row.Scan(&s.Version, &stage)
		s.Stage = domain.Stage(stage)
		return s, err
	})
}

// StageOf returns where one version stands in an environment, "" where it never came.
func StageOf(ctx context.Context, r eventlog.Reader, namespace, model, environment string, version int64) (domain.Stage, error) {
	var stage string
	err := r.QueryRow(ctx, `SELECT stage FROM stages
		WHERE namespace = $1 AND model = $2 AND environment = $3 AND version = $4`, namespace, model, environment, version).Scan(&stage)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return domain.Stage(stage), err
}

// ChampionOf returns the version that an environment serves, nil where there is none.
func ChampionOf(ctx context.Context, r eventlog.Reader, namespace, model, environment string) (*int64, error) {
	var v int64
	err := r.QueryRow(ctx, `SELECT version FROM champions WHERE namespace = $1 AND model = $2 AND environment = $3`,
		namespace, model, environment).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// RolloutKind returns why a rollout was started: "promotion" or "rollback".
func RolloutKind(ctx context.Context, r eventlog.Reader, namespace, rollout string) (string, error) {
	var kind string
	err := r.QueryRow(ctx, `SELECT kind FROM rollouts WHERE namespace = $1 AND rollout = $2`, namespace, rollout).Scan(&kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return kind, err
}

// Waiting is one version that waits for a person.
type Waiting struct {
	Version     int64
	Environment string
}

// WaitingFor returns what a model has waiting for a person, in a fixed order.
func WaitingFor(ctx context.Context, r eventlog.Reader, namespace, model string) ([]Waiting, error) {
	rows, err := r.Query(ctx, `SELECT version, environment FROM stages
		WHERE namespace = $1 AND model = $2 AND stage = 'asked' ORDER BY environment, version`, namespace, model)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Waiting])
}

// A ModelDetail is what is shown of a model.
type ModelDetail struct {
	Model        string     `json:"model"`
	Latest       int64      `json:"latest"`
	Withdrawn    bool       `json:"withdrawn"`
	Owner        string     `json:"owner,omitempty"`
	Repository   string     `json:"repository"`
	Revision     string     `json:"revision"`
	Mode         string     `json:"mode"`
	ChangedAt    time.Time  `json:"changed_at"`
	Champions    []Champion `json:"champions"`
	WaitingSince *time.Time `json:"waiting_since,omitempty"` // for a person, the longest
}

// A Champion is what an environment serves.
type Champion struct {
	Environment string    `json:"environment"`
	Version     int64     `json:"version"`
	Previous    *int64    `json:"previous,omitempty"`
	Since       time.Time `json:"since"`
	Event       string    `json:"event"`
}

// A VersionDetail is one version with everything it was made from.
type VersionDetail struct {
	Model        string          `json:"model"`
	Version      int64           `json:"version"`
	Run          string          `json:"run"`
	Status       string          `json:"status"`
	RegisteredAt time.Time       `json:"registered_at"`
	Event        string          `json:"event"`
	Trigger      string          `json:"trigger"`
	Metrics      Metrics         `json:"metrics"`
	Gates        json.RawMessage `json:"gates"`
	Stages       []Stage         `json:"stages"`
	Registered   json.RawMessage `json:"registered,omitempty"` // the whole payload; only when one version is asked for
	Environments json.RawMessage `json:"environments,omitempty"`
	Slices       json.RawMessage `json:"slices,omitempty"`
}

// Metrics are the same rows as three predictors saw them.
type Metrics struct {
	Candidate json.RawMessage `json:"candidate"`
	Champion  json.RawMessage `json:"champion"`
	Naive     json.RawMessage `json:"naive"`
	Rows      int64           `json:"rows"`
}

// A Stage is where a version stands in one environment.
type Stage struct {
	Environment string    `json:"environment"`
	Stage       string    `json:"stage"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`
	Event       string    `json:"event"`
}

// Models returns one model, or all of a namespace when name is empty.
func Models(ctx context.Context, r eventlog.Reader, namespace, name string, limit int) ([]ModelDetail, error) {
	rows, err := r.Query(ctx, `SELECT m.model, m.latest, m.withdrawn, m.owner, m.repository, m.revision, m.mode, m.changed_at,
			coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('environment', c.environment, 'version', c.version,
				'previous', c.previous, 'since', to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'event', c.event)) ORDER BY c.environment)
				FROM champions c WHERE c.namespace = m.namespace AND c.model = m.model), '[]'),
			(SELECT min(s.at) FROM stages s WHERE s.namespace = m.namespace AND s.model = m.model AND s.stage = 'asked')
		FROM models m WHERE m.namespace = $1 AND ($2 = '' OR m.model = $2) ORDER BY m.model LIMIT $3`, namespace, name, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (ModelDetail, error) {
		var m ModelDetail
		var champions []byte
		if err := row.Scan(&m.Model, &m.Latest, &m.Withdrawn, &m.Owner, &m.Repository, &m.Revision, &m.Mode, &m.ChangedAt,
			&champions, &m.WaitingSince); err != nil {
			return m, err
		}
		return m, json.Unmarshal(champions, &m.Champions)
	})
}

// Versions returns one version, or the newest of a model when version is 0; oldest
// first.
func Versions(ctx context.Context, r eventlog.Reader, namespace, model string, version int64, limit int) ([]VersionDetail, error) {
	rows, err := r.Query(ctx, `SELECT * FROM (
			SELECT v.model, v.version, v.run, v.status, v.at, v.event, c.trigger,
				v.registered->'candidate'->'metrics', v.registered->'champion', v.registered->'naive'->'metrics', (v.registered->>'rows')::bigint,
				v.gates, v.registered, c.environments, c.slices,
				coalesce((SELECT jsonb_agg(jsonb_build_object('environment', s.environment, 'stage', s.stage, 'reason', s.reason,
					'at', to_char(s.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'event', s.event) ORDER BY s.at, s.environment)
					FROM stages s WHERE s.namespace = v.namespace AND s.model = v.model AND s.version = v.version), '[]')
			FROM versions v JOIN candidates c USING (namespace, model, run)
			WHERE v.namespace = $1 AND v.model = $2 AND ($3 = 0 OR v.version = $3) ORDER BY v.version DESC LIMIT $4) newest
		ORDER BY version`, namespace, model, version, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (VersionDetail, error) {
		var v VersionDetail
		var candidate, champion, naive, gates, registered, environments, slices, stages []byte
		if err := row.Scan(&v.Model, &v.Version, &v.Run, &v.Status, &v.RegisteredAt, &v.Event, &v.Trigger,
			&candidate, &champion, &naive, &v.Metrics.Rows, &gates, &registered, &environments, &slices, &stages); err != nil {
			return v, err
		}
		v.Metrics.Candidate, v.Metrics.Champion, v.Metrics.Naive = candidate, champion, naive
		v.Gates, v.Registered, v.Environments, v.Slices = gates, registered, environments, slices
		return v, json.Unmarshal(stages, &v.Stages)
	})
}
