package online

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const minute = int64(60_000_000)

func drawRows(t *rapid.T, label string, ids, rows int) *parquet.Table {
	out := &parquet.Table{Rows: rows, Columns: []parquet.Column{
		{Name: "id", Kind: parquet.Int}, {Name: "at", Kind: parquet.Time}, {Name: "who", Kind: parquet.String},
		{Name: "seen", Kind: parquet.Time, Valid: make([]bool, rows)}, {Name: "x", Kind: parquet.Float, Valid: make([]bool, rows)}}}
	for i := range rows {
		at := rapid.Int64Range(0, 600).Draw(t, label+" at") * minute
		out.Columns[0].Ints = append(out.Columns[0].Ints, int64(rapid.IntRange(0, ids).Draw(t, label+" id")))
		out.Columns[1].Times = append(out.Columns[1].Times, at)
		out.Columns[2].Strings = append(out.Columns[2].Strings, rapid.SampledFrom([]string{"a", "b", "ü"}).Draw(t, label+" who"))
		out.Columns[3].Times = append(out.Columns[3].Times, at+rapid.Int64Range(-5, 200).Draw(t, label+" seen")*minute)
		out.Columns[3].Valid[i] = rapid.IntRange(0, 9).Draw(t, label+" ever seen") > 0
		out.Columns[4].Floats = append(out.Columns[4].Floats, rapid.Float64Range(-1e6, 1e6).Draw(t, label+" x"))
		out.Columns[4].Valid[i] = rapid.IntRange(0, 9).Draw(t, label+" has x") > 0
	}
	return out
}

