package measure

import (
	"math"
	"testing"

	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
	"github.com/stretchr/testify/require"
)

func numbersColumn(name string, edges []float64, values ...float64) *statistics.Column {
	c := statistics.NewNumber(name, edges)
	for _, v := range values {
		c.Add(v)
	}
	return c
}

// reference: late_share one half below and one half above 0.5, predictions too,
// one label in four true.
func reference() *statistics.Profile {
	return &statistics.Profile{Rows: 4, Columns: []*statistics.Column{
		numbersColumn("late_share", []float64{0, 0.5, 1}, 0.1, 0.2, 0.6, 0.7),
		numbersColumn(statistics.PredictionColumn, []float64{0, 0.5, 1}, 0.1, 0.2, 0.6, 0.7),
		statistics.Bools(statistics.LabelColumn, []bool{true, false, false, false}),
	}}
}

func TestTrafficNumbersAreTheHandComputedOnes(t *testing.T) {
	t.Parallel()
	two := int64(2)
	w := NewWindow(1, &two, reference(), "late")
	w.Add(&inbox.Record{Rows: 4, Versions: []int64{1}, LatencyMS: 10, Predictions: []float64{0.1, 0.2, 0.3, 0.9},
		Features: []inbox.Feature{{Name: "late_share", Values: []float64{0.1, 0.6, 0.7, 0.8}}}})
	w.Add(&inbox.Record{Rows: 2, Versions: []int64{1, 2}, LatencyMS: 30, Predictions: []float64{0.8, 0.5},
		Features: []inbox.Feature{{Name: "late_share", Values: []float64{0.9, math.NaN()}}, {Name: "new", Values: []float64{math.NaN(), 1}}}})
	w.Add(&inbox.Record{Rows: 2, Versions: []int64{2}, LatencyMS: 20, Failed: "model_failed"})
	w.Add(&inbox.Record{Rows: 0, Versions: []int64{1}, Failed: "invalid_request", LatencyMS: 1000})

	slices := w.Slices()
	require.Len(t, slices, 2)
	require.Equal(t, domain.Champion, slices[0].Role)
	require.Equal(t, int64(5), slices[0].Requests)
	require.InDelta(t, 2.3/5, *slices[0].PredictionMean, 1e-12)
	require.Equal(t, 30.0, slices[0].P99MS)
	require.Equal(t, 10.0, slices[0].P50MS)
	require.Equal(t, domain.Candidate, slices[1].Role)
	require.Equal(t, int64(3), slices[1].Requests)
	require.Equal(t, int64(2), slices[1].Errors)

	drift := w.Drift(slices)
	require.Len(t, drift, 2)
	require.Equal(t, "late_share", drift[0].Column)
	// The reference has half below 0.5, the window one in five.
	require.InDelta(t, (0.5-0.2)*math.Log(0.5/0.2)+(0.5-0.8)*math.Log(0.5/0.8), drift[0].PSI, 1e-12)
	require.Equal(t, int64(5), drift[0].Rows)
	require.InDelta(t, 0.4, *drift[0].ReferenceMean, 1e-12)
	require.Equal(t, "late", drift[1].Column)
	require.InDelta(t, (0.5-0.6)*math.Log(0.5/0.6)+(0.5-0.4)*math.Log(0.5/0.4), drift[1].PSI, 1e-12)
	require.Equal(t, drift[1].PSI, *slices[0].PredictionPSI)

	require.Equal(t, map[string]float64{"requests": 8, "error_rate": 0.25, "p50_ms": 20, "p99_ms": 30}, w.Live())
}

func TestAnEmptyWindowSaysNothing(t *testing.T) {
	t.Parallel()
	w := NewWindow(1, nil, reference(), "late")
	slices := w.Slices()
	require.Empty(t, slices)
	require.Empty(t, w.Drift(slices))
	require.Equal(t, map[string]float64{"requests": 0}, w.Live())
	v := NewQuality(Labels{}).Verdict(Binary, "late", 1, nil, reference())
	require.Zero(t, v.Rows)
	require.Empty(t, v.Live)
	require.Empty(t, v.Drift)
}

