package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/jackc/pgx/v5"
)

// ErrNone means that what was asked for does not exist.
var ErrNone = errors.New("not found")

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// A Model as it is to be watched.
type Model struct {
	Dataset    string
	Label      string
	Task       string
	Prediction string
	Fields     []string
	Every      time.Duration
	PSI        float64
	Alarms     []events.Rule
}

// ModelOf returns a model.
func ModelOf(ctx context.Context, db eventlog.Reader, ns, model string) (Model, error) {
	var m Model
	var alarms string
	err := db.QueryRow(ctx, `SELECT dataset, label, task, prediction, fields, every, psi, alarms FROM models WHERE namespace = $1 AND model = $2`,
		ns, model).Scan(&m.Dataset, &m.Label, &m.Task, &m.Prediction, &m.Fields, (*int64)(&m.Every), &m.PSI, &alarms)
	if err != nil {
		return m, none(err)
	}
	if err := json.Unmarshal([]byte(alarms), &m.Alarms); err != nil {
		return m, fmt.Errorf("alarms of %s: %w", model, err)
	}
	return m, nil
}

// A Watch is an environment that serves.
type Watch struct {
	Namespace   string
	Model       string
	Environment string
	Champion    int64
	ClosedTo    time.Time // where the last traffic window ended
	Every       time.Duration
}

const watchSQL = `SELECT w.namespace, w.model, w.environment, w.champion, w.closed_to, m.every
	FROM watches w JOIN models m ON m.namespace = w.namespace AND m.model = w.model `

func scanWatch(rows pgx.CollectableRow) (Watch, error) {
	var w Watch
	err := rows.Scan(&w.Namespace, &w.Model, &w.Environment, &w.Champion, &w.ClosedTo, (*int64)(&w.Every))
	return w, err
}

// Watches lists every environment that serves.
func Watches(ctx context.Context, db eventlog.Reader) ([]Watch, error) {
	rows, err := db.Query(ctx, watchSQL+`ORDER BY w.namespace, w.model, w.environment`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanWatch)
}

// WatchOf returns one environment that serves.
func WatchOf(ctx context.Context, db eventlog.Reader, ns, model, environment string) (Watch, error) {
	rows, err := db.Query(ctx, watchSQL+`WHERE w.namespace = $1 AND w.model = $2 AND w.environment = $3`, ns, model, environment)
	if err != nil {
		return Watch{}, err
	}
	w, err := pgx.CollectExactlyOneRow(rows, scanWatch)
	return w, none(err)
}

// A Canary is a rollout as monitoring follows it.
type Canary struct {
	Namespace   string
	Rollout     string
	Model       string
	Environment string
	Version     int64
	Previous    *int64
	State       string
	Step        int64
	Stepped     time.Time
	Requests    int64
	AtLeast     time.Duration
	Rules       []events.Rule
	Cause       eventlog.Cause // the event that began the step
}

const canarySQL = `SELECT namespace, rollout, model, environment, version, previous, state, step, stepped, requests, at_least, rules,
	cause, correlation, hops, traceparent FROM canaries `

func scanCanary(rows pgx.CollectableRow) (Canary, error) {
	var c Canary
	var list string
	err := rows.Scan(&c.Namespace, &c.Rollout, &c.Model, &c.Environment, &c.Version, &c.Previous, &c.State, &c.Step, &c.Stepped, &c.Requests,
		(*int64)(&c.AtLeast), &list, &c.Cause.ID, &c.Cause.Correlation, &c.Cause.Hops, &c.Cause.Traceparent)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(list), &c.Rules)
}

// Stepping lists the canaries whose step takes traffic and is not yet judged.
func Stepping(ctx context.Context, db eventlog.Reader) ([]Canary, error) {
	rows, err := db.Query(ctx, canarySQL+`WHERE state = $1 ORDER BY namespace, rollout`, domain.CanaryStepping)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanCanary)
}

