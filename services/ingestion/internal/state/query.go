package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// Repository is a watched repository.
type Repository struct {
	Namespace  string           `json:"namespace"`
	Repository string           `json:"repository"`
	URL        string           `json:"url"`
	Branch     string           `json:"branch"`
	Head       string           `json:"head,omitempty"`
	Pushes     int64            `json:"pushes"`
	Status     string           `json:"status"`
	Reason     string           `json:"reason,omitempty"`
	Problems   []events.Problem `json:"problems"`
	Revision   string           `json:"revision,omitempty"`
	Changed    time.Time        `json:"changed"`
}

const repositoryColumns = `namespace, repository, url, branch, head, pushes, status, reason, problems::text, revision, changed`

func scanRepository(row pgx.CollectableRow) (Repository, error) {
	var r Repository
	var problems string
	err := row.Scan(&r.Namespace, &r.Repository, &r.URL, &r.Branch, &r.Head, &r.Pushes, &r.Status, &r.Reason, &problems, &r.Revision, &r.Changed)
	if err == nil {
		err = json.Unmarshal([]byte(problems), &r.Problems)
	}
	return r, err
}

// Repositories are those of a namespace, or of all where it is empty.
func Repositories(ctx context.Context, db eventlog.Reader, namespace string) ([]Repository, error) {
	return collect(ctx, db, scanRepository, `SELECT `+repositoryColumns+
		` FROM repositories WHERE $1 = '' OR namespace = $1 ORDER BY namespace, repository`, namespace)
}

// RepositoryOf finds a repository.
func RepositoryOf(ctx context.Context, db eventlog.Reader, namespace, name string) (Repository, bool, error) {
	return one(collect(ctx, db, scanRepository, `SELECT `+repositoryColumns+` FROM repositories WHERE namespace = $1 AND repository = $2`, namespace, name))
}

// Dataset is a declared dataset and how much of it there is.
type Dataset struct {
	Dataset    string             `json:"dataset"`
	Repository string             `json:"repository"`
	SpecDigest string             `json:"spec_digest"`
	Spec       events.DatasetSpec `json:"spec"`
	Commits    int64              `json:"commits"`
	Commit     string             `json:"commit,omitempty"`
	Rows       int64              `json:"rows"`
	MaxTime    *time.Time         `json:"max_time,omitempty"`
}

// Datasets are a namespace's.
func Datasets(ctx context.Context, db eventlog.Reader, namespace string) ([]Dataset, error) {
	return collect(ctx, db, scanDataset, datasetQuery+` WHERE d.namespace = $1 ORDER BY d.dataset`, namespace)
}

// DatasetOf finds a dataset.
func DatasetOf(ctx context.Context, db eventlog.Reader, namespace, name string) (Dataset, bool, error) {
	return one(collect(ctx, db, scanDataset, datasetQuery+` WHERE d.namespace = $1 AND d.dataset = $2`, namespace, name))
}

const datasetQuery = `SELECT d.dataset, d.repository, d.spec_digest, d.spec, coalesce(c.number, 0), coalesce(c.digest, ''), coalesce(c.rows, 0), c.max_time
	FROM datasets d LEFT JOIN LATERAL (
		SELECT number, digest, rows, max_time FROM commits WHERE namespace = d.namespace AND dataset = d.dataset ORDER BY number DESC LIMIT 1) c ON true`

func scanDataset(row pgx.CollectableRow) (Dataset, error) {
	var d Dataset
	var spec string
	err := row.Scan(&d.Dataset, &d.Repository, &d.SpecDigest, &spec, &d.Commits, &d.Commit, &d.Rows, &d.MaxTime)
	if err == nil {
		err = json.Unmarshal([]byte(spec), &d.Spec)
	}
	return d, err
}

// SpecOf finds a dataset's spec by its digest, also one that has been replaced.
func SpecOf(ctx context.Context, db eventlog.Reader, namespace, digest string) (events.DatasetSpec, bool, error) {
	return one(collect(ctx, db, func(row pgx.CollectableRow) (events.DatasetSpec, error) {
		return decoded[events.DatasetSpec](row)
	}, `SELECT spec FROM dataset_specs WHERE namespace = $1 AND digest = $2`, namespace, digest))
}

// Commit is a data commit.
type Commit struct {
	Number      int64             `json:"number"`
	Commit      string            `json:"commit"`
	Parent      string            `json:"parent,omitempty"`
	Event       string            `json:"event"`
	Arrival     string            `json:"arrival"`
	Committed   time.Time         `json:"committed"`
	SpecDigest  string            `json:"spec_digest"`
	Manifest    events.Object     `json:"manifest"`
	Profile     events.Object     `json:"profile"`
	Added       []events.DataFile `json:"added"`
	Rows        int64             `json:"rows"`
	AddedRows   int64             `json:"added_rows"`
	Quarantined int64             `json:"quarantined"`
	MinTime     *time.Time        `json:"min_time,omitempty"`
	MaxTime     *time.Time        `json:"max_time,omitempty"`
}

const commitColumns = `number, digest, parent, event, arrival, committed, spec_digest, manifest, profile,
	added, rows, added_rows, quarantined, min_time, max_time`