func TestACandidateIsComparedWithTheChampionOnTheSameTraffic(t *testing.T) {
	t.Parallel()
	two := int64(2)
	w := NewWindow(1, &two, nil, "late")
	var champion, same, other []float64
	for i := range 1000 {
		champion = append(champion, float64(i)/1000)
		same = append(same, float64(i)/1000)
		other = append(other, 0.9+0.9*float64(i)/10_000)
	}
	w.Add(&inbox.Record{Rows: 1000, Versions: []int64{1}, Predictions: champion})
	w.Add(&inbox.Record{Rows: 1000, Versions: []int64{2}, Predictions: same})
	slices := w.Slices()
	w.Against(slices)
	require.InDelta(t, 0, *slices[1].PredictionPSI, 1e-9)

	w = NewWindow(1, &two, nil, "late")
	w.Add(&inbox.Record{Rows: 1000, Versions: []int64{1}, Predictions: champion})
	w.Add(&inbox.Record{Rows: 1000, Versions: []int64{2}, Predictions: other})
	slices = w.Slices()
	w.Against(slices)
	// nine of ten bins are empty now: 9·(0.1-0.0001)·ln(0.1/0.0001) + (0.1-1)·ln(0.1/1)
	require.InDelta(t, 9*(0.1-0.0001)*math.Log(1000)+0.9*math.Log(10), *slices[1].PredictionPSI, 1e-6)
}

func TestQualityIsJoinedByKey(t *testing.T) {
	t.Parallel()
	two := int64(2)
	q := NewQuality(Labels{"a": 1, "b": 0, "c": 0, "d": 1, "unasked": 1})
	q.Add(&inbox.Record{Rows: 3, Versions: []int64{1}, Keys: []string{"a", "b", "z"}, Predictions: []float64{0.1, 0.2, 0.3}})
	q.Add(&inbox.Record{Rows: 3, Versions: []int64{1, 1, 2}, Keys: []string{"a", "c", "d"}, Predictions: []float64{0.8, 0.4, 0.3}})
	q.Add(&inbox.Record{Rows: 1, Versions: []int64{1}, Keys: []string{"a"}, Failed: "model_failed"})
	v := q.Verdict(Binary, "late", 1, &two, reference())
	require.Equal(t, int64(4), v.Rows)
	// Positives 0.8 and 0.3, negatives 0.2 and 0.4: three of four pairs are in order.
	require.InDelta(t, 0.75, v.Live["auc"], 1e-12)
	require.InDelta(t, -(math.Log(0.8)+math.Log(0.8)+math.Log(0.6)+math.Log(0.3))/4, v.Live["log_loss"], 1e-12)
	require.InDelta(t, 0.5, v.Live["late_rate"], 1e-12)
	require.InDelta(t, 0.5, v.Naive["auc"], 1e-12)
	require.InDelta(t, -(2*math.Log(0.25)+2*math.Log(0.75))/4, v.Naive["log_loss"], 1e-12)
	require.Len(t, v.Slices, 2)
	require.Equal(t, int64(3), *v.Slices[0].LiveRows)
	require.InDelta(t, 1, v.Slices[0].Live["auc"], 1e-12)
	require.NotContains(t, v.Slices[1].Live, "auc", "one class has no AUC")
	// Three of five labels are true, one of four in the reference.
	require.InDelta(t, (0.25-0.6)*math.Log(0.25/0.6)+(0.75-0.4)*math.Log(0.75/0.4), v.Drift[0].PSI, 1e-12)
	require.Equal(t, "label", v.Drift[0].Kind)
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(100 - i)
	}
	require.Equal(t, 50.0, Quantile(values, 0.5))
	require.Equal(t, 99.0, Quantile(values, 0.99))
	require.Equal(t, 7.0, Quantile([]float64{7}, 0.99))
	require.Zero(t, Quantile(nil, 0.5))
}
