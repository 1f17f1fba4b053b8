package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/jackc/pgx/v5"
)

// ErrNotFound says that there is no such run.
var ErrNotFound = errors.New("not found")

// A Model is a declared model with what policy needs to know of it.
type Model struct {
	Name         string
	Declared     string // the newest model_declared event
	Spec         events.ModelSpec
	SpecDigest   string
	Code         events.CodeRevision
	Waiting      string
	WaitingEvent string
	Active       string
	Policy       domain.Model
}

// ModelOf reads a model as it stands at a time; one that was never declared has
// only its name.
func ModelOf(ctx context.Context, r eventlog.Reader, namespace, model string, now time.Time) (Model, error) {
	m := Model{Name: model}
	var spec, code string
	var last *time.Time
	err := r.QueryRow(ctx, `SELECT m.declared, m.spec, m.spec_digest, m.code, m.waiting, m.waiting_event, m.active, m.withdrawn,
			m.commits_since, m.without_pass, m.since_news, m.last,
			EXISTS (SELECT FROM datasets d WHERE d.namespace = m.namespace AND d.dataset = m.dataset),
			(SELECT count(*) FROM runs r WHERE r.namespace = m.namespace AND r.model = m.model AND r.requested_at > $3)
		FROM models m WHERE m.namespace = $1 AND m.model = $2`, namespace, model, now.Add(-24*time.Hour)).
		Scan(&m.Declared, &spec, &m.SpecDigest, &code, &m.Waiting, &m.WaitingEvent, &m.Active, &m.Policy.Withdrawn,
			&m.Policy.CommitsSince, &m.Policy.WithoutPass, &m.Policy.SinceNews, &last, &m.Policy.HasData, &m.Policy.Today)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := errors.Join(json.Unmarshal([]byte(spec), &m.Spec), json.Unmarshal([]byte(code), &m.Code)); err != nil {
		return m, fmt.Errorf("model %s: %w", model, err)
	}
	retrain := m.Spec.Retrain
	m.Policy.Declared, m.Policy.Mode, m.Policy.Running = true, m.Spec.Mode, m.Active != ""
	m.Policy.When, m.Policy.DataCommits = retrain.When, retrain.DataCommits
	m.Policy.Cooldown, m.Policy.PerDay, m.Policy.GiveUpAfter = time.Duration(retrain.Cooldown), retrain.PerDay, retrain.GiveUpAfter
	if last != nil {
		m.Policy.Last = last.UTC()
	}
	return m, nil
}

// ModelsOn names the models whose examples come from a dataset.
func ModelsOn(ctx context.Context, r eventlog.Reader, namespace, dataset string) ([]string, error) {
	rows, err := r.Query(ctx, `SELECT model FROM models WHERE namespace = $1 AND dataset = $2 AND NOT withdrawn ORDER BY model`, namespace, dataset)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// DataFor returns the newest commit of each dataset that a model's training set is
// made from: its examples' first, then its views', by name.
func DataFor(ctx context.Context, r eventlog.Reader, namespace string, spec events.ModelSpec) ([]events.DatasetCommit, error) {
	views := make([]string, len(spec.Features))
	for i, v := range spec.Features {
		views[i] = v.View
	}
	rows, err := r.Query(ctx, `SELECT dataset, commit, number, event FROM datasets WHERE namespace = $1 AND (dataset = $2
			OR dataset IN (SELECT dataset FROM views WHERE namespace = $1 AND view = ANY($3)))
		ORDER BY dataset <> $2, dataset`, namespace, spec.Examples.Dataset, views)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d events.DatasetCommit, err error) {
		err = row.Scan(&d.Dataset, &d.Commit, &d.Number, &d.Event)
		return d, err
	})
}

// TimeOf returns the column of a dataset's times and their zone, nil for UTC and
// for times that are local to each row.
func TimeOf(ctx context.Context, r eventlog.Reader, namespace, dataset string) (column string, zone *time.Location, err error) {
	var name string
	err = r.QueryRow(ctx, `SELECT time, zone FROM datasets WHERE namespace = $1 AND dataset = $2`, namespace, dataset).Scan(&column, &name)
	if err != nil || name == "" || name == "local" || name == "UTC" {
		return column, nil, err
	}
	zone, err = time.LoadLocation(name)
	return column, zone, err
}

