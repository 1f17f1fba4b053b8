package state

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// ErrUnknown: the fold does not have it.
var ErrUnknown = errors.New("unknown")

// A View is a declared version.
type View struct {
	Namespace string
	Name      string
	Version   int64
	Digest    string
	Spec      events.ViewSpec
	Error     string
	At        time.Time
}

const viewColumns = `namespace, view, version, digest, spec, error, at`

func scanView(r pgx.CollectableRow) (v View, err error) {
	var spec []byte
	if err := r.Scan(&v.Namespace, &v.Name, &v.Version, &v.Digest, &spec, &v.Error, &v.At); err != nil {
		return v, err
	}
	return v, json.Unmarshal(spec, &v.Spec)
}

// FindView returns a version of a view; the newest for version 0.
func FindView(ctx context.Context, r eventlog.Reader, namespace, view string, version int64) (View, error) {
	rows, err := r.Query(ctx, `SELECT `+viewColumns+` FROM views WHERE namespace = $1 AND view = $2 AND (version = $3 OR $3 = 0)
		ORDER BY version DESC LIMIT 1`, namespace, view, version)
	if err != nil {
		return View{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanView)
	return v, unknown(err)
}

// Views returns every version of every view; of one namespace if it is not empty.
func Views(ctx context.Context, r eventlog.Reader, namespace string) ([]View, error) {
	rows, err := r.Query(ctx, `SELECT `+viewColumns+` FROM views WHERE namespace = $1 OR $1 = '' ORDER BY namespace, view, version`, namespace)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanView)
}

// A Commit is a version of a dataset with the files that it added.
type Commit struct {
	Commit string
	Number int64
	Event  string
	Files  []events.DataFile
	Spec   events.DatasetSpec
}

const commitColumns = `commit, number, event, files, spec`

func scanCommit(r pgx.CollectableRow) (c Commit, err error) {
	var files, spec []byte
	if err := r.Scan(&c.Commit, &c.Number, &c.Event, &files, &spec); err != nil {
		return c, err
	}
	return c, errors.Join(json.Unmarshal(files, &c.Files), json.Unmarshal(spec, &c.Spec))
}

// FindCommit returns one commit of a dataset.
func FindCommit(ctx context.Context, r eventlog.Reader, namespace, dataset, commit string) (Commit, error) {
	rows, err := r.Query(ctx, `SELECT `+commitColumns+` FROM commits WHERE namespace = $1 AND dataset = $2 AND commit = $3`, namespace, dataset, commit)
	if err != nil {
		return Commit{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCommit)
	return c, unknown(err)
}

// CommitsTo returns a dataset's commits up to and with a number, in order.
func CommitsTo(ctx context.Context, r eventlog.Reader, namespace, dataset string, number int64) ([]Commit, error) {
	rows, err := r.Query(ctx, `SELECT `+commitColumns+` FROM commits WHERE namespace = $1 AND dataset = $2 AND number <= $3 ORDER BY number, commit`,
		namespace, dataset, number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanCommit)
}

// MaterialisedFile returns the digest of the rows of a view version for a commit,
// or ErrUnknown.
func MaterialisedFile(ctx context.Context, r eventlog.Reader, namespace, view string, version int64, commit string) (string, error) {
	var digest string
	err := r.QueryRow(ctx, `SELECT file FROM materialisations WHERE namespace = $1 AND view = $2 AND version = $3 AND commit = $4 AND error = '' AND file <> ''`,
		namespace, view, version, commit).Scan(&digest)
	return digest, unknown(err)
}

// A Materialisation is the computed rows of one view version for one commit.
type Materialisation struct {
	Namespace, View string
	Version         int64
	Commit, File    string
	Rows, Entities  int64
	Number          int64 // of the commit
	Through         *time.Time
	Error           string
	At              time.Time
}

// Materialisations returns those of a namespace, in the order of their commits.
func Materialisations(ctx context.Context, r eventlog.Reader, namespace string) ([]Materialisation, error) {
	return materialisations(ctx, r, `m.namespace = $1`, namespace)
}

func materialisations(ctx context.Context, r eventlog.Reader, where string, args ...any) ([]Materialisation, error) {
	rows, err := r.Query(ctx, `SELECT m.namespace, m.view, m.version, m.commit, m.file, m.rows, m.entities, c.number, m.through, m.error, m.at
		FROM materialisations m JOIN commits c ON c.namespace = m.namespace AND c.dataset = m.dataset AND c.commit = m.commit
		WHERE `+where+` ORDER BY m.namespace, m.view, m.version, c.number, m.commit`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (m Materialisation, err error) {
		return m, r.Scan(&m.Namespace, &m.View, &m.Version, &m.Commit, &m.File, &m.Rows, &m.Entities, &m.Number, &m.Through, &m.Error, &m.At)
	})
}

// A Named specification of a namespace.
type Named[S any] struct {
	Namespace string
	Spec      S
}

func named[S any](ctx context.Context, r eventlog.Reader, sql string) ([]Named[S], error) {
	rows, err := r.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (n Named[S], err error) {
		var spec []byte
		if err := r.Scan(&n.Namespace, &spec); err != nil {
			return n, err
		}
		return n, json.Unmarshal(spec, &n.Spec)
	})
}

// Datasets returns the newest specification of every dataset.
func Datasets(ctx context.Context, r eventlog.Reader) ([]Named[events.DatasetSpec], error) {
	return named[events.DatasetSpec](ctx, r, `SELECT namespace, spec FROM datasets ORDER BY namespace, dataset`)
}

// Models returns the newest specification of every model.
func Models(ctx context.Context, r eventlog.Reader) ([]Named[events.ModelSpec], error) {
	return named[events.ModelSpec](ctx, r, `SELECT namespace, spec FROM models ORDER BY namespace, model`)
}

// Revision changes whenever what serving follows has changed.
func Revision(ctx context.Context, r eventlog.Reader) (int64, error) {
	var n int64
	err := r.QueryRow(ctx, `SELECT coalesce(max(revision), 0) FROM catalog`).Scan(&n)
	return n, err
}

// Materialised returns the rows, of all namespaces, that reach past an instant, in
// the order of their commits.
func Materialised(ctx context.Context, r eventlog.Reader, past time.Time) ([]Materialisation, error) {
	return materialisations(ctx, r, `m.file <> '' AND m.through > $1`, past)
}

// A TrainingSet is one that was asked for.
type TrainingSet struct {
	Request, Model, TrainingSet, Failed string
	AsOf, At                            time.Time
	Built                               json.RawMessage
}

// TrainingSets returns the newest of a namespace, of one model if it is named.
func TrainingSets(ctx context.Context, r eventlog.Reader, namespace, model string, limit int) ([]TrainingSet, error) {
	rows, err := r.Query(ctx, `SELECT request, model, training_set, failed, as_of, at, built FROM training_sets
		WHERE namespace = $1 AND (model = $2 OR $2 = '') ORDER BY as_of DESC, request LIMIT $3`, namespace, model, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (t TrainingSet, err error) {
		return t, r.Scan(&t.Request, &t.Model, &t.TrainingSet, &t.Failed, &t.AsOf, &t.At, &t.Built)
	})
}

func unknown(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknown
	}
	return err
}
