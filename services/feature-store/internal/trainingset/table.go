package trainingset

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
)

// isEngines reports whether an error is the engine's and not the user's: it may
// pass when it is tried again.
func isEngines(err error) bool {
	var e *duckdb.Error
	return errors.As(err, &e) && !e.UsersFault()
}

// concat appends the examples of later files.
func concat(a, b *compute.Examples) (*compute.Examples, error) {
	if a == nil {
		return b, nil
	}
	if a.Known != nil || b.Known != nil {
		if a.Known == nil {
			a.Known = a.Time[:a.Rows:a.Rows]
		}
		if b.Known == nil {
			b.Known = b.Time
		}
		a.Known = append(a.Known, b.Known...)
	}
	a.Key, a.Time, a.Label = append(a.Key, b.Key...), append(a.Time, b.Time...), append(a.Label, b.Label...)
	left, right := &parquet.Table{Columns: a.Kept, Rows: a.Rows}, &parquet.Table{Columns: b.Kept, Rows: b.Rows}
	if err := left.Append(right); err != nil {
		return nil, fmt.Errorf("the dataset's files differ: %w", err)
	}
	a.Kept = left.Columns
	for i := range a.Entities {
		a.Entities[i] = append(a.Entities[i], b.Entities[i]...)
	}
	for i := range a.Requests {
		for f := range a.Requests[i] {
			a.Requests[i][f] = append(a.Requests[i][f], b.Requests[i][f]...)
		}
	}
	a.Rows += b.Rows
	return a, nil
}

// assemble puts keys, time, request columns, features and label beside each other.
func (r *Result) assemble(in *Inputs, ex *compute.Examples, features map[*compute.View][][]float64, order []int32) (*parquet.Table, error) {
	kept := (&parquet.Table{Columns: ex.Kept, Rows: ex.Rows}).Take(order)
	columns := kept.Columns
	for _, v := range in.Views {
		for f, values := range features[v] {
			columns = append(columns, featureColumn(ColumnName(v.Name, v.Spec.Features[f].Name), values, v.Defaults[f]))
		}
	}
	columns = append(columns, parquet.Column{Name: LabelColumn, Kind: parquet.Float, Floats: pick(ex.Label, order)})
	t, err := parquet.NewTable(columns...)
	if err != nil {
		return nil, &Failure{"bad_sql", err}
	}
	return t, nil
}

// featureColumn puts the default in where there is no value; what has no default
// either is null.
func featureColumn(name string, values []float64, missing float64) parquet.Column {
	c := parquet.Column{Name: name, Kind: parquet.Float, Floats: values}
	for i, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			continue
		}
		if !math.IsNaN(missing) {
			values[i] = missing
			continue
		}
		if c.Valid == nil {
			c.Valid = make([]bool, len(values))
			for j := range c.Valid {
				c.Valid[j] = true
			}
		}
		values[i], c.Valid[i] = 0, false
	}
	return c
}

// split cuts by time: test is the end, validation what comes before it.
func (r *Result) split(in *Inputs, t *parquet.Table, times []int64) error {
	spec := in.Request.Spec.Examples
	end := times[len(times)-1] + 1
	testFrom := end - time.Duration(spec.Test).Microseconds()
	validationFrom := testFrom - time.Duration(spec.Validation).Microseconds()
	at := func(instant int64) int {
		return sort.Search(len(times), func(i int) bool { return times[i] >= instant })
	}
	for _, s := range []struct {
		name     string
		from, to int64
	}{{"train", times[0], validationFrom}, {"validation", validationFrom, testFrom}, {"test", testFrom, end}} {
		lo, hi := at(s.from), at(s.to)
		wanted := s.name == "train" || s.name == "validation" && spec.Validation > 0 || s.name == "test" && spec.Test > 0
		if lo >= hi && wanted {
			return fail("too_little_data", "the %s split is empty: %d examples from %s to %s, of which the last %s are for test and %s before them for validation",
				s.name, len(times), stamp(times[0]), stamp(end), time.Duration(spec.Test), time.Duration(spec.Validation))
		}
		if lo >= hi {
			continue
		}
		rows := make([]int32, 0, hi-lo)
		for i := lo; i < hi; i++ {
			rows = append(rows, int32(i))
		}
		part := Split{Name: s.name, Table: t.Take(rows), From: micro(s.from), To: micro(s.to)}
		for _, y := range part.Table.Column(LabelColumn).Floats {
			if y == 1 {
				part.Positives++
			}
		}
		r.Splits = append(r.Splits, part)
	}
	return r.profile(in)
}

func micro(t int64) time.Time { return time.UnixMicro(t).UTC() }

func stamp(t int64) string { return micro(t).Format(time.RFC3339) }

// profile describes the train split.
func (r *Result) profile(in *Inputs) error {
	train := r.Splits[0]
	labels := train.Table.Column(LabelColumn).Floats
	sum := 0.0
	for _, y := range labels {
		sum += y
	}
	r.Naive = sum / float64(len(labels))
	r.Profile = &statistics.Profile{Rows: int64(train.Table.Rows)}
	for _, c := range r.Columns {
		col := train.Table.Column(c.Name)
		r.Profile.Columns = append(r.Profile.Columns, statistics.Numbers(c.Name, col.Floats, col.Valid, statistics.DefaultBins))
	}
	if !binary(in) {
		r.Profile.Columns = append(r.Profile.Columns, statistics.Numbers(LabelColumn, labels, nil, statistics.DefaultBins))
		return nil
	}
	if train.Positives == 0 || train.Positives == int64(len(labels)) {
		return fail("too_little_data", "all %d examples of the train split have the same label", len(labels))
	}
	truths := make([]bool, len(labels))
	for i, y := range labels {
		truths[i] = y == 1
	}
	rate := r.Naive
	r.LabelRate = &rate
	r.Profile.Columns = append(r.Profile.Columns, statistics.Bools(LabelColumn, truths))
	return nil
}
