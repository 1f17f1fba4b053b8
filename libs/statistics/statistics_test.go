package statistics_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// reference holds what the reference libraries compute; testdata/make.py made it.
type reference struct {
	Classification []struct {
		Labels               []float64
		Scores               []float64
		AUC, Brier, Accuracy float64
		LogLoss              float64 `json:"log_loss"`
	}
	Regression []struct {
		Actual, Predicted []float64
		RMSE, MAE, R2     float64
	}
	PSI []struct {
		Reference, Current []float64
		PSI, KS            float64
	}
	Counts []struct {
		Reference, Current []float64
		JS                 float64
	}
}

const exact = 1e-9

func TestEqualsTheReferenceLibraries(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/reference.json")
	require.NoError(t, err)
	var want reference
	require.NoError(t, json.Unmarshal(b, &want))
	require.NotEmpty(t, want.PSI)
	for _, c := range want.Classification {
		labels := make([]bool, len(c.Labels))
		for i, y := range c.Labels {
			labels[i] = y == 1
		}
		require.InDelta(t, c.AUC, statistics.AUC(labels, c.Scores), exact)
		require.InDelta(t, c.LogLoss, statistics.LogLoss(labels, c.Scores), exact)
		require.InDelta(t, c.Brier, statistics.Brier(labels, c.Scores), exact)
		require.InDelta(t, c.Accuracy, statistics.Accuracy(labels, c.Scores), exact)
	}
	for _, c := range want.Regression {
		require.InDelta(t, c.RMSE, statistics.RMSE(c.Actual, c.Predicted), exact)
		require.InDelta(t, c.MAE, statistics.MAE(c.Actual, c.Predicted), exact)
		require.InDelta(t, c.R2, statistics.R2(c.Actual, c.Predicted), exact)
	}
	for i, c := range want.PSI {
		require.InDelta(t, c.PSI, statistics.PSIOfSamples(c.Reference, c.Current), exact, "pair %d", i)
		require.InDelta(t, c.KS, statistics.KolmogorovSmirnov(c.Reference, c.Current), exact, "pair %d", i)
	}
	for _, c := range want.Counts {
		require.InDelta(t, c.JS, statistics.JensenShannon(c.Reference, c.Current), exact)
	}
}

func TestUndefinedIsNaN(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]float64{
		"AUC of one class":      statistics.AUC([]bool{true, true}, []float64{0, 1}),
		"AUC of nothing":        statistics.AUC(nil, nil),
		"AUC of a NaN":          statistics.AUC([]bool{true, false}, []float64{math.NaN(), 1}),
		"AUC of two lengths":    statistics.AUC([]bool{true, false}, []float64{1}),
		"log loss of nothing":   statistics.LogLoss(nil, nil),
		"Brier of nothing":      statistics.Brier(nil, nil),
		"R2 of constant labels": statistics.R2([]float64{1, 1}, []float64{1, 2}),
		"R2 of two lengths":     statistics.R2([]float64{1, 2}, []float64{1}),
		"PSI of other bins":     statistics.PSI([]float64{1}, []float64{1, 2}),
		"KS of nothing":         statistics.KolmogorovSmirnov(nil, []float64{1}),
	} {
		require.True(t, math.IsNaN(v), name)
	}
	require.Zero(t, statistics.PSI([]float64{1, 2}, []float64{0, 0}), "nothing was seen")
	require.False(t, math.IsInf(statistics.LogLoss([]bool{true, false}, []float64{0, 1}), 0), "certain and wrong")
}

func TestAUCIsTheShareOfOrderedPairs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(rapid.Float64Range(0, 3).AsAny(), 2, 40).Draw(t, "scores")
		xs, labels := make([]float64, len(scores)), make([]bool, len(scores))
		for i, s := range scores {
			xs[i] = math.Floor(s.(float64)*4) / 4 // ties
			labels[i] = rapid.Bool().Draw(t, "label")
		}
		var pairs, ordered float64
		for i := range xs {
			for j := range xs {
				if labels[i] && !labels[j] {
					pairs++
					switch {
					case xs[i] > xs[j]:
						ordered++
					case xs[i] == xs[j]:
						ordered += 0.5
					}
				}
			}
		}
		got := statistics.AUC(labels, xs)
		if pairs == 0 {
			require.True(t, math.IsNaN(got))
			return
		}
		require.InDelta(t, ordered/pairs, got, exact)
	})
}

func TestPSIIsASymmetricDistance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "bins")
		count := rapid.Float64Range(1, 1e6)
		a, b := rapid.SliceOfN(count, n, n).Draw(t, "a"), rapid.SliceOfN(count, n, n).Draw(t, "b")
		require.GreaterOrEqual(t, statistics.PSI(a, b), 0.0)
		require.InDelta(t, statistics.PSI(a, b), statistics.PSI(b, a), 1e-9)
		require.Zero(t, statistics.PSI(a, a))
		js := statistics.JensenShannon(a, b)
		require.True(t, js >= 0 && js <= 1, js)
		scaled := make([]float64, n)
		for i := range a {
			scaled[i] = a[i] * 8 // shares, not counts
		}
		require.InDelta(t, statistics.PSI(a, b), statistics.PSI(scaled, b), 1e-9)
	})
}

func numbers(t *rapid.T, name string) []float64 {
	return rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.SampledFrom([]float64{0, 0.2, 1, math.NaN()})), 1, 300).Draw(t, name)
}

