package state

import (
	"context"
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// Kinds of effects.
const (
	Materialise      = "materialise"
	BuildTrainingSet = "training_set"
)

// MaterialiseArgs are the arguments of a Materialise effect. A BuildTrainingSet
// effect has the training_requested payload.
type MaterialiseArgs struct {
	View    string `json:"view"`
	Version int64  `json:"version"`
	Dataset string `json:"dataset"`
	Commit  string `json:"commit"`
}

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, codeCommitted)
	eventlog.Apply(f, dataCommitted)
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, viewDeclared)
	eventlog.Apply(f, viewMaterialized)
	eventlog.Apply(f, trainingRequested)
	eventlog.Apply(f, trainingSetBuilt)
	eventlog.Apply(f, trainingSetFailed)
}

func changed(tx *eventlog.Tx) {
	tx.Exec(`INSERT INTO catalog (id, revision) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET revision = catalog.revision + 1`)
}

func dataset(tx *eventlog.Tx, namespace string, spec events.DatasetSpec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return eventlog.Invalid(err)
	}
	tx.Exec(`INSERT INTO datasets (namespace, dataset, spec) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, dataset) DO UPDATE SET spec = excluded.spec`, namespace, spec.Dataset, b)
	return nil
}

func codeCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CodeCommitted) error {
	for _, d := range p.Datasets {
		if err := dataset(tx, eventlog.Namespace(e), d); err != nil {
			return err
		}
	}
	changed(tx)
	return nil
}

// dataCommitted has every view of the dataset computed for the rows that came.
func dataCommitted(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.DataCommitted) error {
	ns := eventlog.Namespace(e)
	files, err := json.Marshal(p.Added)
	if err != nil {
		return eventlog.Invalid(err)
	}
	spec, err := json.Marshal(p.Spec)
	if err != nil {
		return eventlog.Invalid(err)
	}
	if err := dataset(tx, ns, p.Spec); err != nil {
		return err
	}
	tx.Exec(`INSERT INTO commits (namespace, dataset, commit, number, event, files, spec) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, dataset, commit) DO NOTHING`, ns, p.Dataset, p.Commit, p.Number, e.ID(), files, spec)
	changed(tx)
	rows, err := tx.Query(ctx, `SELECT view, version FROM views WHERE namespace = $1 AND dataset = $2 AND error = '' ORDER BY view, version`, ns, p.Dataset)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (a MaterialiseArgs, err error) {
		a.Dataset, a.Commit = p.Dataset, p.Commit
		return a, r.Scan(&a.View, &a.Version)
	})
	if err != nil {
		return err
	}
	for i, a := range found {
		tx.Open(eventlog.Effect{Kind: Materialise, Ordinal: i, Args: a})
	}
	return nil
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	b, err := json.Marshal(p.Spec)
	if err != nil {
		return eventlog.Invalid(err)
	}
	tx.Exec(`INSERT INTO models (namespace, model, spec) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, model) DO UPDATE SET spec = excluded.spec`, eventlog.Namespace(e), p.Model, b)
	changed(tx)
	return nil
}

// viewDeclared has a new version computed for every commit there is.
func viewDeclared(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.FeatureViewDeclared) error {
	ns := eventlog.Namespace(e)
	b, err := json.Marshal(p.Spec)
	if err != nil {
		return eventlog.Invalid(err)
	}
	tx.Exec(`INSERT INTO views (namespace, view, version, digest, dataset, spec, error, event, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		ns, p.View, p.Version, p.Digest, p.Spec.Dataset, b, p.Error, e.ID(), e.Time())
	changed(tx)
	if p.Error != "" || p.Spec.Dataset == "" {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT commit FROM commits WHERE namespace = $1 AND dataset = $2 ORDER BY number, commit`, ns, p.Spec.Dataset)
	if err != nil {
		return err
	}
	commits, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for i, c := range commits {
		tx.Open(eventlog.Effect{Kind: Materialise, Ordinal: i, Args: MaterialiseArgs{View: p.View, Version: p.Version, Dataset: p.Spec.Dataset, Commit: c}})
	}
	return nil
}

func viewMaterialized(_ context.Context, tx *eventlog.Tx, e event.Event, p events.FeatureViewMaterialized) error {
	file := ""
	if p.File != nil {
		file = p.File.Digest
	}
	tx.Exec(`INSERT INTO materialisations (namespace, view, version, dataset, commit, file, rows, entities, through, error, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (namespace, view, version, commit) DO UPDATE SET file = excluded.file, rows = excluded.rows,
			entities = excluded.entities, through = excluded.through, error = excluded.error, at = excluded.at`,
		eventlog.Namespace(e), p.View, p.Version, p.Dataset, p.Commit, file, p.Rows, p.Entities, p.Through, p.Error, e.Time())
	changed(tx)
	return nil
}

func trainingRequested(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingRequested) error {
	tx.Exec(`INSERT INTO training_sets (namespace, request, model, as_of, training_set, failed, at) VALUES ($1, $2, $3, $4, '', '', $5)`,
		eventlog.Namespace(e), e.ID(), p.Model, p.AsOf, e.Time())
	tx.Open(eventlog.Effect{Kind: BuildTrainingSet, Args: p})
	return nil
}

func trainingSetBuilt(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingSetBuilt) error {
	tx.Exec(`UPDATE training_sets SET training_set = $3, built = $4, at = $5 WHERE namespace = $1 AND request = $2`,
		eventlog.Namespace(e), p.Request, p.TrainingSet, e.Data(), e.Time())
	return nil
}

func trainingSetFailed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingSetFailed) error {
	tx.Exec(`UPDATE training_sets SET failed = $3, at = $4 WHERE namespace = $1 AND request = $2`,
		eventlog.Namespace(e), p.Request, p.Reason, e.Time())
	return nil
}
