package parquet

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func draw(t *rapid.T) *Table {
	rows := rapid.IntRange(0, 200).Draw(t, "rows")
	valid := func(label string) []bool {
		if !rapid.Bool().Draw(t, label+" has gaps") {
			return nil
		}
		v := rapid.SliceOfN(rapid.Bool(), rows, rows).Draw(t, label)
		for _, ok := range v {
			if !ok {
				return v
			}
		}
		return nil
	}
	tab := &Table{Rows: rows, Columns: []Column{
		{Name: "f", Kind: Float, Floats: rapid.SliceOfN(rapid.Float64(), rows, rows).Draw(t, "f"), Valid: valid("vf")},
		{Name: "i", Kind: Int, Ints: rapid.SliceOfN(rapid.Int64(), rows, rows).Draw(t, "i"), Valid: valid("vi")},
		{Name: "s ü", Kind: String, Strings: rapid.SliceOfN(rapid.String(), rows, rows).Draw(t, "s"), Valid: valid("vs")},
		{Name: "b", Kind: Bool, Bools: rapid.SliceOfN(rapid.Bool(), rows, rows).Draw(t, "b"), Valid: valid("vb")},
		{Name: "t", Kind: Time, Times: rapid.SliceOfN(rapid.Int64(), rows, rows).Draw(t, "t"), Valid: valid("vt")},
	}}
	return tab
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		want := draw(rt)
		b, err := Encode(want)
		require.NoError(rt, err)
		again, err := Encode(want)
		require.NoError(rt, err)
		require.True(rt, bytes.Equal(b, again), "the same table gave different bytes")
		got, err := ReadFrom(bytes.NewReader(b))
		require.NoError(rt, err)
		require.Equal(rt, want.Rows, got.Rows)
		for i := range want.Columns {
			require.Equal(rt, want.Columns[i].Kind, got.Columns[i].Kind)
			for row := range want.Rows {
				require.Equal(rt, want.Columns[i].Value(row), got.Columns[i].Value(row))
			}
		}
	})
}

func TestReadSelectsAndRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "x.parquet")
	b, err := Encode(&Table{Rows: 2, Columns: []Column{
		{Name: "a", Kind: Int, Ints: []int64{1, 2}}, {Name: "b", Kind: String, Strings: []string{"x", "y"}}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	got, err := Read(path, "b")
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, got.Names())
	_, err = Read(path, "nosuch")
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []string{"a", "b"}, missing.Have)

	for cut := range len(b) {
		_, err := ReadFrom(bytes.NewReader(b[:cut]))
		require.Error(t, err)
	}
}

func TestTakeAndAppend(t *testing.T) {
	t.Parallel()
	tab := &Table{Rows: 3, Columns: []Column{{Name: "a", Kind: Float, Floats: []float64{1, 2, 3}, Valid: []bool{true, false, true}}}}
	got := tab.Take([]int32{2, 1})
	require.Equal(t, 3.0, got.Columns[0].Number(0))
	require.True(t, math.IsNaN(got.Columns[0].Number(1)))
	require.NoError(t, got.Append(&Table{Rows: 1, Columns: []Column{{Name: "a", Kind: Float, Floats: []float64{9}}}}))
	require.Equal(t, 9.0, got.Columns[0].Number(2))
	require.Equal(t, []bool{true, false, true}, got.Columns[0].Valid)
	_, err := NewTable(Column{Name: "a", Kind: Int, Ints: []int64{1}}, Column{Name: "b", Kind: Int, Ints: []int64{1, 2}})
	require.Error(t, err)
}

func FuzzRead(f *testing.F) {
	b, _ := Encode(&Table{Rows: 2, Columns: []Column{{Name: "a", Kind: Int, Ints: []int64{1, 2}}}})
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ReadFrom(bytes.NewReader(b)) })
}
