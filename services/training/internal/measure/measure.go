// Package measure compares predictors on the same rows: a candidate, the champion,
// and the naive predictor that always says what the training rows said on average.
package measure

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
)

// Tasks.
const (
	Classification = "binary-classification"
	Regression     = "regression"
)

// Rows are examples with what is known of them.
type Rows struct {
	table  *parquet.Table
	labels []float64
	times  []int64 // microseconds; nil where the file has none
}

// ErrNoRows says that there is nothing to measure on.
var ErrNoRows = errors.New("there are no rows to measure on")

// Read reads a split's file. Times are wall times in a zone; nil is UTC.
func Read(path, label, clock string, zone *time.Location) (*Rows, error) {
	t, err := parquet.Read(path)
	if err != nil {
		return nil, err
	}
	r := &Rows{table: t, labels: make([]float64, t.Rows)}
	c := t.Column(label)
	if c == nil || c.Kind == parquet.String {
		return nil, fmt.Errorf("%s: no column %q of labels", path, label)
	}
	for i := range r.labels {
		if r.labels[i] = c.Number(i); math.IsNaN(r.labels[i]) {
			return nil, fmt.Errorf("%s: row %d has no label", path, i)
		}
	}
	if c := t.Column(clock); c != nil && c.Kind == parquet.Time {
		r.times = utc(c.Times, zone)
	}
	return r, nil
}

func utc(wall []int64, zone *time.Location) []int64 {
	if zone == nil {
		return wall
	}
	out := make([]int64, len(wall))
	for i, t := range wall {
		w := time.UnixMicro(t).UTC()
		out[i] = time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), zone).UnixMicro()
	}
	return out
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.labels) }

// Since returns the indices of the rows at or after a time, in microseconds.
func (r *Rows) Since(micros int64) []int {
	at := make([]int, 0, r.Len())
	for i := range r.labels {
		if r.times == nil || r.times[i] >= micros {
			at = append(at, i)
		}
	}
	return at
}

// Span returns the first and the last time of rows; ok is false where times are unknown.
func (r *Rows) Span(at []int) (from, to int64, ok bool) {
	if r.times == nil || len(at) == 0 {
		return 0, 0, false
	}
	from, to = math.MaxInt64, math.MinInt64
	for _, i := range at {
		from, to = min(from, r.times[i]), max(to, r.times[i])
	}
	return from, to, true
}

// ErrColumn is wrapped when a predictor needs a column that the rows lack.
var ErrColumn = errors.New("the rows lack a column that the model takes")

// Score lets a model predict rows; columns are the rows' names of its features, in order.
func (r *Rows) Score(g *onnx.Graph, columns []string, at []int) ([]float64, error) {
	features := make([]float32, len(at)*len(columns))
	for j, name := range columns {
		c := r.table.Column(name)
		if c == nil {
			return nil, fmt.Errorf("%w: %s", ErrColumn, name)
		}
		for k, i := range at {
			features[k*len(columns)+j] = float32(c.Number(i))
		}
	}
	scores, err := g.Score(features, len(at), len(columns))
	if err != nil {
		return nil, err
	}
	for k, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("the model predicts %v for row %d", s, at[k])
		}
	}
	return scores, nil
}

// Constant is the naive predictor.
func Constant(value float64, n int) []float64 {
	return slices.Repeat([]float64{value}, n)
}

// Metrics are all that are defined for a task over rows; a metric that is
// undefined on these rows (AUC of one class) is left out.
func (r *Rows) Metrics(task string, scores []float64, at []int) map[string]float64 {
	labels := make([]float64, len(at))
	for k, i := range at {
		labels[k] = r.labels[i]
	}
	out := map[string]float64{}
	add := func(name string, v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out[name] = v
		}
	}
	if task == Regression {
		add("rmse", statistics.RMSE(labels, scores))
		add("mae", statistics.MAE(labels, scores))
		add("r2", statistics.R2(labels, scores))
		return out
	}
	truth := make([]bool, len(labels))
	for i, y := range labels {
		truth[i] = y > 0.5
	}
	add("auc", statistics.AUC(truth, scores))
	add("log_loss", statistics.LogLoss(truth, scores))
	add("brier", statistics.Brier(truth, scores))
	add("accuracy", statistics.Accuracy(truth, scores))
	return out
}

// A Slice is the rows that share a column's value.
type Slice struct {
	Value string
	Rows  int
	At    []int // positions in the rows that were given
}

// Bounds of slices: below the least rows a metric says nothing.
const (
	leastRows  = 30
	mostSlices = 20
)

// Slices groups rows by a column, the largest groups first. A column that the
// rows lack has none.
func (r *Rows) Slices(column string, at []int) []Slice {
	c := r.table.Column(column)
	if c == nil {
		return nil
	}
	groups := map[string][]int{}
	for k, i := range at {
		value := ""
		if v := c.Value(i); v != nil {
			value = fmt.Sprint(v)
		}
		groups[value] = append(groups[value], k)
	}
	var out []Slice
	for value, positions := range groups {
		if len(positions) >= leastRows {
			out = append(out, Slice{Value: value, Rows: len(positions), At: positions})
		}
	}
	slices.SortFunc(out, func(a, b Slice) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Value, b.Value))
	})
	return out[:min(mostSlices, len(out))]
}
