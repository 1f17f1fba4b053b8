package featurestore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/libs/testkit"
	featurestore "github.com/freshet-io/freshet/services/feature-store"
	"github.com/freshet-io/freshet/services/feature-store/internal/online"
	"github.com/stretchr/testify/require"
)

const ns = "default"

func duration(d time.Duration) *events.Duration { v := events.Duration(d); return &v }

func flights() events.DatasetSpec {
	return events.DatasetSpec{
		Dataset: "flights", Keys: []string{"flight_id"}, Time: "date", Zone: "local", Rows: "quarantine",
		KnownAt: []events.KnownColumn{{Column: "delay", SQL: "date + to_minutes(greatest(delay, 0))"}},
		Columns: []events.ColumnExpectation{
			{Column: "flight_id", Type: "string"}, {Column: "date", Type: "timestamp"}, {Column: "delay", Type: "int64"},
			{Column: "distance", Type: "int64"}, {Column: "origin", Type: "string"}, {Column: "destination", Type: "string"}},
	}
}

func originDelays() events.ViewSpec {
	return events.ViewSpec{
		View: "origin_delays", Dataset: "flights", Entity: []events.EntityKey{{Key: "airport", Column: "origin"}},
		Window: duration(3 * time.Hour), Ttl: duration(6 * time.Hour), Missing: map[string]float64{"late_share": 0.2},
		Features: []events.SQLExpression{{Name: "late_share", SQL: "avg((delay > 15)::int)"}, {Name: "flights", SQL: "count(*)"},
			{Name: "spread", SQL: "stddev(delay)"}},
	}
}

func routeDelays() events.ViewSpec {
	return events.ViewSpec{
		View: "route_delays", Dataset: "flights", Window: duration(72 * time.Hour), Missing: map[string]float64{"late_share": 0.2},
		Entity:   []events.EntityKey{{Key: "origin", Column: "origin"}, {Key: "destination", Column: "destination"}},
		Features: []events.SQLExpression{{Name: "late_share", SQL: "avg((delay > 15)::int)"}},
	}
}

func departure() events.ViewSpec {
	return events.ViewSpec{View: "departure", Features: []events.SQLExpression{
		{Name: "hour_sin", SQL: "sin(2 * pi() * (hour(date) + minute(date) / 60) / 24)"}, {Name: "log_distance", SQL: "ln(distance)"}}}
}

func model() events.ModelSpec {
	return events.ModelSpec{
		Model: "flight-delays", Task: "binary-classification", Mode: "act",
		Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15", Validation: events.Duration(24 * time.Hour), Test: events.Duration(24 * time.Hour)},
		Features: []events.ViewUse{{View: "origin_delays"}, {View: "route_delays"}, {View: "departure"}},
		Request: []events.TypedField{{Name: "flight_id", Type: "string"}, {Name: "date", Type: "timestamp"}, {Name: "origin", Type: "string"},
			{Name: "destination", Type: "string"}, {Name: "distance", Type: "int64"}},
		Prediction: []events.TypedField{{Name: "late", Type: "float"}}, Metrics: []string{"auc"}, Gates: []events.Rule{}, Environments: []events.EnvironmentSpec{},
		Retrain: events.RetrainSpec{When: []string{}},
	}
}

type suite struct {
	*testkit.Running
	t     *testing.T
	data  []events.DatasetCommit
	model events.ModelSpec
}

func start(t *testing.T) *suite {
	t.Helper()
	return &suite{t: t, model: model(), Running: testkit.Service(t, "feature-store",
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}, featurestore.Module(featurestore.DefaultConfig()))}
}

func (s *suite) object(b []byte) events.Object {
	ref, err := s.Objects.PutBytes(s.t.Context(), b)
	require.NoError(s.t, err)
	return events.ObjectOf(ref.Digest, ref.Size, "")
}

func (s *suite) code(views ...events.ViewSpec) {
	e, err := events.NewCodeCommitted(ns, "flights", events.CodeCommitted{
		Repository: "flights", Branch: "main", Revision: "0123456789012345678901234567890123456789", Archive: s.object([]byte("x")),
		Views: views, Datasets: []events.DatasetSpec{flights()}, Models: []string{"flight-delays"}})
	require.NoError(s.t, err)
	s.Foreign(eventlog.Cause{}, e)
}