// Whatever was pushed and committed, in whatever order it came: the same instant
// has the same bits in serving as in training, once the rows are committed.
func TestTrainingAndServingAgree(t *testing.T) {
	t.Parallel()
	engine, err := duckdb.Open(t.Context(), duckdb.Options{Threads: 1, Sessions: 2})
	require.NoError(t, err)
	session, err := engine.Session(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close()) })
	require.NoError(t, session.Seal(t.Context()))
	dataset := &events.DatasetSpec{Dataset: "d", Keys: []string{"id"}, Time: "at", Zone: "local", KnownAt: []events.KnownColumn{{Column: "x", SQL: "seen"}}}
	window, ttl := events.Duration(90*time.Minute), events.Duration(60*time.Minute)

	rapid.Check(t, func(rt *rapid.T) {
		spec := events.ViewSpec{View: "v", Dataset: "d", Window: &window, Entity: []events.EntityKey{{Key: "who", Column: "who"}},
			Missing: map[string]float64{"mean": -1}, Features: []events.SQLExpression{
				{Name: "mean", SQL: "avg(x * 1.1)"}, {Name: "n", SQL: "count(*)"}, {Name: "n_x", SQL: "count(x)"}, {Name: "sum", SQL: "sum(x)"},
				{Name: "lo", SQL: "min(x)"}, {Name: "hi", SQL: "max(x)"}, {Name: "sd", SQL: "stddev(x)"}}}
		if rapid.Bool().Draw(rt, "ttl") {
			spec.Ttl = &ttl
		}
		v, err := compute.Compile(spec, 1, "sha256:v")
		require.NoError(rt, err)
		evaluate := func(rows *parquet.Table) *parquet.Table {
			require.NoError(rt, session.Load(t.Context(), compute.Input, rows))
			out, err := compute.Rows(t.Context(), session, v, dataset)
			require.NoError(rt, err)
			return out
		}
		commits := rapid.IntRange(1, 3).Draw(rt, "commits")
		var files []*parquet.Table
		for i := range commits {
			files = append(files, evaluate(drawRows(rt, fmt.Sprint("commit ", i), 40, rapid.IntRange(1, 30).Draw(rt, "rows"))))
		}
		training, err := compute.Group(v, files...)
		require.NoError(rt, err)

		// Serving: parts of the same rows pushed before, commits entered in any order.
		serving := newViewRows(v)
		for i, f := range files {
			if rapid.Bool().Draw(rt, "pushed first") {
				var some []int32
				for row := range f.Rows {
					if rapid.Bool().Draw(rt, "this row") {
						some = append(some, int32(row))
					}
				}
				require.NoError(rt, serving.add(f.Take(some), pushedRank), "file %d", i)
			}
		}
		for _, i := range rapid.Permutation([]int{0, 1, 2}[:commits]).Draw(rt, "order") {
			require.NoError(rt, serving.add(files[i], int64(i)+1))
		}

		at := rapid.Int64Range(0, 800).Draw(rt, "instant") * minute
		entities := []string{"a", "b", "ü", "nobody"}
		// What lies outside the window may have been dropped.
		serving.prune(at - v.Plan.Window - rapid.Int64Range(0, 100).Draw(rt, "slack")*minute)
		got := serving.at(entities, at)
		want := make([]float64, len(spec.Features))
		for i, entity := range entities {
			rows := training[entity]
			if rows == nil {
				rows = compute.NoRows(v.Plan)
			}
			v.Plan.At(rows, at, want)
			for f := range want {
				x := want[f]
				if math.IsNaN(x) {
					x = v.Defaults[f]
				}
				require.Equal(rt, math.Float64bits(x), math.Float64bits(got[f].Numbers[i]), "%s of %s", spec.Features[f].Name, entity)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	engine, err := duckdb.Open(b.Context(), duckdb.Options{Threads: 1})
	require.NoError(b, err)
	s := New(Options{Engine: engine, Clock: clock.System(), Idle: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = s.Close() }()
	window := events.Duration(3 * time.Hour)
	v, err := compute.Compile(events.ViewSpec{View: "v", Dataset: "d", Window: &window, Entity: []events.EntityKey{{Key: "who", Column: "who"}},
		Features: []events.SQLExpression{{Name: "a", SQL: "avg(x)"}, {Name: "b", SQL: "sum(x)"}, {Name: "c", SQL: "count(*)"}, {Name: "d", SQL: "max(x)"}}}, 1, "d")
	require.NoError(b, err)
	od, err := compute.Compile(events.ViewSpec{View: "od", Features: []events.SQLExpression{
		{Name: "a", SQL: "sin(hour(date))"}, {Name: "b", SQL: "cos(hour(date))"}, {Name: "c", SQL: "hour(date)"}, {Name: "d", SQL: "ln(distance)"}}}, 1, "d")
	require.NoError(b, err)
	s.catalog.Store(&Catalog{spaces: map[string]*space{"default": {views: map[string][]*compute.View{"v": {v}, "od": {od}},
		models: map[string]*events.ModelSpec{"m": {Features: []events.ViewUse{{View: "od"}}, Request: []events.TypedField{{Name: "date", Type: "timestamp"},
			{Name: "distance", Type: "int64"}}}}}}})
	rows := newViewRows(v)
	s.views[viewID{"default", "v", 1}] = rows
	close(s.filled)
	now := s.clock.Now().UnixMicro()
	t := &parquet.Table{Rows: 20_000, Columns: []parquet.Column{{Name: "entity.who", Kind: parquet.String}, {Name: "key", Kind: parquet.String},
		{Name: "time", Kind: parquet.Int}}}
	for i := range t.Rows {
		t.Columns[0].Strings = append(t.Columns[0].Strings, fmt.Sprint("e", i%200))
		t.Columns[1].Strings = append(t.Columns[1].Strings, fmt.Sprint("k", i))
		t.Columns[2].Ints = append(t.Columns[2].Ints, now-int64(i)*1_000_000/2)
	}
	for _, f := range v.Plan.Features {
		t.Columns = append(t.Columns, parquet.Column{Name: "feature." + f.Name, Kind: parquet.Float, Floats: make([]float64, t.Rows)})
	}
	require.NoError(b, rows.add(t, 1))
	for _, n := range []int{1, 700} {
		var who, date, distance []byte
		for i := range n {
			sep := byte(',')
			if i == 0 {
				sep = '['
			}
			who = fmt.Appendf(append(who, sep), `"e%d"`, i%220)
			date = fmt.Appendf(append(date, sep), `"2001-01-06T%02d:30:00Z"`, i%24)
			distance = fmt.Appendf(append(distance, sep), `%d`, i+1)
		}
		entities := map[string]json.RawMessage{"who": append(who, ']'), "date": append(date, ']'), "distance": append(distance, ']')}
		for name, view := range map[string]string{"windowed": "v", "on-demand": "od"} {
			q := &Query{Namespace: "default", Entities: entities}
			for _, f := range []string{"a", "b", "c", "d"} {
				q.Features = append(q.Features, Reference{View: view, Feature: f})
			}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Get(b.Context(), q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
