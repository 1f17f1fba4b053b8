package onnx_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

type fixture struct {
	Rows   [][]float32 `json:"rows"`
	Scores []float64   `json:"scores"`
}

// The expected scores are onnxruntime's; testdata/make.py made them.
func TestScoresEqualOnnxruntimes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.onnx")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".onnx")
		if strings.HasPrefix(name, "refused_") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model, err := os.ReadFile(file)
			require.NoError(t, err)
			text, err := os.ReadFile("testdata/" + name + ".json")
			require.NoError(t, err)
			var want fixture
			require.NoError(t, json.Unmarshal(text, &want))

			g, err := onnx.Load(model)
			require.NoError(t, err)
			got, err := g.Score(flat(want.Rows), len(want.Rows), 4)
			require.NoError(t, err)
			for i := range got {
				require.InDelta(t, want.Scores[i], got[i], 2e-6*math.Max(1, math.Abs(want.Scores[i])), "row %d", i)
			}
			// Alone or in a batch, a row scores the same.
			one, err := g.Score(want.Rows[3], 1, 4)
			require.NoError(t, err)
			require.Equal(t, got[3], one[0])
		})
	}
}

func flat(rows [][]float32) []float32 {
	var out []float32
	for _, r := range rows {
		out = append(out, r...)
	}
	return out
}

// The file that we write is one that onnxruntime reads: own_logistic.json holds its
// scores of it. After a change of the writer, run with UPDATE=1, then make.py.
func TestLogisticIsTheFileThatOnnxruntimeScored(t *testing.T) {
	t.Parallel()
	b, err := onnx.Logistic([]float64{0, 100, 0, -2}, []float64{1, 10, 0.1, 3}, []float64{0.5, -1.25, 2, 0.75}, -0.4, "features",
		[]string{"a__x", "b__y", "b__z", "c__w"})
	require.NoError(t, err)
	const path = "testdata/own_logistic.onnx"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	golden, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, golden, b)
}

func TestRefusesByName(t *testing.T) {
	t.Parallel()
	for file, op := range map[string]string{
		"refused_tree":          "ai.onnx.ml.TreeEnsembleClassifier",
		"refused_three_classes": "ai.onnx.ml.ZipMap",
	} {
		b, err := os.ReadFile("testdata/" + file + ".onnx")
		require.NoError(t, err)
		_, err = onnx.Load(b)
		var unsupported *onnx.UnsupportedOperatorError
		require.ErrorAs(t, err, &unsupported)
		require.Equal(t, op, unsupported.Op)
	}
}

func TestLogisticComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "columns")
		number := rapid.Float64Range(-5, 5)
		list := func(name string) []float64 { return rapid.SliceOfN(number, n, n).Draw(t, name) }
		mean, weights, bias := list("mean"), list("weights"), number.Draw(t, "bias")
		scale := rapid.SliceOfN(rapid.Float64Range(0.1, 10), n, n).Draw(t, "scale")
		columns := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,8}`), n, n).Draw(t, "names")
		b, err := onnx.Logistic(mean, scale, weights, bias, "features", columns)
		require.NoError(t, err)
		g, err := onnx.Load(b)
		require.NoError(t, err)
		require.Equal(t, columns, g.ColumnNames())
		require.Equal(t, n, g.Columns())
		require.True(t, g.Classifier())
		require.Equal(t, []onnx.Input{{Name: "features", Type: onnx.Float, Shape: []int64{-1, int64(n)}, Width: n}}, g.Inputs())
		row, z := make([]float32, n), bias
		for i := range row {
			row[i] = float32(number.Draw(t, "x"))
			z += weights[i] * (float64(row[i]) - mean[i]) / scale[i]
		}
		got, err := g.Score(row, 1, n)
		require.NoError(t, err)
		require.InDelta(t, 1/(1+math.Exp(-z)), got[0], 1e-4)
	})
}

func TestRowsThatDoNotFit(t *testing.T) {
	t.Parallel()
	g := logistic(t, 3)
	_, err := g.Score(make([]float32, 8), 2, 4)
	require.ErrorIs(t, err, onnx.ErrShape)
	_, err = g.Score(make([]float32, 5), 2, 3)
	require.ErrorIs(t, err, onnx.ErrShape)
	_, err = g.Score(nil, -1, 3)
	require.ErrorIs(t, err, onnx.ErrShape)
	got, err := g.Score(nil, 0, 3)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestConcurrentScoresDoNotMix(t *testing.T) {
	t.Parallel()
	g := logistic(t, 3)
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			row := []float32{float32(k), 1, -1}
			want, err := g.Score(row, 1, 3)
			if err != nil {
				t.Error(err)
				return
			}
			for range 300 {
				batch := make([]float32, 0, 3*2000)
				for range 2000 / (k + 1) {
					batch = append(batch, row...)
				}
				got, err := g.Score(batch, len(batch)/3, 3)
				if err != nil || got[len(got)-1] != want[0] {
					t.Errorf("%v: %v, not %v", err, got[len(got)-1], want[0])
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWarmScoringAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("a sync.Pool forgets at random under the race detector")
	}
	g := logistic(t, 10)
	features, dst := make([]float32, 10*64), make([]float64, 64)
	require.NoError(t, g.ScoreInto(dst, features, 64, 10))
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() {
		if err := g.ScoreInto(dst, features, 64, 10); err != nil {
			t.Error(err)
		}
	}), 0.5)
}

func logistic(tb testing.TB, n int) *onnx.Graph {
	tb.Helper()
	ones, names := make([]float64, n), make([]string, n)
	for i := range ones {
		ones[i], names[i] = 1, string(rune('a'+i))
	}
	b, err := onnx.Logistic(ones, ones, ones, 0.5, "features", names)
	require.NoError(tb, err)
	g, err := onnx.Load(b)
	require.NoError(tb, err)
	return g
}

func BenchmarkScore(b *testing.B) {
	for _, rows := range []int{1, 64} {
		b.Run(map[int]string{1: "row", 64: "batch64"}[rows], func(b *testing.B) {
			g := logistic(b, 10)
			features, dst := make([]float32, 10*rows), make([]float64, rows)
			b.ReportAllocs()
			for b.Loop() {
				if err := g.ScoreInto(dst, features, rows, 10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Whatever the bytes: an error or a graph that scores or refuses, never a panic.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.onnx")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := onnx.Load(b)
		if err != nil {
			return
		}
		cols := max(g.Columns(), 1)
		if cols > 64 {
			return
		}
		scores, err := g.Score(make([]float32, 3*cols), 3, cols)
		if err == nil && len(scores) != 3 {
			t.Fatalf("%d scores for 3 rows", len(scores))
		}
	})
}

// A small file must not ask for all memory, nor for hours.
func TestGraphsThatTakeTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	var nodes []byte
	// Each step lays the rows beside themselves: the columns double.
	const steps = 24
	for i := range steps {
		name := func(i int) string { return "x" + strconv.Itoa(i) }
		var n []byte
		for _, f := range []struct {
			num protowire.Number
			s   string
		}{{1, name(i)}, {1, name(i)}, {2, name(i + 1)}, {4, "Concat"}} {
			n = protowire.AppendString(protowire.AppendTag(n, f.num, protowire.BytesType), f.s)
		}
		nodes = protowire.AppendBytes(protowire.AppendTag(nodes, 1, protowire.BytesType), n)
	}
	value := func(name string) []byte {
		shape := []byte{0x0a, 0x00, 0x0a, 0x02, 0x08, 0x02}                    // rows, 2
		tensor := append([]byte{0x08, 0x01, 0x12, byte(len(shape))}, shape...) // of floats
		typ := append([]byte{0x0a, byte(len(tensor))}, tensor...)              // a tensor
		v := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		return protowire.AppendBytes(protowire.AppendTag(v, 2, protowire.BytesType), typ)
	}
	graph := protowire.AppendBytes(protowire.AppendTag(nodes, 11, protowire.BytesType), value("x0"))
	graph = protowire.AppendBytes(protowire.AppendTag(graph, 12, protowire.BytesType), value("x"+strconv.Itoa(steps)))
	_, err := onnx.Load(protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), graph))
	require.ErrorIs(t, err, onnx.ErrShape)
	require.ErrorContains(t, err, "too")
}