// A Run is one training, from its request to what followed from it.
type Run struct {
	Namespace   string
	Request     string
	ID          string
	Model       string
	Trigger     string
	Status      string
	Reason      string
	Log         string
	Attempts    int64
	RequestedAt time.Time
	StartedAt   *time.Time
	EndedAt     *time.Time
	Measured    string

	requested, built, completed string
}

// Final reports whether nothing more will happen.
func (r Run) Final() bool {
	return r.Status == "measured" || r.Status == "failed" || r.Status == "cancelled"
}

// Requested is the decision that asked for the training.
func (r Run) Requested() (p events.TrainingRequested, err error) {
	return payload[events.TrainingRequested](r.requested)
}

// Built is the training set; only from when it is built.
func (r Run) Built() (p events.TrainingSetBuilt, err error) {
	return payload[events.TrainingSetBuilt](r.built)
}

// Completed is what the job left; only from when it is done.
func (r Run) Completed() (p events.RunCompleted, err error) {
	return payload[events.RunCompleted](r.completed)
}

// Has reports whether the training set, and what the job left, are there.
func (r Run) Has() (built, completed bool) { return r.built != "", r.completed != "" }

func payload[P any](text string) (p P, err error) {
	if text == "" {
		return p, ErrNotFound
	}
	err = json.Unmarshal([]byte(text), &p)
	return p, err
}

const runColumns = `namespace, request, run, model, trigger, status, reason, log, attempts, requested_at, started_at, ended_at,
	measured, requested, built, completed`

func scanRun(row pgx.CollectableRow) (r Run, err error) {
	err = row.Scan(&r.Namespace, &r.Request, &r.ID, &r.Model, &r.Trigger, &r.Status, &r.Reason, &r.Log, &r.Attempts, &r.RequestedAt,
		&r.StartedAt, &r.EndedAt, &r.Measured, &r.requested, &r.built, &r.completed)
	return r, err
}

// RunOf finds a run by its own id or by its request's.
func RunOf(ctx context.Context, r eventlog.Reader, namespace, id string) (Run, error) {
	rows, err := r.Query(ctx, `SELECT `+runColumns+` FROM runs WHERE namespace = $1 AND (run = $2 OR request = $2) AND $2 <> ''
		ORDER BY request LIMIT 1`, namespace, id)
	if err != nil {
		return Run{}, err
	}
	run, err := pgx.CollectExactlyOneRow(rows, scanRun)
	if errors.Is(err, pgx.ErrNoRows) {
		return Run{}, ErrNotFound
	}
	return run, err
}

// Runs lists a namespace's runs, newest first; of one model unless that is empty.
func Runs(ctx context.Context, r eventlog.Reader, namespace, model string, limit int) ([]Run, error) {
	rows, err := r.Query(ctx, `SELECT `+runColumns+` FROM runs WHERE namespace = $1 AND ($2 = '' OR model = $2)
		ORDER BY requested_at DESC, request LIMIT $3`, namespace, model, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRun)
}

// A Champion is the version that an environment serves.
type Champion struct {
	Version        int64
	Artifact       string
	Columns        []events.FeatureColumn
	TrainedThrough time.Time
}

// ChampionOf returns an environment's champion, nil if there is none.
func ChampionOf(ctx context.Context, r eventlog.Reader, namespace, model, environment string) (*Champion, error) {
	var c Champion
	var columns string
	err := r.QueryRow(ctx, `SELECT v.version, v.artifact, v.columns, v.trained_through FROM champions c
		JOIN versions v ON v.namespace = c.namespace AND v.model = c.model AND v.version = c.version
		WHERE c.namespace = $1 AND c.model = $2 AND c.environment = $3`, namespace, model, environment).
		Scan(&c.Version, &c.Artifact, &columns, &c.TrainedThrough)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.TrainedThrough = c.TrainedThrough.UTC()
	return &c, json.Unmarshal([]byte(columns), &c.Columns)
}
