package trainingset

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/stretchr/testify/require"
)

func view(t testing.TB, name string, window time.Duration, keys ...string) *compute.View {
	t.Helper()
	d := events.Duration(window)
	spec := events.ViewSpec{View: name, Dataset: "flights", Window: &d, Missing: map[string]float64{"late_share": 0.2},
		Features: []events.SQLExpression{{Name: "late_share", SQL: "avg((delay > 15)::int)"}}}
	for _, k := range keys {
		spec.Entity = append(spec.Entity, events.EntityKey{Key: k, Column: k})
	}
	v, err := compute.Compile(spec, 1, "sha256:"+name)
	require.NoError(t, err)
	return v
}

func inputs(t testing.TB, engine *duckdb.Engine, days int) *Inputs {
	t.Helper()
	od, err := compute.Compile(events.ViewSpec{View: "departure", Features: []events.SQLExpression{
		{Name: "hour_sin", SQL: "sin(2 * pi() * (hour(date) + minute(date) / 60) / 24)"},
		{Name: "hour", SQL: "hour(date)"}, {Name: "log_distance", SQL: "ln(distance)"}}}, 1, "sha256:departure")
	require.NoError(t, err)
	dataset := events.DatasetSpec{Dataset: "flights", Keys: []string{"flight_id"}, Time: "date", Zone: "local",
		KnownAt: []events.KnownColumn{{Column: "delay", SQL: "date + to_minutes(greatest(delay, 0))"}}}
	files := Files{Spec: dataset}
	for i := range days {
		files.Paths = append(files.Paths, filepath.Join("..", "..", "..", "..", "examples", "flight-delays", "data", fmt.Sprintf("2001-01-%02d.parquet", i+1)))
	}
	in := &Inputs{Views: []*compute.View{view(t, "origin_delays", 3*time.Hour, "origin"), view(t, "route_delays", 72*time.Hour, "origin", "destination"), od},
		Examples: []Files{files}}
	in.Request.AsOf = time.Date(2001, 1, days+1, 0, 0, 0, 0, time.UTC)
	in.Request.Spec = events.ModelSpec{Model: "m", Task: "binary-classification",
		Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15", Validation: events.Duration(24 * time.Hour), Test: events.Duration(24 * time.Hour)},
		Request: []events.TypedField{{Name: "flight_id", Type: "string"}, {Name: "date", Type: "timestamp"}, {Name: "origin", Type: "string"},
			{Name: "destination", Type: "string"}, {Name: "distance", Type: "int64"}}}
	computed := map[*compute.View][]*parquet.Table{}
	for _, v := range in.Views[:2] {
		for _, path := range files.Paths {
			table, err := compute.RowsOfFile(t.Context(), engine, path, v, &dataset)
			require.NoError(t, err)
			computed[v] = append(computed[v], table)
		}
	}
	in.Rows = func(_ context.Context, v *compute.View) ([]*parquet.Table, error) { return computed[v], nil }
	return in
}

func engine(t testing.TB) *duckdb.Engine {
	t.Helper()
	e, err := duckdb.Open(t.Context(), duckdb.Options{MemoryLimit: "1GiB", TempDir: t.TempDir()})
	require.NoError(t, err)
	return e
}

func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	e := engine(t)
	in := inputs(t, e, 3)
	a, err := Build(t.Context(), e, in)
	require.NoError(t, err)
	b, err := Build(t.Context(), e, inputs(t, e, 3))
	require.NoError(t, err)
	require.Equal(t, a.ID, b.ID)
	for i := range a.Splits {
		x, err := parquet.Encode(a.Splits[i].Table)
		require.NoError(t, err)
		y, err := parquet.Encode(b.Splits[i].Table)
		require.NoError(t, err)
		require.Equal(t, x, y)
	}
	in.Request.AsOf = in.Request.AsOf.Add(-time.Hour)
	c, err := Build(t.Context(), e, in)
	require.NoError(t, err)
	require.NotEqual(t, a.ID, c.ID)
}

// The splits follow each other in time, and no example's label was still unknown.
func TestNothingFromTheFuture(t *testing.T) {
	t.Parallel()
	e := engine(t)
	in := inputs(t, e, 3)
	in.Request.AsOf = time.Date(2001, 1, 3, 12, 0, 0, 0, time.UTC)
	r, err := Build(t.Context(), e, in)
	require.NoError(t, err)
	last := int64(0)
	for _, s := range r.Splits {
		for _, at := range s.Table.Column("date").Times {
			require.GreaterOrEqual(t, at, last)
			require.GreaterOrEqual(t, at, s.From.UnixMicro())
			require.Less(t, at, s.To.UnixMicro())
			require.Less(t, at, in.Request.AsOf.UnixMicro())
			last = at
		}
	}
}

func TestFailuresSayWhy(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for reason, change := range map[string]func(*Inputs){
		"bad_sql/nosuch":  func(in *Inputs) { in.Request.Spec.Examples.Label = "nosuch > 15" },
		"bad_sql/syntax":  func(in *Inputs) { in.Request.Spec.Examples.Label = "delay >" },
		"bad_sql/escape":  func(in *Inputs) { in.Request.Spec.Examples.Label = "(select 1)" },
		"bad_sql/numbers": func(in *Inputs) { in.Request.Spec.Examples.Label = "delay" },
		"bad_sql/leak": func(in *Inputs) { // an on-demand view sees the request, never the outcome
			v, err := compute.Compile(events.ViewSpec{View: "departure", Features: []events.SQLExpression{{Name: "x", SQL: "delay"}}}, 1, "d")
			require.NoError(t, err)
			in.Views[2] = v
		},
		"no_data":         func(in *Inputs) { in.Request.AsOf = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"too_little_data": func(in *Inputs) { in.Request.Spec.Examples.Test = events.Duration(1000 * time.Hour) },
	} {
		in := inputs(t, e, 1)
		in.Request.Spec.Examples.Validation = events.Duration(time.Hour)
		change(in)
		_, err := Build(t.Context(), e, in)
		var f *Failure
		require.ErrorAs(t, err, &f, reason)
		require.Contains(t, reason, f.Reason)
	}
}

func BenchmarkBuild(b *testing.B) {
	e := engine(b)
	in := inputs(b, e, 20)
	for b.Loop() {
		if _, err := Build(b.Context(), e, in); err != nil {
			b.Fatal(err)
		}
	}
}
