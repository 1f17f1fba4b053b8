package measure_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/training/internal/measure"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2001, 7, 1, 12, 0, 0, 0, time.UTC)

func file(t *testing.T, columns ...parquet.Column) string {
	t.Helper()
	table, err := parquet.NewTable(columns...)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, parquet.Write(&b, table))
	path := filepath.Join(t.TempDir(), "test.parquet")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func hours(n int) (times []int64) {
	for i := range n {
		times = append(times, noon.Add(time.Duration(i)*time.Hour).UnixMicro())
	}
	return times
}

func TestRowsSinceATimeInTheirZone(t *testing.T) {
	t.Parallel()
	path := file(t, parquet.Column{Name: "label", Kind: parquet.Bool, Bools: []bool{true, false, true, false}},
		parquet.Column{Name: "at", Kind: parquet.Time, Times: hours(4)})
	rows, err := measure.Read(path, "label", "at", nil)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, rows.Since(noon.Add(2*time.Hour).UnixMicro()))
	from, to, ok := rows.Span(rows.Since(0))
	require.True(t, ok)
	require.Equal(t, noon.UnixMicro(), from)
	require.Equal(t, noon.Add(3*time.Hour).UnixMicro(), to)

	zone := time.FixedZone("two hours east", 2*3600)
	rows, err = measure.Read(path, "label", "at", zone)
	require.NoError(t, err)
	from, _, _ = rows.Span(rows.Since(0))
	require.Equal(t, noon.Add(-2*time.Hour).UnixMicro(), from, "noon there is ten here")

	rows, err = measure.Read(path, "label", "no such column", nil)
	require.NoError(t, err)
	require.Len(t, rows.Since(math.MaxInt64), 4, "without times every row counts")
	_, _, ok = rows.Span(rows.Since(0))
	require.False(t, ok)
}

func TestScoresAndMetrics(t *testing.T) {
	t.Parallel()
	path := file(t, parquet.Column{Name: "label", Kind: parquet.Float, Floats: []float64{0, 1, 0, 1}},
		parquet.Column{Name: "x", Kind: parquet.Float, Floats: []float64{-2, 1, -1, 3}})
	rows, err := measure.Read(path, "label", "", nil)
	require.NoError(t, err)
	b, err := onnx.Logistic([]float64{0}, []float64{1}, []float64{1}, 0, "in", []string{"x"})
	require.NoError(t, err)
	g, err := onnx.Load(b)
	require.NoError(t, err)
	all := rows.Since(0)
	scores, err := rows.Score(g, []string{"x"}, all)
	require.NoError(t, err)
	m := rows.Metrics(measure.Classification, scores, all)
	require.Equal(t, 1.0, m["auc"])
	require.Equal(t, 1.0, m["accuracy"])
	naive := rows.Metrics(measure.Classification, measure.Constant(0.5, 4), all)
	require.Equal(t, 0.5, naive["auc"])
	require.InDelta(t, math.Ln2, naive["log_loss"], 1e-12)
	require.NotContains(t, rows.Metrics(measure.Classification, scores[:1], all[:1]), "auc", "one class has none")

	regression := rows.Metrics(measure.Regression, []float64{0, 1, 0, 0}, all)
	require.Equal(t, 0.5, regression["rmse"])
	require.Equal(t, 0.25, regression["mae"])
	require.NotContains(t, regression, "auc")

	_, err = rows.Score(g, []string{"gone"}, all)
	require.ErrorIs(t, err, measure.ErrColumn)
	_, err = rows.Score(g, []string{"x", "x"}, all)
	require.ErrorIs(t, err, onnx.ErrShape)
}

func TestAScoreThatIsNoNumberIsRefused(t *testing.T) {
	t.Parallel()
	path := file(t, parquet.Column{Name: "label", Kind: parquet.Float, Floats: []float64{0, 1}},
		parquet.Column{Name: "x", Kind: parquet.Float, Floats: []float64{1, 0}, Valid: []bool{true, false}})
	rows, err := measure.Read(path, "label", "", nil)
	require.NoError(t, err)
	b, err := onnx.Logistic([]float64{0}, []float64{1}, []float64{1}, 0, "in", []string{"x"})
	require.NoError(t, err)
	g, err := onnx.Load(b)
	require.NoError(t, err)
	_, err = rows.Score(g, []string{"x"}, rows.Since(0))
	require.ErrorContains(t, err, "row 1")
}

func TestRowsWithoutLabelsAreNone(t *testing.T) {
	t.Parallel()
	_, err := measure.Read(file(t, parquet.Column{Name: "x", Kind: parquet.Float, Floats: []float64{1}}), "label", "", nil)
	require.ErrorContains(t, err, "label")
	_, err = measure.Read(file(t, parquet.Column{Name: "label", Kind: parquet.Float, Floats: []float64{1}, Valid: []bool{false}}), "label", "", nil)
	require.ErrorContains(t, err, "row 0")
}

func TestSlicesAreTheLargestGroups(t *testing.T) {
	t.Parallel()
	var airports []string
	var labels []float64
	for i := range 300 {
		airports = append(airports, map[bool]string{true: "ORD", false: "JFK"}[i%3 == 0])
		labels = append(labels, float64(i%2))
	}
	airports[7], airports[8] = "DEN", "DEN" // too few to say anything about
	rows, err := measure.Read(file(t, parquet.Column{Name: "label", Kind: parquet.Float, Floats: labels},
		parquet.Column{Name: "origin", Kind: parquet.String, Strings: airports}), "label", "", nil)
	require.NoError(t, err)
	slices := rows.Slices("origin", rows.Since(0))
	require.Len(t, slices, 2)
	require.Equal(t, "JFK", slices[0].Value)
	require.Equal(t, 198, slices[0].Rows)
	require.Equal(t, 100, slices[1].Rows)
	require.Empty(t, rows.Slices("gone", rows.Since(0)))
}
