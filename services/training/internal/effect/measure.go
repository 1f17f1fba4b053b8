package effect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/training/internal/measure"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// Measure scores what a job left, on rows that neither it nor the champion was
// trained on.
func (x *Effects) Measure() eventlog.Handler {
	return eventlog.Handler{
		Kind: state.MeasureKind, Timeout: 10 * time.Minute, Attempts: 5, Concurrency: max(x.Jobs, 1),
		Run: x.measure, Failed: x.failed,
	}
}

func (x *Effects) measure(ctx context.Context, run *eventlog.Run) (event.Event, error) {
	r, err := x.load(ctx, run)
	if err != nil {
		return event.Event{}, err
	}
	requested, err1 := r.Requested()
	built, err2 := r.Built()
	completed, err3 := r.Completed()
	if err := errors.Join(err1, err2, err3); err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	bad := func(reason string, err error) (event.Event, error) {
		return event.Event{}, eventlog.Permanent(&jobError{reason: reason, log: &completed.Log, err: err})
	}
	test := split(built, "test")
	if test == nil || test.Rows == 0 {
		return bad(trainingSet, measure.ErrNoRows)
	}
	clock, zone, err := state.TimeOf(ctx, x.State, r.Namespace, requested.Spec.Examples.Dataset)
	if err != nil {
		return event.Event{}, err
	}
	read := func(s *events.Split) (*measure.Rows, error) { return x.rows(ctx, s, clock, zone) }
	rows, err := read(test)
	if err != nil {
		return event.Event{}, err
	}
	candidate, err := x.graph(ctx, completed.Artifact.Digest)
	if err != nil {
		return event.Event{}, err
	}
	champion, err := x.champion(ctx, r, requested.Spec)
	if err != nil {
		return event.Event{}, err
	}
	at := rows.Since(0)
	if champion != nil {
		at = rows.Since(champion.TrainedThrough.UnixMicro())
	}
	columns := columnNames(built.Columns)
	task := requested.Spec.Task
	p := events.CandidateMeasured{
		Run: r.ID, Model: r.Model, Request: r.Request, Trigger: r.Trigger, SpecDigest: requested.SpecDigest,
		Artifact: completed.Artifact, Columns: built.Columns, Uses: built.Uses,
		Lineage: events.Lineage{
			Data: built.Data, Code: requested.Code, TrainingSet: built.TrainingSet, Run: r.ID, Params: requested.Spec.Training.Params,
			Seed: requested.Seed, Environment: completed.Environment, TrainedThrough: trainedThrough(built),
		},
		Gates: requested.Spec.Gates, Environments: requested.Spec.Environments, Monitor: requested.Spec.Monitor,
		RequestFields: requested.Spec.Request, Prediction: requested.Spec.Prediction, Task: task,
		Label: requested.Spec.Examples.Label, ExamplesDataset: requested.Spec.Examples.Dataset, Mode: requested.Spec.Mode,
		Contributors: requested.Contributors,
	}
	if p.Lineage.Params == nil {
		p.Lineage.Params = map[string]any{}
	}
	if champion != nil && len(at) == 0 {
		// The champion has seen all of these days. The candidate is measured on
		// them; the comparison is left empty, so that a gate which makes it fails.
		at = rows.Since(0)
		p.Champion = &events.ChampionMeasure{Version: champion.Version, Metrics: map[string]float64{}}
	} else if champion != nil {
		metrics, err := x.championMetrics(ctx, champion, built.Columns, rows, task, at)
		if err != nil {
			return event.Event{}, err
		}
		p.Champion = &events.ChampionMeasure{Version: champion.Version, Metrics: metrics}
	}
	scores, err := rows.Score(candidate, columns, at)
	if err != nil {
		return bad(badModel, err)
	}
	p.Rows, p.From, p.To = int64(len(at)), test.From, test.To
	if from, to, ok := rows.Span(at); ok {
		p.From, p.To = time.UnixMicro(from).UTC(), time.UnixMicro(to).UTC()
	}
	p.Candidate.Metrics = rows.Metrics(task, scores, at)
	p.Naive.Metrics = rows.Metrics(task, measure.Constant(built.Naive, len(at)), at)
	for _, column := range requested.Spec.Slices {
		for _, s := range rows.Slices(column, at) {
			picked, values := make([]int, len(s.At)), make([]float64, len(s.At))
			for i, k := range s.At {
				picked[i], values[i] = at[k], scores[k]
			}
			p.Slices = append(p.Slices, events.SliceMeasure{Column: column, Value: s.Value, Rows: int64(s.Rows), Metrics: rows.Metrics(task, values, picked)})
		}
	}
	held := []*measure.Rows{rows}
	if s := split(built, "validation"); s != nil && s.Rows > 0 {
		validation, err := read(s)
		if err != nil {
			return event.Event{}, err
		}
		held = append(held, validation)
	}
	if p.Profile, err = x.profile(ctx, built, candidate, columns, held); err != nil {
		return event.Event{}, err
	}
	return events.NewCandidateMeasured(run.Namespace, r.Model, p)
}

