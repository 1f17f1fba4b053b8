package domain

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseFeature(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]Feature{
		"avg((delay > 15)::int)":             {Aggregate: Average, Expr: "(delay > 15)::int", Mentions: []string{"delay", "int"}},
		" COUNT ( * ) ":                      {Aggregate: Count},
		"sum(case when a = ')' then b end)":  {Aggregate: Sum, Expr: "case when a = ')' then b end", Mentions: []string{"case", "when", "a", "then", "b", "end"}},
		"max(coalesce(\"Odd \"\"Name\", 0))": {Aggregate: Maximum, Expr: `coalesce("Odd ""Name", 0)`, Mentions: []string{"coalesce", `odd "name`}},
		"min(cast(x as double))":             {Aggregate: Minimum, Expr: "cast(x as double)", Mentions: []string{"cast", "x", "as", "double"}},
		"stddev(extract(hour from d))":       {Aggregate: Deviation, Expr: "extract(hour from d)", Mentions: []string{"extract", "hour", "from", "d"}},
		"avg(age)":                           {Aggregate: Average, Expr: "age", Mentions: []string{"age"}},
	} {
		got, err := ParseFeature("f", sql)
		require.NoError(t, err, sql)
		want.Name = "f"
		require.Equal(t, want, got, sql)
	}
	for _, sql := range []string{
		"", "delay", "median(delay)", "avg()", "avg", "avg(delay", "avg(delay))", "avg(a)+1", "avg(a) filter (where b)",
		"avg(a, b)", "sum(*)", "count(distinct a)", "avg((select max(x) from y))", "avg((from y))", "avg(a) -- x", "avg(a /* ) */)",
		"avg(now() - d)", "avg(random())", `avg("random"())`, "avg(a);", "avg('x)", "avg(\"x)", "avg(E'a\\'')", "avg($1)", "avg(?)",
		"avg(a over ())", "avg(\x00)", "avg(age(d))", "avg(current_date - d)", "avg(columns(*))", "avg([a)]",
	} {
		_, err := ParseFeature("f", sql)
		var syntax *SyntaxError
		require.ErrorAs(t, err, &syntax, sql)
	}
}

func FuzzParseFeature(f *testing.F) {
	f.Add("avg((delay > 15)::int)")
	f.Fuzz(func(_ *testing.T, sql string) { _, _ = ParseFeature("f", sql); _, _ = Mentions(sql) })
}

func TestWindow(t *testing.T) {
	t.Parallel()
	all := func(expr string, a Aggregate) Feature { return Feature{Name: expr, Aggregate: a} }
	p := &Plan{Window: 10, Features: []Feature{all("n", Count), all("s", Sum), all("m", Average), all("lo", Minimum), all("hi", Maximum), all("sd", Deviation)}}
	nan := math.NaN()
	v := []float64{1, 2, nan, 4}
	known := []int64{5, 100, 6, 7}
	r := &Rows{Time: []int64{1, 2, 3, 4}, Known: [][]int64{known, known, known, known, known, known}, Values: [][]float64{v, v, v, v, v, v}}
	at := func(instant int64) ([]float64, int64, bool) {
		out := make([]float64, 6)
		newest, seen := p.At(r, instant, out)
		return out, newest, seen
	}
	out, newest, seen := at(8) // the second is not known yet, the third has no value
	require.Equal(t, []float64{2, 5, 2.5, 1, 4}, out[:5])
	require.InDelta(t, 2.1213203435596424, out[5], 1e-15)
	require.True(t, seen)
	require.EqualValues(t, 4, newest)

	out, _, _ = at(7) // known at 7 is not known before 7
	require.Equal(t, 1.0, out[0])
	require.True(t, math.IsNaN(out[5]))
	out, _, _ = at(11) // the window is open at its far end
	require.Equal(t, []float64{1, 4}, out[:2])
	_, _, seen = at(5)
	require.False(t, seen)
	out, _, _ = at(5)
	require.Equal(t, 0.0, out[0])
	require.True(t, math.IsNaN(out[1]))

	p.TTL = 3
	out, newest, seen = at(8) // the newest is 4 old
	require.Equal(t, 0.0, out[0])
	require.True(t, seen)
	require.EqualValues(t, 4, newest)
}