func TestEveryValueHasItsBin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		xs, bins := numbers(t, "reference"), rapid.IntRange(1, 30).Draw(t, "bins")
		c := statistics.Numbers("x", xs, nil, bins)
		require.LessOrEqual(t, len(c.Histogram.Counts), bins+2)
		require.Equal(t, c.Count, c.Histogram.Total())
		require.EqualValues(t, len(xs), c.Count+c.Nulls)
		if c.Count > 0 {
			require.Zero(t, c.Histogram.Counts[0], "the reference has nothing below itself")
			require.Zero(t, c.Histogram.Counts[len(c.Histogram.Counts)-1], "nor above")
			self, err := c.PSI(c)
			require.NoError(t, err)
			require.InDelta(t, 0, self, 1e-12)
		}
		now := c.Empty()
		current := numbers(t, "current")
		for _, x := range current {
			now.Add(x)
		}
		require.Equal(t, now.Count, now.Histogram.Total())
		require.EqualValues(t, len(current), now.Count+now.Nulls)
		psi, err := c.PSI(now)
		require.NoError(t, err)
		require.False(t, math.IsNaN(psi) || math.IsInf(psi, 0) || psi < 0, "%v", psi)
	})
}

func TestMergedEqualsWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		xs := numbers(t, "values")
		reference := statistics.Numbers("x", numbers(t, "reference"), nil, 10)
		cut := rapid.IntRange(0, len(xs)).Draw(t, "cut")
		whole, a, b := reference.Empty(), reference.Empty(), reference.Empty()
		for i, x := range xs {
			whole.Add(x)
			if i < cut {
				a.Add(x)
			} else {
				b.Add(x)
			}
		}
		require.NoError(t, a.Merge(b))
		require.Equal(t, whole.Histogram, a.Histogram)
		require.Equal(t, []int64{whole.Count, whole.Nulls}, []int64{a.Count, a.Nulls})
		require.Equal(t, []float64{whole.Min, whole.Max}, []float64{a.Min, a.Max})
		require.InDelta(t, whole.Mean, a.Mean, 1e-6*(1+math.Abs(whole.Mean)))
		require.InDelta(t, whole.Std(), a.Std(), 1e-6*(1+whole.Std()))
	})
}

func TestMoments(t *testing.T) {
	t.Parallel()
	c := statistics.Numbers("x", []float64{1, 2, 3, 4, 99}, []bool{true, true, true, true, false}, 4)
	require.Equal(t, 2.5, c.Mean)
	require.InDelta(t, 1.118033988749895, c.Std(), 1e-15)
	require.EqualValues(t, 1, c.Nulls)
	require.Equal(t, 4.0, c.Max)
}

func TestAMissingFeatureIsDrift(t *testing.T) {
	t.Parallel()
	c := statistics.Numbers("x", []float64{1, 2, 3, 4}, nil, 4)
	gone := c.Empty()
	for range 100 {
		gone.AddNull()
	}
	psi, err := c.PSI(gone)
	require.NoError(t, err)
	require.Greater(t, psi, 1.0)
}

func TestCategoriesAndTheOthers(t *testing.T) {
	t.Parallel()
	c := statistics.Strings("airport", []string{"JFK", "JFK", "ORD", "ORD", "ORD", "DEN", "x"}, []bool{true, true, true, true, true, true, false}, 2)
	require.Equal(t, map[string]int64{"ORD": 3, "JFK": 2}, c.Categories)
	require.EqualValues(t, 1, c.Other)
	require.EqualValues(t, 1, c.Nulls)
	now := c.Empty()
	for range 10 {
		now.AddCategory("MIA")
	}
	psi, err := c.PSI(now)
	require.NoError(t, err)
	require.Greater(t, psi, 1.0)
	require.ErrorIs(t, c.Merge(statistics.Numbers("airport", []float64{1}, nil, 2)), statistics.ErrEdges)
}

func TestProfilesComeBack(t *testing.T) {
	t.Parallel()
	p := &statistics.Profile{Rows: 4, Columns: []*statistics.Column{
		statistics.Numbers("a", []float64{1, 2, math.NaN(), 4}, nil, 3), statistics.Bools("label", []bool{true, true, true, true}),
		statistics.Strings("c", []string{"x", "y", "x", "x"}, nil, 5)}}
	b, err := p.Encode()
	require.NoError(t, err)
	back, err := statistics.ParseProfile(b)
	require.NoError(t, err)
	require.Equal(t, p, back)
	again, err := back.Encode()
	require.NoError(t, err)
	require.Equal(t, b, again)

	more := back.With(statistics.Numbers(statistics.PredictionColumn, []float64{0.1, 0.9}, nil, 2))
	require.NotNil(t, more.Column("prediction"))
	require.Nil(t, back.Column("prediction"))
	empty := more.Empty()
	require.Zero(t, empty.Column("a").Count)
	label := empty.Column("label")
	label.Add(0) // never seen in the reference
	psi, err := p.Column("label").PSI(label)
	require.NoError(t, err)
	require.Greater(t, psi, 1.0)

	for _, bad := range []string{`{"columns":[null]}`, `{"columns":[{"kind":"number"}]}`, `{"columns":[{"kind":"odd"}]}`, `[]`,
		`{"columns":[{"kind":"number","histogram":{"edges":[1,2],"counts":[1]}}]}`, `{"columns":[{"kind":"number","histogram":{"edges":[2,1],"counts":[1,1,1]}}]}`} {
		_, err := statistics.ParseProfile([]byte(bad))
		require.Error(t, err, bad)
	}
}

func BenchmarkAdd(b *testing.B) {
	xs := make([]float64, 10_000)
	for i := range xs {
		xs[i] = math.Sin(float64(i))
	}
	c := statistics.Numbers("x", xs, nil, statistics.DefaultBins)
	b.ReportAllocs()
	for b.Loop() {
		now := c.Empty()
		for _, x := range xs {
			now.Add(x)
		}
	}
}
