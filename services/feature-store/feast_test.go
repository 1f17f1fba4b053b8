package featurestore_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

// Feast's own SDK reads from the store as from Feast's server. It needs a Python
// with feast installed: FRESHET_FEAST_PYTHON names it.
func TestFeastSDK(t *testing.T) {
	t.Parallel()
	python := os.Getenv("FRESHET_FEAST_PYTHON")
	if python == "" {
		t.Skip("FRESHET_FEAST_PYTHON names no Python with feast")
	}
	s := start(t)
	s.code(originDelays())
	s.AwaitType(events.TypeFeatureViewDeclared, 1)
	s.Settle(t.Context())
	require.Equal(t, http.StatusOK, s.post("/push", outcomes(s.Clock.Now()), nil))
	out, err := exec.CommandContext(t.Context(), python, "testdata/feast_client.py", s.URL).Output()
	require.NoError(t, err)
	var got map[string][]any
	require.NoError(t, json.Unmarshal(out, &got), string(out))
	require.Equal(t, []any{0.5, 0.2}, got["late_share"])
	require.Equal(t, []any{2.0, 0.0}, got["flights"])
}

func outcomes(now time.Time) map[string]any {
	return map[string]any{"push_source_name": "flights", "to": "online", "df": map[string]any{
		"flight_id": []string{"p1", "p2"}, "date": []string{now.Add(-time.Hour).Format(time.RFC3339), now.Add(-30 * time.Minute).Format(time.RFC3339)},
		"delay": []int{20, 5}, "distance": []int{100, 100}, "origin": []string{"XXX", "XXX"}, "destination": []string{"YYY", "YYY"}}}
}

// What Feast's server refuses is refused in its words: a JSON string with JSON in it.
func TestErrorsAreFeasts(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.code(originDelays(), departure())
	s.AwaitType(events.TypeFeatureViewDeclared, 2)
	s.Settle(t.Context())
	airport := map[string]any{"airport": []string{"XXX"}}
	ask := func(entities any, features ...string) map[string]any {
		return map[string]any{"entities": entities, "features": features}
	}
	for name, c := range map[string]struct {
		path   string
		body   any
		status int
		class  string
	}{
		"unknown view":      {"/get-online-features", ask(airport, "nosuch:x"), 404, "FeatureViewNotFoundException"},
		"unknown version":   {"/get-online-features", ask(airport, "origin_delays@7:flights"), 404, "FeatureViewVersionNotFound"},
		"unknown feature":   {"/get-online-features", ask(airport, "origin_delays:x"), 404, "FeastObjectNotFoundException"},
		"bad reference":     {"/get-online-features", ask(airport, "origin_delays"), 422, "FeastError"},
		"collision":         {"/get-online-features", ask(airport, "origin_delays:flights", "origin_delays:flights"), 500, "FeatureNameCollisionError"},
		"no join key":       {"/get-online-features", ask(map[string]any{"x": []int{1}}, "origin_delays:flights"), 422, "EntityNotFoundException"},
		"no request column": {"/get-online-features", ask(airport, "departure:log_distance"), 404, "RequestDataNotFoundInEntityRowsException"},
		"unequal columns":   {"/get-online-features", ask(map[string]any{"airport": []string{"a"}, "x": []int{1, 2}}, "origin_delays:flights"), 422, "FeastError"},
		"not a list":        {"/get-online-features", ask(map[string]any{"airport": "a"}, "origin_delays:flights"), 422, "FeastError"},
		"no entities":       {"/get-online-features", ask(map[string]any{}, "origin_delays:flights"), 422, "FeastError"},
		"not JSON":          {"/get-online-features", "text", 422, "FeastError"},
		"unknown service":   {"/get-online-features", map[string]any{"entities": airport, "feature_service": "nosuch"}, 404, "FeatureServiceNotFoundException"},
		"too old": {"/get-online-features", map[string]any{"entities": airport, "features": []string{"origin_delays:flights"},
			"as_of": "1999-01-01T00:00:00Z"}, 422, "FeastError"},
		"unknown source": {"/push", map[string]any{"push_source_name": "nosuch", "df": map[string]any{}, "to": "online"}, 422, "PushSourceNotFoundException"},
		"no key": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{"date": []string{"2001-01-06"}},
			"to": "online"}, 422, "DataFrameSerializationError"},
		"null key": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{"date": []string{"2001-01-06"},
			"flight_id": []any{nil}}, "to": "online"}, 422, "DataFrameSerializationError"},
		"bad time": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{"date": []string{"yesterday"},
			"flight_id": []string{"a"}}, "to": "online"}, 422, "DataFrameSerializationError"},
		"bad number": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{"date": []string{"2001-01-06"},
			"flight_id": []string{"a"}, "delay": []string{"x"}}, "to": "online"}, 422, "DataFrameSerializationError"},
		"uneven df": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{"date": []string{"2001-01-06"},
			"flight_id": []string{"a", "b"}}, "to": "online"}, 422, "DataFrameSerializationError"},
		"offline":             {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{}, "to": "offline"}, 422, "FeastError"},
		"unknown push format": {"/push", map[string]any{"push_source_name": "flights", "df": map[string]any{}, "to": "x"}, 422, "FeastError"},
	} {
		var text string
		require.Equal(t, c.status, s.post(c.path, c.body, &text), name)
		var inner struct{ Module, Class, Message string }
		require.NoError(t, json.Unmarshal([]byte(text), &inner), name)
		require.Equal(t, "feast.errors", inner.Module, name)
		require.Equal(t, c.class, inner.Class, "%s: %s", name, inner.Message)
		require.NotEmpty(t, inner.Message, name)
	}
}