func scanCommit(row pgx.CollectableRow) (Commit, error) {
	var c Commit
	var manifest, profile, added string
	err := row.Scan(&c.Number, &c.Commit, &c.Parent, &c.Event, &c.Arrival, &c.Committed, &c.SpecDigest, &manifest, &profile, &added,
		&c.Rows, &c.AddedRows, &c.Quarantined, &c.MinTime, &c.MaxTime)
	if err == nil {
		err = errors.Join(json.Unmarshal([]byte(manifest), &c.Manifest), json.Unmarshal([]byte(profile), &c.Profile), json.Unmarshal([]byte(added), &c.Added))
	}
	return c, err
}

// Commits are a dataset's, the newest first.
func Commits(ctx context.Context, db eventlog.Reader, namespace, dataset string, limit int) ([]Commit, error) {
	return collect(ctx, db, scanCommit, `SELECT `+commitColumns+` FROM commits WHERE namespace = $1 AND dataset = $2 ORDER BY number DESC LIMIT $3`,
		namespace, dataset, limit)
}

// Arrival is one announcement of files.
type Arrival struct {
	Arrival string
	Dataset string
	Origin  events.OutsideEvent
	Files   []events.ArrivedFile
	Status  string
	Reason  string
}

func scanArrival(row pgx.CollectableRow) (Arrival, error) {
	var a Arrival
	var files string
	err := row.Scan(&a.Arrival, &a.Dataset, &a.Origin.Source, &a.Origin.ID, &a.Origin.Type, &files, &a.Status, &a.Reason)
	if err == nil {
		err = json.Unmarshal([]byte(files), &a.Files)
	}
	return a, err
}

const arrivalColumns = `arrival, dataset, origin, origin_id, origin_type, files, status, reason`

// ArrivalOf finds an arrival by its event's id.
func ArrivalOf(ctx context.Context, db eventlog.Reader, namespace, id string) (Arrival, bool, error) {
	return one(collect(ctx, db, scanArrival, `SELECT `+arrivalColumns+` FROM arrivals WHERE namespace = $1 AND arrival = $2`, namespace, id))
}

// ArrivalFrom finds an arrival by the outside event that announced it.
func ArrivalFrom(ctx context.Context, db eventlog.Reader, namespace string, o events.OutsideEvent) (Arrival, bool, error) {
	return one(collect(ctx, db, scanArrival, `SELECT `+arrivalColumns+` FROM arrivals
		WHERE namespace = $1 AND origin_id = $2 AND origin = $3 AND origin_type = $4`, namespace, o.ID, o.Source, o.Type))
}

// HasCommitted reports whether a file of an arrival is in its dataset already.
func HasCommitted(ctx context.Context, db eventlog.Reader, namespace, dataset, arrival string) (bool, error) {
	var found bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM arrival_files a JOIN committed_files c
		ON c.namespace = a.namespace AND c.dataset = $2 AND c.digest = a.digest WHERE a.namespace = $1 AND a.arrival = $3)`,
		namespace, dataset, arrival).Scan(&found)
	return found, err
}

// View is a declared view and its owner.
type View struct {
	Repository string
	Spec       events.ViewSpec
}

// Views are a namespace's, by name.
func Views(ctx context.Context, db eventlog.Reader, namespace string) ([]View, error) {
	return collect(ctx, db, func(row pgx.CollectableRow) (View, error) {
		var v View
		var spec string
		err := row.Scan(&v.Repository, &spec)
		if err == nil {
			err = json.Unmarshal([]byte(spec), &v.Spec)
		}
		return v, err
	}, `SELECT repository, spec FROM views WHERE namespace = $1 ORDER BY view`, namespace)
}

// Model is a declared model.
type Model struct {
	Code           events.CodeRevision
	CodeDigest     string
	Spec           events.ModelSpec
	TrainingDigest string
}

// Models are a namespace's, by name.
func Models(ctx context.Context, db eventlog.Reader, namespace string) ([]Model, error) {
	return collect(ctx, db, func(row pgx.CollectableRow) (Model, error) {
		var m Model
		var code, spec string
		err := row.Scan(&code, &m.CodeDigest, &spec, &m.TrainingDigest)
		if err == nil {
			err = errors.Join(json.Unmarshal([]byte(code), &m.Code), json.Unmarshal([]byte(spec), &m.Spec))
		}
		return m, err
	}, `SELECT code, code_digest, spec, training_digest FROM models WHERE namespace = $1 ORDER BY model`, namespace)
}

func decoded[T any](row pgx.CollectableRow) (T, error) {
	var v T
	var s string
	err := row.Scan(&s)
	if err == nil {
		err = json.Unmarshal([]byte(s), &v)
	}
	return v, err
}

func collect[T any](ctx context.Context, db eventlog.Reader, scan func(pgx.CollectableRow) (T, error), sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading ingestion's state: %w", err)
	}
	out, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("reading ingestion's state: %w", err)
	}
	if out == nil {
		out = []T{}
	}
	return out, nil
}

func one[T any](list []T, err error) (T, bool, error) {
	if err != nil || len(list) == 0 {
		var zero T
		return zero, false, err
	}
	return list[0], true, nil
}