// trainedThrough is the first instant that nothing was trained on: where the test
// split begins.
func trainedThrough(built events.TrainingSetBuilt) time.Time {
	if test := split(built, "test"); test != nil {
		return test.From
	}
	var last time.Time
	for _, s := range built.Splits {
		if s.To.After(last) {
			last = s.To
		}
	}
	return last
}

func (x *Effects) rows(ctx context.Context, s *events.Split, clock string, zone *time.Location) (*measure.Rows, error) {
	path, err := x.Objects.File(ctx, s.File.Digest)
	if err != nil {
		return nil, err
	}
	return measure.Read(path, labelColumn, clock, zone)
}

func (x *Effects) graph(ctx context.Context, digest string) (*onnx.Graph, error) {
	b, err := x.Objects.Get(ctx, digest, x.ModelBytes)
	if err != nil {
		return nil, err
	}
	g, err := onnx.Load(b)
	if err != nil {
		return nil, eventlog.Permanent(&jobError{reason: badModel, err: err})
	}
	return g, nil
}

// championMetrics measures the champion on the candidate's rows. Its features are
// found there by view and name, in whichever version the candidate uses them. A
// champion that needs a feature the candidate dropped cannot be measured: it has
// no metrics then, and a gate that compares with it does not pass; a person may
// still promote the candidate.
func (x *Effects) championMetrics(ctx context.Context, champion *state.Champion, have []events.FeatureColumn, rows *measure.Rows, task string,
	at []int) (map[string]float64, error) {
	columns := make([]string, len(champion.Columns))
	for i, want := range champion.Columns {
		for _, c := range have {
			if c.View == want.View && c.Feature == want.Feature {
				columns[i] = c.Name
			}
		}
		if columns[i] == "" {
			x.Logger.Info("the champion cannot be measured on the candidate's rows", "version", champion.Version, "lacks", want.Name)
			return map[string]float64{}, nil
		}
	}
	g, err := x.graph(ctx, champion.Artifact)
	if err != nil {
		return nil, err
	}
	scores, err := rows.Score(g, columns, at)
	if err != nil {
		return nil, fmt.Errorf("champion %d: %w", champion.Version, err)
	}
	return rows.Metrics(task, scores, at), nil
}

// profile is the training set's reference profile and the distribution of the
// candidate's predictions over the rows it was not fitted to.
func (x *Effects) profile(ctx context.Context, built events.TrainingSetBuilt, g *onnx.Graph, columns []string, held []*measure.Rows) (events.Object, error) {
	b, err := x.Objects.Get(ctx, built.Profile.Digest, 64<<20)
	if err != nil {
		return events.Object{}, err
	}
	reference, err := statistics.ParseProfile(b)
	if err != nil {
		return events.Object{}, eventlog.Permanent(&jobError{reason: trainingSet, err: err})
	}
	var predictions []float64
	for _, rows := range held {
		scores, err := rows.Score(g, columns, rows.Since(0))
		if err != nil {
			return events.Object{}, eventlog.Permanent(&jobError{reason: badModel, err: err})
		}
		predictions = append(predictions, scores...)
	}
	column := statistics.Numbers(statistics.PredictionColumn, predictions, nil, statistics.DefaultBins)
	if b, err = reference.With(column).Encode(); err != nil {
		return events.Object{}, err
	}
	ref, err := x.Objects.PutBytes(ctx, b)
	return object(ref, "application/json"), err
}
