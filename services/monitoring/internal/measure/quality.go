package measure

import (
	"math"
	"slices"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
)

// Binary is the task whose labels are true or false.
const Binary = "binary-classification"

// Labels are what came true, by key.
type Labels map[string]float64

// Quality joins labels with predictions: of several predictions for a key the
// last one counts.
type Quality struct {
	labels Labels
	last   map[string]prediction
}

type prediction struct {
	value   float64
	version int64
}

// NewQuality returns a join that has seen no prediction.
func NewQuality(labels Labels) *Quality {
	return &Quality{labels: labels, last: make(map[string]prediction, len(labels))}
}

// Add takes one record in; records come in the order of their times.
func (q *Quality) Add(r *inbox.Record) {
	if r.Failed != "" || len(r.Keys) != len(r.Predictions) {
		return
	}
	for i, key := range r.Keys {
		if _, wanted := q.labels[key]; wanted && !math.IsNaN(r.Predictions[i]) {
			q.last[key] = prediction{r.Predictions[i], r.VersionOf(i)}
		}
	}
}

// A Verdict is what labels say of predictions.
type Verdict struct {
	Rows   int64
	Live   map[string]float64
	Naive  map[string]float64
	Slices []events.WindowSlice
	Drift  []events.ColumnDrift
}

// Verdict measures what was joined. Reference is the champion's profile or nil.
func (q *Quality) Verdict(task, predictionName string, champion int64, candidate *int64, reference *statistics.Profile) Verdict {
	keys := make([]string, 0, len(q.last))
	for k := range q.last {
		keys = append(keys, k)
	}
	slices.Sort(keys) // sums must not depend on a map's order
	all := &joined{}
	byVersion := map[int64]*joined{}
	for _, k := range keys {
		p, y := q.last[k], q.labels[k]
		all.add(y, p.value)
		if byVersion[p.version] == nil {
			byVersion[p.version] = &joined{}
		}
		byVersion[p.version].add(y, p.value)
	}
	v := Verdict{Rows: int64(len(keys)), Live: all.metrics(task), Naive: map[string]float64{}, Slices: []events.WindowSlice{}, Drift: []events.ColumnDrift{}}
	for version, j := range byVersion {
		role, rows := domain.Champion, int64(len(j.actual))
		if candidate != nil && version == *candidate {
			role = domain.Candidate
		}
		v.Slices = append(v.Slices, events.WindowSlice{Version: version, Role: role, Requests: rows, Live: j.metrics(task), LiveRows: &rows})
	}
	slices.SortFunc(v.Slices, func(a, b events.WindowSlice) int { return int(a.Version - b.Version) })
	if task == Binary {
		if rate, ok := v.Live["label_rate"]; ok && predictionName != "" {
			v.Live[predictionName+"_rate"] = rate
		}
	}
	var label *statistics.Column
	if reference != nil {
		label = reference.Column(statistics.LabelColumn)
	}
	if len(keys) > 0 {
		said := all.mean()
		if label != nil && label.Count > 0 {
			said = label.Mean
		}
		naive := &joined{actual: all.actual, predicted: slices.Repeat([]float64{said}, len(keys))}
		v.Naive = naive.metrics(task)
		delete(v.Naive, "label_rate")
	}
	if label != nil && len(q.labels) > 0 {
		if d, ok := q.labelDrift(label); ok {
			v.Drift = append(v.Drift, d)
		}
	}
	return v
}

// labelDrift is over all labels that came, whether or not they were predicted.
func (q *Quality) labelDrift(reference *statistics.Column) (events.ColumnDrift, bool) {
	if reference.Kind != statistics.Number || reference.Count == 0 {
		return events.ColumnDrift{}, false
	}
	values := make([]float64, 0, len(q.labels))
	for _, y := range q.labels {
		values = append(values, y)
	}
	slices.Sort(values)
	cur := reference.Empty()
	for _, y := range values {
		cur.Add(y)
	}
	psi, err := reference.PSI(cur)
	if err != nil || !finite(psi) {
		return events.ColumnDrift{}, false
	}
	m, r := cur.Mean, reference.Mean
	return events.ColumnDrift{Column: statistics.LabelColumn, Kind: "label", PSI: psi, Rows: cur.Count, Mean: &m, ReferenceMean: &r}, true
}

// joined are labels beside predictions.
type joined struct {
	actual, predicted []float64
}

func (j *joined) add(y, p float64) {
	j.actual, j.predicted = append(j.actual, y), append(j.predicted, p)
}

func (j *joined) mean() float64 {
	var sum float64
	for _, y := range j.actual {
		sum += y
	}
	return sum / float64(len(j.actual))
}

// metrics leaves out what cannot be said, such as the AUC of one class.
func (j *joined) metrics(task string) map[string]float64 {
	m := map[string]float64{}
	set := func(name string, v float64) {
		if finite(v) {
			m[name] = v
		}
	}
	if len(j.actual) == 0 {
		return m
	}
	if task != Binary {
		set("rmse", statistics.RMSE(j.actual, j.predicted))
		set("mae", statistics.MAE(j.actual, j.predicted))
		set("r2", statistics.R2(j.actual, j.predicted))
		set("label_mean", j.mean())
		return m
	}
	labels := make([]bool, len(j.actual))
	for i, y := range j.actual {
		labels[i] = y > 0.5
	}
	set("auc", statistics.AUC(labels, j.predicted))
	set("log_loss", statistics.LogLoss(labels, j.predicted))
	set("brier", statistics.Brier(labels, j.predicted))
	set("label_rate", j.mean())
	return m
}
