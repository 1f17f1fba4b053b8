package effect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
	"github.com/freshet-io/freshet/services/feature-store/internal/trainingset"
)

// TrainingSet builds the training set that was asked for.
func (w *Dependencies) TrainingSet(timeout time.Duration) eventlog.Handler {
	return eventlog.Handler{
		Kind: state.BuildTrainingSet, Timeout: timeout, Attempts: 3, Concurrency: 1,
		Run: w.trainingSet, Failed: w.trainingSetFailed,
	}
}

func (w *Dependencies) trainingSetFailed(ctx context.Context, run *eventlog.Run, err error) (event.Event, error) {
	var req events.TrainingRequested
	if decodeErr := run.Decode(&req); decodeErr != nil {
		return event.Event{}, decodeErr
	}
	p := events.TrainingSetFailed{Model: req.Model, Request: run.Cause.ID, Reason: "internal"}
	var f *trainingset.Failure
	switch {
	case errors.As(err, &f):
		p.Reason = f.Reason
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrCorrupt):
		p.Reason = "object_missing"
	case errors.Is(err, context.DeadlineExceeded):
		p.Reason = "timeout"
	}
	ref, putErr := w.Objects.PutBytes(ctx, []byte(err.Error()))
	if putErr != nil {
		return event.Event{}, putErr
	}
	detail := object(ref, "text/plain; charset=utf-8")
	p.Detail = &detail
	return events.NewTrainingSetFailed(run.Namespace, req.Model, p)
}

func (w *Dependencies) trainingSet(ctx context.Context, run *eventlog.Run) (event.Event, error) {
	var req events.TrainingRequested
	if err := run.Decode(&req); err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	in, err := w.inputs(ctx, run.Namespace, &req)
	var result *trainingset.Result
	if err == nil {
		result, err = trainingset.Build(ctx, w.Engine, in)
	}
	if err != nil {
		var f *trainingset.Failure
		if errors.As(err, &f) {
			return event.Event{}, eventlog.Permanent(err)
		}
		if usersFault(err) {
			return event.Event{}, eventlog.Permanent(&trainingset.Failure{Reason: "bad_sql", Err: err})
		}
		return event.Event{}, err
	}
	p := events.TrainingSetBuilt{
		TrainingSet: result.ID, Model: req.Model, Request: run.Cause.ID, Data: in.Data, Columns: result.Columns, Uses: result.Uses,
		Label: trainingset.LabelColumn, LabelRate: result.LabelRate, Naive: result.Naive,
	}
	for _, d := range in.Data {
		p.Contributors = append(p.Contributors, d.Event)
	}
	for _, s := range result.Splits {
		file, err := w.putTable(ctx, s.Table)
		if err != nil {
			return event.Event{}, err
		}
		split := events.Split{Name: s.Name, File: file, Rows: int64(s.Table.Rows), From: s.From, To: s.To}
		if result.LabelRate != nil {
			split.Positives = &s.Positives
		}
		p.Splits = append(p.Splits, split)
	}
	b, err := result.Profile.Encode()
	if err != nil {
		return event.Event{}, err
	}
	ref, err := w.Objects.PutBytes(ctx, b)
	if err != nil {
		return event.Event{}, err
	}
	p.Profile = object(ref, "application/json")
	return events.NewTrainingSetBuilt(run.Namespace, req.Model, p)
}