func (s *suite) commit(b []byte, rows int64) events.DatasetCommit {
	file := s.object(b)
	n := int64(len(s.data) + 1)
	number := s.object(fmt.Appendf(nil, "manifest %d %s", n, file.Digest))
	e, err := events.NewDataCommitted(ns, "flights", events.DataCommitted{
		Dataset: "flights", Commit: number.Digest, Number: n, Manifest: number, Profile: number,
		Added: []events.DataFile{{Object: file, Rows: rows}}, Rows: rows * n, AddedRows: rows, Spec: flights()})
	require.NoError(s.t, err)
	at := s.Foreign(eventlog.Cause{}, e)
	c := events.DatasetCommit{Dataset: "flights", Commit: number.Digest, Number: n, Event: at[0].ID()}
	s.data = append(s.data, c)
	return c
}

func (s *suite) train(asOf time.Time) string {
	digest := s.object([]byte("spec")).Digest
	e, err := events.NewTrainingRequested(ns, "flight-delays", events.TrainingRequested{
		Model: "flight-delays", Trigger: "person", Code: events.CodeRevision{Repository: "flights", Revision: "0123456789012345678901234567890123456789",
			Archive: s.object([]byte("x"))},
		Data: s.data[len(s.data)-1:], Spec: s.model, SpecDigest: digest, AsOf: asOf})
	require.NoError(s.t, err)
	return s.Foreign(eventlog.Cause{}, e)[0].ID()
}

