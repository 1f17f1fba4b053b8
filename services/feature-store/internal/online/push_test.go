package online

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/wire"
	"github.com/stretchr/testify/require"
)

// One hour of flights, 700 rows for two views: from the JSON of the topic to rows
// that are seen.
func BenchmarkPush(b *testing.B) {
	engine, err := duckdb.Open(b.Context(), duckdb.Options{})
	require.NoError(b, err)
	s := New(Options{Engine: engine, Clock: clock.System(), Idle: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = s.Close() }()
	dataset := &events.DatasetSpec{Dataset: "d", Keys: []string{"id"}, Time: "date",
		KnownAt: []events.KnownColumn{{Column: "delay", SQL: "date + to_minutes(greatest(delay, 0))"}}}
	sp := &space{datasets: map[string]*events.DatasetSpec{"d": dataset}, views: map[string][]*compute.View{}}
	window := events.Duration(3 * time.Hour)
	for _, name := range []string{"a", "b"} {
		v, err := compute.Compile(events.ViewSpec{View: name, Dataset: "d", Window: &window, Entity: []events.EntityKey{{Key: "origin", Column: "origin"}},
			Features: []events.SQLExpression{{Name: "late", SQL: "avg((delay > 15)::int)"}}}, 1, name)
		require.NoError(b, err)
		sp.views[name] = append(sp.views[name], v)
		s.views[viewID{"default", name, 1}] = newViewRows(v)
	}
	c := &Catalog{spaces: map[string]*space{"default": sp}}
	batch := 0
	for b.Loop() {
		b.StopTimer()
		batch++
		columns := map[string][]any{}
		for i := range 700 {
			at := time.UnixMicro(int64(batch)*3600_000_000 + int64(i)*5_000_000).UTC()
			for name, v := range map[string]any{"id": fmt.Sprint(batch, "-", i), "date": at.Format(time.RFC3339), "delay": i % 60, "distance": i,
				"origin": fmt.Sprint("o", i%200), "destination": "x"} {
				columns[name] = append(columns[name], v)
			}
		}
		push := wire.Push{Dataset: "d", Columns: map[string]json.RawMessage{}}
		for name, v := range columns {
			push.Columns[name], err = json.Marshal(v)
			require.NoError(b, err)
		}
		horizon := int64(batch-5) * 3600_000_000
		b.StartTimer()
		t, err := push.Table(dataset)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.pushes.enter(b.Context(), c, datasetID{"default", "d"}, t, c.onDataset("default", "d")); err != nil {
			b.Fatal(err)
		}
		for _, rows := range s.views {
			rows.prune(horizon)
		}
	}
}
