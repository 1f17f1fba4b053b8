package state

import (
	"context"
	"encoding/json"
	"errors"

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
