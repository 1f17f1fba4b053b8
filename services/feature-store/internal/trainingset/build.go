// Package trainingset joins examples with features as they were known at each
// example's time, and splits them by time. The same inputs give the same bytes.
package trainingset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/domain"
)

// LabelColumn is the name of the label in every split.
const LabelColumn = statistics.LabelColumn

// A Failure is a training set that cannot be built, whoever tries. Reason is one
// of training_set_failed.
type Failure struct {
	Reason string
	Err    error
}

func (f *Failure) Error() string { return f.Reason + ": " + f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }

func fail(reason, format string, args ...any) error {
	return &Failure{reason, fmt.Errorf(format, args...)}
}

// Files of consecutive commits that were checked against one specification.
type Files struct {
	Spec  events.DatasetSpec
	Paths []string
}

// Inputs are everything that goes into a training set.
type Inputs struct {
	Request  events.TrainingRequested
	Data     []events.DatasetCommit // every commit that was used
	Examples []Files                // of the examples' dataset, oldest first
	Views    []*compute.View        // in the order of the model's features
	// Rows returns the rows of a windowed view, one table per commit, oldest first.
	Rows func(ctx context.Context, v *compute.View) ([]*parquet.Table, error)
}

// A Split is part of a training set.
type Split struct {
	Name      string
	Table     *parquet.Table
	From, To  time.Time // [From, To)
	Positives int64
}

// Result is a training set.
type Result struct {
	ID        string
	Columns   []events.FeatureColumn
	Uses      []events.FeatureUse
	Splits    []Split
	Profile   *statistics.Profile // of the features and the label in the train split
	LabelRate *float64            // of the train split, where the label is true or false
	Naive     float64             // mean label of the train split
}

