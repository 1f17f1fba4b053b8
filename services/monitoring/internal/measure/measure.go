// Package measure computes what windows say: error rates, latencies, drift against
// a reference profile, and quality against labels. Empty windows give empty
// results, never a number that was not seen.
package measure

import (
	"math"
	"slices"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
)

// mostValues is how many predictions of one version a window keeps.
const mostValues = 200_000

// canaryBins are the quantile bins in which a candidate's predictions are
// compared with the champion's.
const canaryBins = 10

// callers' own faults say nothing about a version.
func callersFault(failed string) bool { return failed == "invalid_request" || failed == "cancelled" }

// A version's part of a window.
type slice struct {
	version     int64
	rows        int64
	errors      int64
	latencies   []float64
	predictions []float64
	mean        mean
}

type mean struct {
	n   int64
	sum float64
}

func (m *mean) add(x float64) { m.n++; m.sum += x }

// A Window collects records.
type Window struct {
	champion  int64
	candidate *int64
	reference *statistics.Profile // the champion's; may be nil
	name      string              // of the prediction

	slices    map[int64]*slice
	features  map[string]*statistics.Column
	predicted *statistics.Column
	latencies []float64
}

// NewWindow returns an empty window. Reference is the champion's profile, nil
// where there is none: then nothing is said about drift.
func NewWindow(champion int64, candidate *int64, reference *statistics.Profile, prediction string) *Window {
	w := &Window{champion: champion, candidate: candidate, reference: reference, name: prediction,
		slices: map[int64]*slice{}, features: map[string]*statistics.Column{}}
	if reference != nil {
		if c := reference.Column(statistics.PredictionColumn); c != nil {
			w.predicted = c.Empty()
		}
	}
	return w
}

// Add takes one record in.
func (w *Window) Add(r *inbox.Record) {
	if callersFault(r.Failed) || r.Rows == 0 {
		return
	}
	w.latencies = append(w.latencies, r.LatencyMS)
	var seen []*slice
	for i := range r.Rows {
		v := r.VersionOf(i)
		s := w.slices[v]
		if s == nil {
			s = &slice{version: v}
			w.slices[v] = s
		}
		if !slices.Contains(seen, s) {
			seen = append(seen, s)
			s.latencies = append(s.latencies, r.LatencyMS)
		}
		s.rows++
		if r.Failed != "" {
			s.errors++
			continue
		}
		if i >= len(r.Predictions) || math.IsNaN(r.Predictions[i]) {
			continue
		}
		p := r.Predictions[i]
		s.mean.add(p)
		if len(s.predictions) < mostValues {
			s.predictions = append(s.predictions, p)
		}
		if v == w.champion && w.predicted != nil {
			w.predicted.Add(p)
		}
	}
	if w.reference == nil || r.Failed != "" {
		return
	}
	for _, f := range r.Features {
		c := w.features[f.Name]
		if c == nil {
			ref := w.reference.Column(f.Name)
			if ref == nil || ref.Kind != statistics.Number {
				continue
			}
			c = ref.Empty()
			w.features[f.Name] = c
		}
		for i, x := range f.Values {
			if !math.IsNaN(x) || r.VersionOf(i) == w.champion {
				c.Add(x)
			}
		}
	}
}

// Slices are the versions' parts, the champion first, then by version.
func (w *Window) Slices() []events.WindowSlice {
	out := []events.WindowSlice{}
	for _, s := range w.slices {
		role := domain.Champion
		if w.candidate != nil && s.version == *w.candidate {
			role = domain.Candidate
		}
		e := events.WindowSlice{Version: s.version, Role: role, Requests: s.rows, Errors: s.errors,
			P50MS: Quantile(s.latencies, 0.5), P99MS: Quantile(s.latencies, 0.99)}
		if s.mean.n > 0 {
			m := s.mean.sum / float64(s.mean.n)
			e.PredictionMean = &m
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b events.WindowSlice) int {
		if (a.Version == w.champion) != (b.Version == w.champion) {
			if a.Version == w.champion {
				return -1
			}
			return 1
		}
		return int(a.Version - b.Version)
	})
	return out
}

// Against fills in the candidate's shift from the champion, both measured on the
// same traffic.
func (w *Window) Against(list []events.WindowSlice) {
	if w.candidate == nil {
		return
	}
	base, other := w.slices[w.champion], w.slices[*w.candidate]
	if base == nil || other == nil || len(base.predictions) == 0 || len(other.predictions) == 0 {
		return
	}
	psi, ok := shift(base.predictions, other.predictions)
	if !ok {
		return
	}
	zero := 0.0
	for i := range list {
		switch list[i].Version {
		case *w.candidate:
			list[i].PredictionPSI = &psi
		case w.champion:
			list[i].PredictionPSI = &zero
		}
	}
}

func shift(base, other []float64) (float64, bool) {
	ref := statistics.Numbers(statistics.PredictionColumn, base, nil, canaryBins)
	cur := ref.Empty()
	for _, p := range other {
		cur.Add(p)
	}
	psi, err := ref.PSI(cur)
	return psi, err == nil && finite(psi)
}

// Drift is how far every column moved from the reference, the worst first, and
// the predictions' among them; slices get the champion's prediction shift.
func (w *Window) Drift(list []events.WindowSlice) []events.ColumnDrift {
	out := []events.ColumnDrift{}
	if w.reference == nil {
		return out
	}
	add := func(name, kind string, cur, ref *statistics.Column) *events.ColumnDrift {
		if cur == nil || ref == nil || cur.Count+cur.Nulls == 0 {
			return nil
		}
		psi, err := ref.PSI(cur)
		if err != nil || !finite(psi) {
			return nil
		}
		d := events.ColumnDrift{Column: name, Kind: kind, PSI: psi, Rows: cur.Count + cur.Nulls}
		if cur.Count > 0 && ref.Count > 0 {
			m, r := cur.Mean, ref.Mean
			d.Mean, d.ReferenceMean = &m, &r
		}
		out = append(out, d)
		return &out[len(out)-1]
	}
	for name, cur := range w.features {
		add(name, "feature", cur, w.reference.Column(name))
	}
	if d := add(w.name, "prediction", w.predicted, w.reference.Column(statistics.PredictionColumn)); d != nil {
		psi := d.PSI
		for i := range list {
			if list[i].Version == w.champion {
				list[i].PredictionPSI = &psi
			}
		}
	}
	slices.SortFunc(out, func(a, b events.ColumnDrift) int {
		switch {
		case a.PSI > b.PSI:
			return -1
		case a.PSI < b.PSI:
			return 1
		case a.Column < b.Column:
			return -1
		case a.Column > b.Column:
			return 1
		}
		return 0
	})
	return out
}

// Live are the environment's numbers over all versions: empty for an empty window.
func (w *Window) Live() map[string]float64 {
	live := map[string]float64{}
	var rows, errors int64
	for _, s := range w.slices {
		rows, errors = rows+s.rows, errors+s.errors
	}
	live["requests"] = float64(rows)
	if rows == 0 {
		return live
	}
	live["error_rate"] = float64(errors) / float64(rows)
	live["p50_ms"], live["p99_ms"] = Quantile(w.latencies, 0.5), Quantile(w.latencies, 0.99)
	return live
}

// Quantile is the exact order statistic: the smallest value that at least a share
// q of the values do not exceed; 0 for none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
