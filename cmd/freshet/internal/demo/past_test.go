package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/training"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the training jobs that the suite starts.
func TestMain(m *testing.M) {
	if training.RunBuiltin() {
		return
	}
	os.Exit(m.Run())
}

// A capture is what the owning services answered, when all had applied the log up to a
// position.
type capture struct {
	position int64
	at       time.Time // by the suite's clock
	lists    map[string][]any
}

// asked are the owners' lists, and what an answer about the past has in their place.
// What a list says beside that (manifests, profiles) is not asked of the past.
var asked = []struct{ route, kind string }{
	{"/v1/models", "models"}, {"/v1/models/flight-delays/versions", "versions"}, {"/v1/environments", "environments"},
	{"/v1/rollouts", "rollouts"}, {"/v1/approvals", "approvals"}, {"/v1/alerts?open=true", "alerts"},
	{"/v1/datasets", "datasets"}, {"/v1/datasets/flights/commits", "newest"}, {"/v1/views", "views"},
}

var fields = map[string][]string{
	"approvals": {"model", "version", "environment", "since", "ripple", "event"},
	"versions":  {"model", "version", "run", "status", "registered_at", "event", "gates", "stages"},
	"datasets":  {"dataset", "repository", "commits", "commit", "rows", "max_time"},
	"newest":    {"number", "commit", "event", "committed", "rows", "added_rows", "quarantined", "min_time", "max_time"},
}

// TestThePastIsAsItWasSeen runs a week of the demo, captures what the services answer
// whenever the log has moved, and asks for each of those points afterwards: while a
// version waits for a person, in the middle of a canary, with an alert open.
func TestThePastIsAsItWasSeen(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "freshet-past-") // not t.TempDir: PostgreSQL's user must enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	const days = 7
	d := &demo{Options: Options{Days: days, DataDir: dir, Listen: "127.0.0.1:0", Out: io.Discard, Logger: logger},
		clock: clock.NewDriven(firstDay), observer: newObserver(io.Discard, false), at: firstDay}
	d.world, err = loadWorld(firstDay, days+1)
	require.NoError(t, err)
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: d.Listen, Clock: d.clock, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	require.NoError(t, d.begin(t.Context(), s))
	defer d.end()

	var captured []capture
	look := func() {
		if len(captured) == 0 || captured[len(captured)-1].position != d.position(t) {
			captured = append(captured, d.capture(t))
		}
	}
	for d.at.Before(firstDay.AddDate(0, 0, days).Add(step)) {
		require.NoError(t, d.live(t.Context(), d.at.Add(step), time.Nanosecond)) // paced: nobody approves but this test
		look()
		for d.observer.waits() {
			require.NoError(t, d.approve(t.Context()))
			require.NoError(t, d.settle(t.Context()))
			look()
		}
	}

	seen := map[string]int{}
	for i, c := range captured {
		past := d.asOf(t, fmt.Sprint(c.position))
		for _, a := range asked {
			var then []any
			if a.kind == "newest" {
				if datasets := past["datasets"].([]any); len(datasets) > 0 {
					then = datasets[0].(map[string]any)["newest"].([]any)
				}
			} else {
				then = past[a.kind].([]any)
			}
			live := c.lists[a.kind]
			require.Len(t, then, len(live), "%s at %d", a.kind, c.position)
			for n, item := range live {
				same(t, fmt.Sprintf("%s at %d, item %d", a.kind, c.position, n), chosen(item, fields[a.kind]), then[n])
			}
			if len(live) > 0 {
				seen[a.kind]++
			}
		}
		// The time stands for the last of the positions that it was so late at.
		if i == len(captured)-1 || captured[i+1].at.After(c.at) {
			byTime := d.asOf(t, c.at.Format(time.RFC3339Nano))
			require.Equal(t, json.Number(fmt.Sprint(c.position)), byTime["position"], "at %s", c.at)
		}
	}
	for _, a := range asked {
		require.Positive(t, seen[a.kind], "no capture had any %s: this run tests too little", a.kind)
	}
	require.Greater(t, len(captured), 15)

	one := d.asOf(t, "now?model=flight-delays")
	require.Len(t, one["models"], 1)
	require.Len(t, one["datasets"], 1)
	t.Logf("%d positions, up to %d, were as they had been seen: %v", len(captured), captured[len(captured)-1].position, seen)
}