// Build joins. A *Failure is final; any other error may pass.
func Build(ctx context.Context, engine *duckdb.Engine, in *Inputs) (*Result, error) {
	r := &Result{}
	var windowed, onDemand []*compute.View
	for _, v := range in.Views {
		if v.Plan != nil {
			windowed = append(windowed, v)
		} else {
			onDemand = append(onDemand, v)
		}
		r.describe(v, &in.Request.Spec)
	}
	var err error
	if r.ID, err = identify(in); err != nil {
		return nil, err
	}
	ex, err := read(ctx, engine, in, windowed, onDemand)
	if err != nil {
		return nil, err
	}
	order, err := choose(ex, in)
	if err != nil {
		return nil, err
	}
	features := map[*compute.View][][]float64{}
	for i, v := range windowed {
		tables, err := in.Rows(ctx, v)
		if err != nil {
			return nil, err
		}
		groups, err := compute.Group(v, tables...)
		if err != nil {
			return nil, err
		}
		features[v] = join(v, groups, ex.Entities[i], ex.Time, order)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	for i, v := range onDemand {
		for _, values := range ex.Requests[i] {
			features[v] = append(features[v], pick(values, order))
		}
	}
	table, err := r.assemble(in, ex, features, order)
	if err != nil {
		return nil, err
	}
	if err := r.split(in, table, pick(ex.Time, order)); err != nil {
		return nil, err
	}
	return r, nil
}

// ColumnName is the name of a feature in a training set and among a model's inputs.
func ColumnName(view, feature string) string { return view + "__" + feature }

func (r *Result) describe(v *compute.View, model *events.ModelSpec) {
	use := events.FeatureUse{View: v.Name, Version: v.Version, Entity: v.Spec.Entity}
	if v.Plan == nil {
		for _, f := range v.Request(model.Request) {
			use.Request = append(use.Request, f.Name)
		}
	}
	r.Uses = append(r.Uses, use)
	for i, f := range v.Spec.Features {
		r.Columns = append(r.Columns, events.FeatureColumn{
			Name: ColumnName(v.Name, f.Name), View: v.Name, Version: v.Version, Feature: f.Name, Missing: v.Missing(i)})
	}
}

// identify hashes what goes into the set, so that equal inputs have equal names.
func identify(in *Inputs) (string, error) {
	digests := make([]string, len(in.Views))
	for i, v := range in.Views {
		digests[i] = v.Digest
	}
	b, err := json.Marshal(map[string]any{
		"data": in.Data, "examples": in.Request.Spec.Examples, "request": in.Request.Spec.Request,
		"task": in.Request.Spec.Task, "views": digests, "as_of": in.Request.AsOf,
	})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "ts-" + hex.EncodeToString(sum[:16]), nil
}

func read(ctx context.Context, engine *duckdb.Engine, in *Inputs, windowed, onDemand []*compute.View) (*compute.Examples, error) {
	var all *compute.Examples
	for _, files := range in.Examples {
		err := engine.Do(ctx, func(s *duckdb.Session) error {
			if err := s.Files(ctx, compute.Input, files.Paths...); err != nil {
				return err
			}
			if err := s.Seal(ctx); err != nil {
				return err
			}
			part, err := compute.ReadExamples(ctx, s, &in.Request.Spec, &files.Spec, files.Paths, windowed, onDemand)
			if err != nil {
				return err
			}
			all, err = concat(all, part)
			return err
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !isEngines(err) {
			return nil, &Failure{"bad_sql", err}
		}
		if err != nil {
			return nil, err
		}
	}
	if all == nil || all.Rows == 0 {
		return nil, fail("no_data", "dataset %s has no rows", in.Request.Spec.Examples.Dataset)
	}
	return all, nil
}

// choose returns the rows that are examples at as_of, by time and key.
func choose(ex *compute.Examples, in *Inputs) ([]int32, error) {
	asOf := in.Request.AsOf.UnixMicro()
	oldest := int64(math.MinInt64)
	if h := in.Request.Spec.Examples.History; h != nil {
		oldest = in.Request.AsOf.Add(-time.Duration(*h)).UnixMicro()
	}
	live := compute.Latest(ex.Key) // a later commit corrects an earlier one
	order := make([]int32, 0, ex.Rows)
	for i := range ex.Rows {
		known := ex.Time[i]
		if ex.Known != nil {
			known = ex.Known[i]
		}
		y := ex.Label[i]
		if known >= asOf || ex.Time[i] >= asOf || ex.Time[i] < oldest || y != y || live != nil && !live[i] {
			continue
		}
		if binary(in) && y != 0 && y != 1 {
			return nil, fail("bad_sql", "label %q gives %v for key %q; a binary label is true or false", in.Request.Spec.Examples.Label, y, ex.Key[i])
		}
		order = append(order, int32(i))
	}
	if len(order) == 0 {
		return nil, fail("no_data", "of %d rows of dataset %s none has a label that was known before %s",
			ex.Rows, in.Request.Spec.Examples.Dataset, in.Request.AsOf.Format(time.RFC3339))
	}
	slices.SortFunc(order, func(a, b int32) int {
		if ex.Time[a] != ex.Time[b] {
			if ex.Time[a] < ex.Time[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(ex.Key[a], ex.Key[b])
	})
	return order, nil
}

func binary(in *Inputs) bool { return in.Request.Spec.Task == "binary-classification" }

// join looks up the features of each example as of its own time.
func join(v *compute.View, groups map[string]*domain.Rows, entities []string, times []int64, order []int32) [][]float64 {
	n := len(v.Plan.Features)
	out := make([][]float64, n)
	for f := range out {
		out[f] = make([]float64, len(order))
	}
	empty := compute.NoRows(v.Plan)
	work := func(from, to int) {
		values := make([]float64, n)
		for i := from; i < to; i++ {
			rows := groups[entities[order[i]]]
			if rows == nil {
				rows = empty
			}
			v.Plan.At(rows, times[order[i]], values)
			for f, x := range values {
				out[f][i] = x
			}
		}
	}
	var wg sync.WaitGroup
	half := len(order) / 2
	wg.Go(func() { work(0, half) })
	work(half, len(order))
	wg.Wait()
	return out
}

func pick[T any](from []T, rows []int32) []T {
	if from == nil {
		return nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = from[r]
	}
	return out
}