func (s *suite) post(path string, body any, into any) int {
	b, err := json.Marshal(body)
	require.NoError(s.t, err)
	resp, err := http.Post(s.URL+path, "application/json", bytes.NewReader(b))
	require.NoError(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	if into != nil {
		require.NoError(s.t, json.Unmarshal(raw, into), string(raw))
	}
	return resp.StatusCode
}

func (s *suite) table(o events.Object) *parquet.Table {
	path, err := s.Objects.File(s.t.Context(), o.Digest)
	require.NoError(s.t, err)
	t, err := parquet.Read(path)
	require.NoError(s.t, err)
	return t
}

func days(t *testing.T, from, to int) [][]byte {
	t.Helper()
	var out [][]byte
	for day := from; day <= to; day++ {
		b, err := os.ReadFile(filepath.Join("..", "..", "examples", "flight-delays", "data", fmt.Sprintf("2001-01-%02d.parquet", day)))
		require.NoError(t, err)
		out = append(out, b)
	}
	return out
}

type answer struct {
	Metadata struct {
		FeatureNames []string `json:"feature_names"`
	} `json:"metadata"`
	Results []struct {
		Values          []any    `json:"values"`
		Statuses        []string `json:"statuses"`
		EventTimestamps []string `json:"event_timestamps"`
	} `json:"results"`
}

func TestRealFlights(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.code(originDelays(), routeDelays(), departure())
	declared, err := events.NewModelDeclared(ns, "flight-delays", events.ModelDeclared{Model: "flight-delays",
		Code: events.CodeRevision{Repository: "flights", Revision: "0123456789012345678901234567890123456789", Archive: s.object([]byte("x"))},
		Spec: model(), SpecDigest: s.object([]byte("spec")).Digest})
	require.NoError(t, err)
	s.Foreign(eventlog.Cause{}, declared)
	for _, b := range days(t, 3, 5) {
		s.commit(b, 16000)
	}
	s.train(time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC))
	built, err := events.Parse[events.TrainingSetBuilt](s.AwaitType(events.TypeTrainingSetBuilt, 1))
	require.NoError(t, err)
	s.Settle(t.Context())

	require.Len(t, built.Splits, 3)
	require.Equal(t, "origin_delays__late_share", built.Columns[0].Name)
	require.Equal(t, []string{"date", "distance"}, built.Uses[2].Request)
	train, test := s.table(built.Splits[0].File), s.table(built.Splits[2].File)
	require.Equal(t, []string{"flight_id", "date", "origin", "destination", "distance", "origin_delays__late_share", "origin_delays__flights",
		"origin_delays__spread", "route_delays__late_share", "departure__hour_sin", "departure__log_distance", "label"}, test.Names())
	require.InDelta(t, 0.33, built.Naive, 0.05)
	require.Greater(t, train.Rows, 10000)
	require.Greater(t, test.Rows, 14000)
	raw, err := s.Objects.Get(t.Context(), built.Profile.Digest, 1<<20)
	require.NoError(t, err)
	profile, err := statistics.ParseProfile(raw)
	require.NoError(t, err)
	require.EqualValues(t, train.Rows, profile.Rows)

	// What training saw is what serving would have answered at that instant.
	compared := 0
	for row := test.Rows - 1; row > test.Rows-400; row -= 20 {
		at := time.UnixMicro(test.Column("date").Times[row]).UTC()
		var got answer
		require.Equal(t, http.StatusOK, s.post("/get-online-features", map[string]any{
			"entities": map[string]any{"airport": []any{test.Column("origin").Strings[row]}, "origin": []any{test.Column("origin").Strings[row]},
				"destination": []any{test.Column("destination").Strings[row]}, "date": []any{at.Format(time.RFC3339)},
				"distance": []any{test.Column("distance").Ints[row]}},
			"feature_service": "flight-delays", "full_feature_names": true, "as_of": at}, &got))
		require.Equal(t, []string{"airport", "origin", "destination"}, got.Metadata.FeatureNames[:3])
		for i, name := range got.Metadata.FeatureNames[3:] {
			value := got.Results[3+i].Values[0]
			want := test.Column(name)
			if !want.Has(row) {
				require.Nil(t, value)
				continue
			}
			require.Equal(t, want.Floats[row], value, "%s at %s", name, at)
			compared++
		}
	}
	require.Greater(t, compared, 60)

	// An hour's outcomes are pushed; then the same rows are committed.
	now := s.Clock.Now()
	require.Equal(t, http.StatusOK, s.post("/push", outcomes(now), nil))
	ask := map[string]any{"entities": map[string]any{"airport": []string{"XXX", "ZZZ"}}, "features": []string{"origin_delays:late_share",
		"origin_delays@1:flights"}}
	var got answer
	require.Equal(t, http.StatusOK, s.post("/get-online-features", ask, &got))
	require.Equal(t, []any{0.5, 0.2}, got.Results[1].Values)
	require.Equal(t, []string{"PRESENT", "NOT_FOUND"}, got.Results[1].Statuses)
	require.Equal(t, []any{2.0, 0.0}, got.Results[2].Values)
	require.Equal(t, "2001-01-05T23:30:00Z", got.Results[1].EventTimestamps[0])

	committed, err := parquet.Encode(&parquet.Table{Rows: 2, Columns: []parquet.Column{
		{Name: "flight_id", Kind: parquet.String, Strings: []string{"p1", "p3"}},
		{Name: "date", Kind: parquet.Time, Times: []int64{now.Add(-time.Hour).UnixMicro(), now.Add(-50 * time.Minute).UnixMicro()}},
		{Name: "delay", Kind: parquet.Int, Ints: []int64{30, 40}}, {Name: "distance", Kind: parquet.Int, Ints: []int64{100, 100}},
		{Name: "origin", Kind: parquet.String, Strings: []string{"XXX", "XXX"}}, {Name: "destination", Kind: parquet.String, Strings: []string{"YYY", "YYY"}}}})
	require.NoError(t, err)
	s.commit(committed, 2)
	s.AwaitType(events.TypeFeatureViewMaterialized, 8)
	s.Settle(t.Context())
	require.Equal(t, http.StatusOK, s.post("/get-online-features", ask, &got))
	require.Equal(t, 3.0, got.Results[2].Values[0], "a row that was pushed and committed counts once")
	require.Equal(t, 2.0/3, got.Results[1].Values[0])

	// A view that is declared later sees what was pushed before.
	changed := originDelays()
	changed.Features[0].SQL = "avg((delay > 1)::int)"
	s.code(changed, routeDelays(), departure())
	s.AwaitType(events.TypeFeatureViewDeclared, 4)
	s.Settle(t.Context())
	require.Equal(t, http.StatusOK, s.post("/get-online-features", ask, &got))
	require.Equal(t, 1.0, got.Results[1].Values[0])
	require.Len(t, s.ofType(events.TypeFeatureViewDeclared), 4, "an unchanged view has no new version")

	// A store that starts anew knows what the old one knew.
	again := s.secondStore()
	known, err := again.Get(t.Context(), &online.Query{Namespace: ns, Entities: map[string]json.RawMessage{"airport": json.RawMessage(`["XXX","ATL"]`)},
		Features: []online.Reference{{View: "origin_delays", Version: 1, Feature: "flights"}, {View: "origin_delays", Feature: "late_share"}}})
	require.NoError(t, err)
	require.Equal(t, 3.0, known.Features[0].Numbers[0])
	require.Equal(t, 1.0, known.Features[1].Numbers[0])
	require.Greater(t, known.Features[0].Numbers[1], 10.0)
}