// inputs resolves what a request names: the pinned data commits, the views.
func (w *Dependencies) inputs(ctx context.Context, ns string, req *events.TrainingRequested) (*trainingset.Inputs, error) {
	in := &trainingset.Inputs{Request: *req, Data: append([]events.DatasetCommit(nil), req.Data...)}
	for _, use := range req.Spec.Features {
		declared, err := state.FindView(ctx, w.State, ns, use.View, use.Version)
		if errors.Is(err, state.ErrUnknown) {
			return nil, &trainingset.Failure{Reason: "unknown_view", Err: fmt.Errorf("there is no view %s (version %d; 0 is the newest)", use.View, use.Version)}
		}
		if err != nil {
			return nil, err
		}
		v, err := compute.Compile(declared.Spec, declared.Version, declared.Digest)
		if err != nil {
			return nil, &trainingset.Failure{Reason: "bad_sql", Err: err}
		}
		in.Views = append(in.Views, v)
	}
	commits := map[string][]state.Commit{}
	history := func(dataset string) ([]state.Commit, error) {
		if c, ok := commits[dataset]; ok {
			return c, nil
		}
		c, err := w.pinned(ctx, ns, dataset, in)
		commits[dataset] = c
		return c, err
	}
	examples, err := history(req.Spec.Examples.Dataset)
	if err != nil {
		return nil, err
	}
	for _, v := range in.Views {
		if v.Plan != nil {
			if _, err := history(v.Spec.Dataset); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range examples {
		if err := w.addFiles(ctx, in, &c); err != nil {
			return nil, err
		}
	}
	in.Rows = func(ctx context.Context, v *compute.View) ([]*parquet.Table, error) {
		var tables []*parquet.Table
		for _, c := range commits[v.Spec.Dataset] {
			t, err := w.computed(ctx, ns, v, &c)
			if err != nil {
				return nil, err
			}
			if t != nil {
				tables = append(tables, t)
			}
		}
		return tables, nil
	}
	return in, nil
}

// pinned returns a dataset's commits up to the one that the request names. A
// dataset that it does not name, which only views read, is taken as it is now, and
// added to what the training set depends on.
func (w *Dependencies) pinned(ctx context.Context, ns, dataset string, in *trainingset.Inputs) ([]state.Commit, error) {
	number := int64(-1)
	for _, d := range in.Request.Data {
		if d.Dataset == dataset {
			number = d.Number
		}
	}
	upTo := number
	if number < 0 {
		upTo = math.MaxInt64
	}
	commits, err := state.CommitsTo(ctx, w.State, ns, dataset, upTo)
	if err != nil {
		return nil, err
	}
	if len(commits) == 0 {
		return nil, &trainingset.Failure{Reason: "no_data", Err: fmt.Errorf("dataset %s has no commit", dataset)}
	}
	if newest := commits[len(commits)-1]; number < 0 {
		in.Data = append(in.Data, events.DatasetCommit{Dataset: dataset, Commit: newest.Commit, Number: newest.Number, Event: newest.Event})
	}
	return commits, nil
}

func (w *Dependencies) addFiles(ctx context.Context, in *trainingset.Inputs, c *state.Commit) error {
	n := len(in.Examples)
	if n == 0 || !sameMeaning(in.Examples[n-1].Spec, c.Spec) {
		in.Examples = append(in.Examples, trainingset.Files{Spec: c.Spec})
		n++
	}
	for _, f := range c.Files {
		path, err := w.file(ctx, f.Object.Digest)
		if err != nil {
			return err
		}
		in.Examples[n-1].Paths = append(in.Examples[n-1].Paths, path)
	}
	return nil
}

func sameMeaning(a, b events.DatasetSpec) bool {
	return a.Time == b.Time && a.Zone == b.Zone && reflect.DeepEqual(a.Keys, b.Keys) && reflect.DeepEqual(a.KnownAt, b.KnownAt)
}

// computed returns a view's rows of a commit: materialised before, or made here
// where that is still to come.
func (w *Dependencies) computed(ctx context.Context, ns string, v *compute.View, c *state.Commit) (*parquet.Table, error) {
	digest, err := state.MaterialisedFile(ctx, w.State, ns, v.Name, v.Version, c.Commit)
	if errors.Is(err, state.ErrUnknown) {
		return w.rowsOf(ctx, v, c)
	}
	if err != nil {
		return nil, err
	}
	path, err := w.file(ctx, digest)
	if err != nil {
		return nil, err
	}
	return parquet.Read(path)
}