// capture asks every owner; again where the log moved meanwhile.
func (d *demo) capture(t *testing.T) capture {
	t.Helper()
	for {
		before := d.position(t)
		c := capture{position: before, at: d.clock.Now(), lists: map[string][]any{}}
		for _, a := range asked {
			items, _ := d.answer(t, a.route)["items"].([]any)
			if a.kind == "rollouts" {
				open := []any{}
				for _, i := range items {
					if state := i.(map[string]any)["state"]; state == "loading" || state == "stepping" {
						open = append(open, i)
					}
				}
				items = open
			}
			if a.kind == "versions" { // newest first, as an answer about the past has them
				for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
					items[i], items[j] = items[j], items[i]
				}
			}
			c.lists[a.kind] = items
		}
		if d.position(t) == before {
			return c
		}
	}
}

// position is the log's end, when everybody has applied it.
func (d *demo) position(t *testing.T) int64 {
	t.Helper()
	for {
		var s suite.Status
		require.NoError(t, d.api.get(t.Context(), "/statusz", &s))
		if s.Settled {
			return int64(s.End) //nolint:gosec // a sequence of the log
		}
		require.NoError(t, d.settle(t.Context()))
	}
}

func (d *demo) asOf(t *testing.T, point string) map[string]any {
	t.Helper()
	return d.answer(t, "/v1/as-of/"+point)
}

// answer keeps numbers as they were written; what is not there yet is empty.
func (d *demo) answer(t *testing.T, path string) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.api.url+path, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+d.api.token)
	res, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if res.StatusCode == http.StatusNotFound {
		return map[string]any{}
	}
	require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", path, raw)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v map[string]any
	require.NoError(t, decoder.Decode(&v))
	return v
}

// chosen are the fields of an item that are compared; all of them where none is named.
func chosen(item any, names []string) any {
	m := item.(map[string]any)
	if names == nil {
		return m
	}
	out := map[string]any{}
	for _, n := range names {
		if v, ok := m[n]; ok {
			out[n] = v
		}
	}
	return out
}

// same requires that everything that live says is said by then.
func same(t *testing.T, where string, live, then any) {
	t.Helper()
	switch l := live.(type) {
	case map[string]any:
		p, ok := then.(map[string]any)
		require.True(t, ok, "%s: %v instead of %v", where, then, live)
		for k, v := range l {
			if k == "spec" && p[k] == nil { // only views keep theirs
				continue
			}
			same(t, where+"."+k, v, p[k])
		}
	case []any:
		p, ok := then.([]any)
		if len(l) == 0 && then == nil {
			return
		}
		require.True(t, ok, "%s: %v instead of %v", where, then, live)
		require.Len(t, p, len(l), where)
		for i := range l {
			same(t, fmt.Sprintf("%s[%d]", where, i), l[i], p[i])
		}
	case json.Number:
		p, ok := then.(json.Number)
		require.True(t, ok, "%s: %v instead of %v", where, then, live)
		a, err := l.Float64()
		require.NoError(t, err)
		b, err := p.Float64()
		require.NoError(t, err)
		require.Equal(t, a, b, where) //nolint:testifylint // the same digits give the same number
	case string:
		a, err := time.Parse(time.RFC3339Nano, l)
		if err != nil {
			require.Equal(t, live, then, where)
			return
		}
		p, ok := then.(string)
		require.True(t, ok, "%s: %v instead of %v", where, then, live)
		b, err := time.Parse(time.RFC3339Nano, p)
		require.NoError(t, err, where)
		require.True(t, a.Equal(b), "%s: %s instead of %s", where, p, l)
	default:
		require.Equal(t, live, then, where)
	}
}