// secondStore fills another online store from the same log, objects and topic.
func (s *suite) secondStore() *online.Store {
	engine, err := duckdb.Open(s.t.Context(), duckdb.Options{})
	require.NoError(s.t, err)
	store := online.New(online.Options{
		Pool: s.Pool, Changed: s.Log.Changed, Objects: s.Objects, Kafka: s.Kafka, Engine: engine,
		Clock: s.Clock, Idle: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 2)
	go func() { done <- store.Follow(ctx) }()
	go func() { done <- store.Consume(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				s.t.Errorf("the second store: %v", err)
			}
		}
		require.NoError(s.t, store.Close())
	})
	require.Eventually(s.t, func() bool {
		behind, err := store.Behind(ctx)
		lag, lagErr := store.Lag(ctx)
		return err == nil && lagErr == nil && behind == 0 && lag == 0
	}, time.Minute, 5*time.Millisecond)
	return store
}

func TestWhatCannotBeComputedSaysWhy(t *testing.T) {
	t.Parallel()
	s := start(t)
	unread := originDelays()
	unread.Features[0].SQL = "median(delay)"
	mistaken := routeDelays()
	mistaken.Features[0].SQL = "avg(nosuch)"
	s.code(unread, mistaken, departure())
	views := map[string]events.FeatureViewDeclared{}
	for i := range 3 {
		v, err := events.Parse[events.FeatureViewDeclared](s.AwaitType(events.TypeFeatureViewDeclared, i+1))
		require.NoError(t, err)
		views[v.View] = v
	}
	require.Contains(t, views["origin_delays"].Error, "median")
	require.Empty(t, views["route_delays"].Error)

	s.commit(days(t, 1, 1)[0], 16000)
	m, err := events.Parse[events.FeatureViewMaterialized](s.AwaitType(events.TypeFeatureViewMaterialized, 1))
	require.NoError(t, err)
	require.Equal(t, "route_delays", m.View)
	require.Contains(t, m.Error, "nosuch")

	for i, views := range [][]events.ViewUse{{{View: "origin_delays"}}, {{View: "route_delays"}}, {{View: "nosuch"}}, {{View: "departure", Version: 3}}} {
		s.model.Features = views
		s.train(time.Date(2001, 1, 2, 0, 0, 0, 0, time.UTC))
		f, err := events.Parse[events.TrainingSetFailed](s.AwaitType(events.TypeTrainingSetFailed, i+1))
		require.NoError(t, err)
		require.Equal(t, []string{"bad_sql", "bad_sql", "unknown_view", "unknown_view"}[i], f.Reason)
		detail, err := s.Objects.Get(t.Context(), f.Detail.Digest, 1<<16)
		require.NoError(t, err)
		require.Contains(t, string(detail), []string{"median", "nosuch", "nosuch", "departure"}[i])
	}
	s.Settle(t.Context())
	require.Empty(t, s.ofType(events.TypeFeatureStoreEventParked))
}

func (s *suite) ofType(typ string) (n []string) {
	for _, e := range s.Events() {
		if e.Type() == typ {
			n = append(n, e.Subject())
		}
	}
	return n
}