// CanaryOf finds a canary by its rollout.
func CanaryOf(ctx context.Context, db eventlog.Reader, ns, rollout string) (Canary, error) {
	rows, err := db.Query(ctx, canarySQL+`WHERE namespace = $1 AND rollout = $2`, ns, rollout)
	if err != nil {
		return Canary{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCanary)
	return c, none(err)
}

// CandidateIn is the version under way in an environment, nil if there is none.
func CandidateIn(ctx context.Context, db eventlog.Reader, ns, model, environment string) (*int64, error) {
	var v int64
	err := db.QueryRow(ctx, `SELECT version FROM canaries WHERE namespace = $1 AND model = $2 AND environment = $3 AND state IN ($4, $5)
		ORDER BY stepped DESC, rollout LIMIT 1`, ns, model, environment, domain.CanaryStepping, domain.CanaryClosed).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &v, err
}

// ProfileOf is the digest of a version's reference profile.
func ProfileOf(ctx context.Context, db eventlog.Reader, ns, model string, version int64) (string, error) {
	var digest string
	err := db.QueryRow(ctx, `SELECT profile FROM versions WHERE namespace = $1 AND model = $2 AND version = $3`, ns, model, version).Scan(&digest)
	return digest, none(err)
}

// Live is the newest value of every live metric of an environment.
func Live(ctx context.Context, db eventlog.Reader, ns, model, environment string) (map[string]float64, error) {
	rows, err := db.Query(ctx, `SELECT metric, value FROM live WHERE namespace = $1 AND model = $2 AND environment = $3 ORDER BY metric`, ns, model, environment)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := map[string]float64{}
	for rows.Next() {
		var k string
		var v float64
		if err := rows.Scan(&k, &v); err != nil {
			return nil, err
		}
		m[k] = v
	}
	return m, rows.Err()
}

// OpenAlert is the id of the open alert of a kind and name, empty if there is
// none; an empty name means any.
func OpenAlert(ctx context.Context, db eventlog.Reader, ns, model, environment, kind, name string) (string, error) {
	var id string
	err := db.QueryRow(ctx, `SELECT alert FROM alerts WHERE namespace = $1 AND model = $2 AND environment = $3 AND kind = $4
		AND ($5 = '' OR name = $5) AND resolved IS NULL ORDER BY raised, alert LIMIT 1`, ns, model, environment, kind, name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// An Alert is as the list route shows it.
type Alert struct {
	events.AlertRaised
	Raised   time.Time  `json:"raised"`
	Resolved *time.Time `json:"resolved,omitempty"`
}

// Alerts lists alerts, newest first.
func Alerts(ctx context.Context, db eventlog.Reader, ns, model string, open bool, limit int) ([]Alert, error) {
	rows, err := db.Query(ctx, `SELECT payload, raised, resolved FROM alerts
		WHERE namespace = $1 AND ($2 = '' OR model = $2) AND (NOT $3 OR resolved IS NULL)
		ORDER BY raised DESC, alert LIMIT $4`, ns, model, open, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Alert, error) {
		var a Alert
		var payload string
		if err := row.Scan(&payload, &a.Raised, &a.Resolved); err != nil {
			return a, err
		}
		a.Raised = a.Raised.UTC()
		return a, json.Unmarshal([]byte(payload), &a.AlertRaised)
	})
}

// A Window is as the list route shows it: the event's payload, and of it what a
// table has room for.
type Window struct {
	ID       string   `json:"id"`
	Requests int64    `json:"requests"`         // of all versions
	Column   string   `json:"column,omitempty"` // that moved furthest
	PSI      *float64 `json:"psi,omitempty"`    // of that column
	events.WindowClosed
}

func (w *Window) summarise() {
	for _, s := range w.Slices {
		w.Requests += s.Requests
	}
	for i := range w.Drift {
		if d := &w.Drift[i]; w.PSI == nil || d.PSI > *w.PSI {
			w.Column, w.PSI = d.Column, &d.PSI
		}
	}
}

// Windows lists closed windows, newest first.
func Windows(ctx context.Context, db eventlog.Reader, ns, model, environment, kind string, limit int) ([]Window, error) {
	rows, err := db.Query(ctx, `SELECT id, payload FROM windows
		WHERE namespace = $1 AND ($2 = '' OR model = $2) AND ($3 = '' OR environment = $3) AND ($4 = '' OR kind = $4)
		ORDER BY ends DESC, id LIMIT $5`, ns, model, environment, kind, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Window, error) {
		var w Window
		var payload string
		if err := row.Scan(&w.ID, &payload); err != nil {
			return w, err
		}
		if err := json.Unmarshal([]byte(payload), &w.WindowClosed); err != nil {
			return w, err
		}
		w.summarise()
		return w, nil
	})
}

func none(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNone
	}
	return err
}
