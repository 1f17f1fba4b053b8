package logistic_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/freshet-io/freshet/services/training/internal/logistic"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFitEqualsScikitLearn(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/sklearn.json")
	require.NoError(t, err)
	var cases []struct {
		L2                   float64
		Columns              [][]float64
		Labels               []float64
		Mean, Scale, Weights []float64
		Bias                 float64
	}
	require.NoError(t, json.Unmarshal(b, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		m, err := logistic.Fit(c.Columns, c.Labels, c.L2)
		require.NoError(t, err)
		require.InDelta(t, c.Bias, m.Bias, 1e-6)
		for j := range c.Weights {
			require.InDelta(t, c.Mean[j], m.Mean[j], 1e-9)
			require.InDelta(t, c.Scale[j], m.Scale[j], 1e-9)
			require.InDelta(t, c.Weights[j], m.Weights[j], 1e-6)
		}
	}
}

// The solution is a minimum: no small step from it lowers the penalised loss.
func TestFitIsAMinimum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, n := rapid.IntRange(1, 6).Draw(t, "columns"), rapid.IntRange(10, 200).Draw(t, "rows")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		l2 := rapid.SampledFrom([]float64{1e-4, 1e-2, 1, 100}).Draw(t, "l2")
		columns, labels := make([][]float64, d), make([]float64, n)
		for j := range columns {
			columns[j] = make([]float64, n)
			spread := math.Exp(rng.NormFloat64() * 5)
			for i := range n {
				columns[j][i] = spread * (rng.NormFloat64() + 3)
			}
		}
		for i := range labels {
			labels[i] = float64(rng.IntN(2))
		}
		labels[0], labels[1] = 0, 1
		m, err := logistic.Fit(columns, labels, l2)
		require.NoError(t, err)
		loss := func(weights []float64, bias float64) float64 {
			sum, penalty := 0.0, 0.0
			for i, y := range labels {
				z := bias
				for j := range weights {
					z += weights[j] * (columns[j][i] - m.Mean[j]) / m.Scale[j]
				}
				if y == 1 {
					z = -z
				}
				sum += math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z)))
			}
			for _, w := range weights {
				penalty += w * w
			}
			return sum/float64(n) + l2/2*penalty
		}
		best := loss(m.Weights, m.Bias)
		for range 20 {
			w := append([]float64(nil), m.Weights...)
			for j := range w {
				w[j] += rng.NormFloat64() * 1e-3
			}
			require.GreaterOrEqual(t, loss(w, m.Bias+rng.NormFloat64()*1e-3), best-1e-12)
		}
	})
}

func TestRowsThatTeachNothing(t *testing.T) {
	t.Parallel()
	_, err := logistic.Fit([][]float64{{1, 2}}, []float64{1, 1}, 0.1)
	require.ErrorIs(t, err, logistic.ErrOneClass)
	_, err = logistic.Fit([][]float64{{}}, nil, 0.1)
	require.ErrorIs(t, err, logistic.ErrNoRows)
	_, err = logistic.Fit([][]float64{{1, math.NaN()}}, []float64{0, 1}, 0.1)
	require.ErrorContains(t, err, "row 1")
	_, err = logistic.Fit([][]float64{{1, 2}}, []float64{0, 1}, -1)
	require.ErrorContains(t, err, "l2")
	_, err = logistic.Fit([][]float64{{1, 2}}, []float64{0, 2}, 1)
	require.ErrorContains(t, err, "label 2")
}

func TestHardCases(t *testing.T) {
	t.Parallel()
	n := 200
	x, twin, constant, y := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], constant[i] = float64(i), 7
		twin[i] = 2*x[i] + 1
		if i >= n/2 {
			y[i] = 1
		}
	}
	m, err := logistic.Fit([][]float64{x, twin, constant}, y, 0.01) // separable, collinear, constant
	require.NoError(t, err)
	require.InDelta(t, m.Weights[0], m.Weights[1], 1e-6, "twins share")
	require.Zero(t, m.Weights[2])
	m, err = logistic.Fit([][]float64{x, constant}, y, 0) // no penalty at all: the weights grow, and it still ends
	require.NoError(t, err)
	require.Greater(t, m.Weights[0], 10.0)

	again, err := logistic.Fit([][]float64{x, constant}, y, 0)
	require.NoError(t, err)
	require.Equal(t, m, again)
}

func BenchmarkFit(b *testing.B) {
	const n, d = 300_000, 10
	rng := rand.New(rand.NewPCG(1, 2))
	columns, labels := make([][]float64, d), make([]float64, n)
	for j := range columns {
		columns[j] = make([]float64, n)
	}
	for i := range n {
		z := -1.5
		for j := range columns {
			columns[j][i] = rng.NormFloat64()
			z += 0.3 * columns[j][i]
		}
		if rng.Float64() < 1/(1+math.Exp(-z)) {
			labels[i] = 1
		}
	}
	for b.Loop() {
		if _, err := logistic.Fit(columns, labels, 0.01); err != nil {
			b.Fatal(err)
		}
	}
}
