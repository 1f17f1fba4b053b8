package monitoring_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/monitoring"
	"github.com/stretchr/testify/require"
)

var language = service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}

// bundle is a monitoring service that watches version 1 of a model in production.
type bundle struct {
	*testing.T
	*testkit.Running
	sent int
}

func setup(t *testing.T, alarms ...events.Rule) *bundle {
	t.Helper()
	cfg := monitoring.DefaultConfig()
	cfg.Grace = 0
	b := &bundle{T: t, Running: testkit.Service(t, "monitoring", language, monitoring.Module(cfg))}
	values := make([]float64, 1000)
	truths := make([]bool, 1000)
	for i := range values {
		values[i] = float64(i) / 1000
		truths[i] = i%5 == 0
	}
	profile := &statistics.Profile{Rows: 1000, Columns: []*statistics.Column{
		statistics.Numbers("late_share", values, nil, 10),
		statistics.Numbers(statistics.PredictionColumn, values, nil, 10),
		statistics.Bools(statistics.LabelColumn, truths),
	}}
	encoded, err := profile.Encode()
	require.NoError(t, err)
	monitor := events.MonitorSpec{Window: events.Duration(24 * time.Hour), PSI: 0.25, Alarms: alarms}
	for version := int64(1); version <= 2; version++ {
		b.foreign(events.NewModelVersionRegistered("default", "delays", events.ModelVersionRegistered{
			Model: "delays", Version: version, Run: "r", Artifact: b.put([]byte("model")), Profile: b.put(encoded),
			Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Rows: 1, From: b.Clock.Now(), To: b.Clock.Now(),
			Lineage: events.Lineage{Data: []events.DatasetCommit{}, TrainingSet: "s", Run: "r", Params: map[string]any{}, Environment: map[string]string{},
				TrainedThrough: b.Clock.Now(),
				Code:           events.CodeRevision{Repository: "delays", Revision: strings.Repeat("0", 40), Archive: b.put([]byte("code"))}},
			Candidate: events.Measure{Metrics: map[string]float64{}}, Naive: events.Measure{Metrics: map[string]float64{}},
			RequestFields: []events.TypedField{{Name: "flight_id", Type: "string"}}, Prediction: []events.TypedField{{Name: "late", Type: "float"}},
			Task: "binary-classification", Label: "delay > 15", ExamplesDataset: "flights", Monitor: monitor}))
	}
	b.foreign(events.NewRolloutCompleted("default", "r1", events.RolloutCompleted{Rollout: "r1", Model: "delays", Environment: "production", Version: 1}))
	b.Settle(t.Context())
	return b
}

func (b *bundle) put(raw []byte) events.Object {
	b.T.Helper()
	ref, err := b.Objects.PutBytes(b.Context(), raw)
	require.NoError(b, err)
	return events.ObjectOf(ref.Digest, ref.Size, "")
}

func (b *bundle) foreign(e event.Event, err error) event.Event {
	b.T.Helper()
	require.NoError(b, err)
	return b.Foreign(eventlog.Cause{}, e)[0]
}

// batch is an inference record as deployment writes it.
type batch struct {
	keys         []string
	shares, late []float64
	versions     []int64
	rollout      string
	step         int64
	failed       string
	latency      float64
}

func (b *bundle) send(in batch) {
	b.T.Helper()
	body := map[string]any{"model": "delays", "environment": "production", "time": b.Clock.Now(), "rows": len(in.keys), "keys": in.keys,
		"versions": in.versions, "rollout": in.rollout, "step": in.step, "latency_ms": in.latency}
	if in.failed == "" {
		body["features"] = []any{map[string]any{"name": "late_share", "values": in.shares}}
		body["predictions"] = []any{map[string]any{"name": "late", "values": in.late}}
	} else {
		body["error"] = in.failed
	}
	raw, err := json.Marshal(body)
	require.NoError(b, err)
	b.sent++
	b.raw("id-"+strconv.Itoa(b.sent), raw)
}

func (b *bundle) raw(id string, value []byte) {
	b.T.Helper()
	header := func(k, v string) kafka.Header { return kafka.Header{Key: k, Value: []byte(v)} }
	require.NoError(b, b.Kafka.Produce(b.Context(), "freshet.inference", kafka.Record{Key: []byte("default/delays/production"), Value: value,
		Headers: []kafka.Header{
			header("ce_specversion", "1.0"), header("ce_id", id), header("ce_source", "/freshet/deployment"), header("ce_type", "io.freshet.inference.v1.record"),
			header("ce_namespace", "default"), header("ce_time", b.Clock.Now().Format(time.RFC3339Nano)), header("content-type", "application/json")}}))
}

// flights are n rows whose shares and predictions run evenly through [low, low+span).
func flights(n int, low, span float64, versions ...int64) batch {
	in := batch{versions: versions, latency: 2}
	for i := range n {
		x := low + span*float64(i)/float64(n)
		in.keys = append(in.keys, "f"+strconv.Itoa(i))
		in.shares, in.late = append(in.shares, x), append(in.late, x)
	}
	return in
}

func (b *bundle) at(day, hour int) {
	b.Clock.Set(time.Date(2001, 1, day, hour, 0, 0, 0, time.UTC))
}

func window(b *bundle, n int) events.WindowClosed {
	b.T.Helper()
	w, err := events.Parse[events.WindowClosed](b.AwaitType(events.TypeWindowClosed, n))
	require.NoError(b, err)
	return w
}

func TestDriftOfADayIsFoundOnceAndResolved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.at(6, 12)
	b.send(flights(1000, 0, 1, 1)) // as in training
	b.Settle(t.Context())
	b.at(7, 0)
	stable := window(b, 1)
	require.Equal(t, time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC), stable.From.UTC())
	require.Equal(t, time.Date(2001, 1, 7, 0, 0, 0, 0, time.UTC), stable.To.UTC())
	require.Equal(t, int64(1000), stable.Slices[0].Requests)
	require.InDelta(t, 0, stable.Drift[0].PSI, 1e-9)

	b.at(7, 12)
	b.send(flights(1000, 0.5, 0.5, 1)) // the storm
	b.Settle(t.Context())
	b.at(8, 0)
	storm := window(b, 2)
	drift, err := events.Parse[events.DriftDetected](b.AwaitType(events.TypeDriftDetected, 1))
	require.NoError(t, err)
	require.Equal(t, "late", drift.Column, "of equal shifts the first by name")
	require.Equal(t, storm.Drift[0].PSI, drift.PSI)
	require.Greater(t, drift.PSI, 0.25)
	require.InDelta(t, 0.75, *drift.Mean, 0.01)
	b.AwaitType(events.TypeAlertRaised, 1)

	b.at(8, 12)
	b.send(flights(1000, 0, 1, 1))
	b.Settle(t.Context())
	b.at(9, 0)
	window(b, 3)
	b.AwaitType(events.TypeAlertResolved, 1)

	// Nobody asked for three days: one window, with its count, and no drift.
	b.at(12, 5)
	missed := window(b, 4)
	require.Equal(t, int64(2), missed.Missed)
	require.Empty(t, missed.Slices)
	b.Settle(t.Context())
	require.Len(t, b.of(events.TypeDriftDetected), 1)
	require.Len(t, b.of(events.TypeWindowClosed), 4)
	require.Contains(t, b.get("/v1/windows?kind=traffic&limit=1"), `"missed":2`)
	require.Contains(t, b.get("/v1/alerts"), `"resolved":"2001-01-09T00:00:00Z"`)
	require.JSONEq(t, `{"items":[]}`, b.get("/v1/alerts?open=true"))
}

func (b *bundle) of(typ string) []event.Event {
	b.T.Helper()
	var list []event.Event
	for _, e := range b.Events() {
		if e.Type() == typ {
			list = append(list, e)
		}
	}
	return list
}

func (b *bundle) get(path string) string {
	b.T.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.URL+path, nil)
	require.NoError(b, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer func() { require.NoError(b, resp.Body.Close()) }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	return string(raw)
}

func (b *bundle) canary(rollout string, rules ...events.Rule) event.Event {
	b.T.Helper()
	one := int64(1)
	b.foreign(events.NewRolloutStarted("default", rollout, events.RolloutStarted{Rollout: rollout, Model: "delays", Environment: "production", Version: 2,
		Previous: &one, Steps: []int64{10, 50}, Weight: 10, Requests: 100, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(36 * time.Hour),
		RollbackIf: rules, Kind: "promotion"}))
	return b.step(rollout, 0, 10)
}

func (b *bundle) step(rollout string, step, weight int64) event.Event {
	b.T.Helper()
	return b.foreign(events.NewRolloutStepped("default", rollout, events.RolloutStepped{Rollout: rollout, Model: "delays", Environment: "production",
		Version: 2, Step: step, Weight: weight}))
}

func TestACanaryIsJudgedWhenItHasSeenEnough(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stepped := b.canary("r2", events.Rule{Name: "errors", CEL: "candidate.error_rate > champion.error_rate + 0.01"},
		events.Rule{Name: "shifted", CEL: "candidate.prediction_psi > 0.5"})
	split := func(n int, step int64) batch {
		in := flights(n, 0, 1)
		in.rollout, in.step = "r2", step
		for i := range n {
			in.versions = append(in.versions, 1+int64(i%2))
		}
		return in
	}
	b.send(split(198, 0)) // 99 of the candidate
	b.at(6, 2)
	b.Settle(t.Context())
	require.Empty(t, b.of(events.TypeWindowClosed), "one request is missing")
	b.send(split(2, 0))
	w := window(b, 1)
	require.Equal(t, "canary", w.Kind)
	require.Equal(t, int64(100), w.Slices[1].Requests)
	judged := b.AwaitType(events.TypeCanaryJudged, 1)
	p, err := events.Parse[events.CanaryJudged](judged)
	require.NoError(t, err)
	require.Equal(t, "pass", p.Verdict)
	require.Len(t, p.Rules, 2)
	require.Equal(t, eventlog.Correlation(stepped), eventlog.Correlation(judged), "a canary's window belongs to its rollout's ripple")

	// The next step fails where the candidate fails.
	b.step("r2", 1, 50)
	b.send(split(300, 0)) // late records of the first step count for nothing
	b.at(6, 4)
	b.Settle(t.Context())
	require.Len(t, b.of(events.TypeWindowClosed), 1)
	failing := split(200, 1)
	failing.versions, failing.failed = []int64{2}, "model_failed"
	b.send(split(198, 1)) // 99 of the candidate: the window waits for those that fail
	b.send(failing)
	b.AwaitType(events.TypeCanaryJudged, 2)
	p, err = events.Parse[events.CanaryJudged](b.AwaitType(events.TypeCanaryJudged, 2))
	require.NoError(t, err)
	require.Equal(t, "fail", p.Verdict)
	require.False(t, p.Rules[0].Passed)
	require.InDelta(t, 200.0/299, p.Rules[0].Values["candidate.error_rate"], 1e-12)

	b.foreign(events.NewRolloutRolledBack("default", "r2", events.RolloutRolledBack{Rollout: "r2", Model: "delays", Environment: "production",
		Version: 2, Reason: "canary"}))
	b.send(split(300, 1))
	b.at(6, 8)
	b.Settle(t.Context())
	require.Len(t, b.of(events.TypeCanaryJudged), 2)
}

func TestARuleThatCannotBeEvaluatedFailsTheCanary(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.canary("r2", events.Rule{Name: "wrong", CEL: "candidate.accuracy > 0.5"})
	in := flights(100, 0, 1, 2)
	in.rollout = "r2"
	b.send(in)
	b.at(6, 1)
	p, err := events.Parse[events.CanaryJudged](b.AwaitType(events.TypeCanaryJudged, 1))
	require.NoError(t, err)
	require.Equal(t, "fail", p.Verdict)
	require.True(t, p.Rules[0].FailedToEvaluate)
}

// labels commits n flights of which every fifth is late; ids as flights gives them.
func (b *bundle) labels(n int, late func(i int) bool) {
	b.T.Helper()
	var ids []string
	var delays []int64
	for i := range n {
		ids = append(ids, "f"+strconv.Itoa(i))
		if late(i) {
			delays = append(delays, 60)
		} else {
			delays = append(delays, 0)
		}
	}
	table, err := parquet.NewTable(parquet.Column{Name: "flight_id", Kind: parquet.String, Strings: ids},
		parquet.Column{Name: "delay", Kind: parquet.Int, Ints: delays})
	require.NoError(b, err)
	raw, err := parquet.Encode(table)
	require.NoError(b, err)
	object := b.put(raw)
	from, to := b.Clock.Now().Add(-12*time.Hour), b.Clock.Now()
	b.foreign(events.NewDataCommitted("default", "flights", events.DataCommitted{Dataset: "flights", Commit: object.Digest, Manifest: object, Profile: object,
		Added: []events.DataFile{{Object: object, Rows: int64(n)}}, AddedRows: int64(n), Rows: int64(n), MinTime: &from, MaxTime: &to,
		Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"flight_id"}, Time: "date", Rows: "quarantine"}}))
}

func TestLiveQualityComesWithTheLabels(t *testing.T) {
	t.Parallel()
	b := setup(t, events.Rule{Name: "quality", CEL: "live.auc < 0.58"}, events.Rule{Name: "slow", CEL: "live.p99_ms > 1"})
	b.at(6, 12)
	b.send(flights(500, 0, 1, 1)) // the higher the number, the surer it is late
	b.Settle(t.Context())
	b.at(6, 13)
	b.labels(500, func(i int) bool { return i >= 400 })
	w := window(b, 1)
	require.Equal(t, "quality", w.Kind)
	require.Equal(t, int64(500), *w.LiveRows)
	require.InDelta(t, 1, w.Live["auc"], 1e-12)
	require.InDelta(t, 0.2, w.Live["late_rate"], 1e-12)
	require.InDelta(t, 0.5, w.Naive["auc"], 1e-12)
	require.Equal(t, "label", w.Drift[0].Kind)
	b.Settle(t.Context())
	require.Empty(t, b.of(events.TypeQualityDegraded))

	b.labels(500, func(i int) bool { return i < 100 })
	degraded, err := events.Parse[events.QualityDegraded](b.AwaitType(events.TypeQualityDegraded, 1))
	require.NoError(t, err)
	require.Equal(t, "quality", degraded.Alarm)
	require.InDelta(t, 0, degraded.Values["live.auc"], 1e-12)
	raised, err := events.Parse[events.AlertRaised](b.AwaitType(events.TypeAlertRaised, 1))
	require.NoError(t, err)
	require.Equal(t, "quality", raised.Kind)

	// A slow answer is an alarm, and no matter of quality.
	b.at(7, 0)
	raised, err = events.Parse[events.AlertRaised](b.AwaitType(events.TypeAlertRaised, 2))
	require.NoError(t, err)
	require.Equal(t, "alarm", raised.Kind)
	require.Equal(t, "slow", raised.Name)
	b.Settle(t.Context())
	require.Len(t, b.of(events.TypeQualityDegraded), 1)
}

func TestRecordsCountOnceAndBrokenOnesStopNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	broken := []string{`{`, `{"model":"delays"}`,
		`{"model":"delays","environment":"production","time":"2001-01-06T00:00:00Z","rows":2,"versions":[1],"latency_ms":1}`}
	// What PostgreSQL does not take as text.
	for _, field := range []string{"model", "environment", "rollout", "error"} {
		m := map[string]any{"model": "delays", "environment": "production", "time": "2001-01-06T00:00:00Z", "rows": 1, "versions": []int{1},
			"latency_ms": 1, "rollout": "", "error": "failed"}
		m[field] = "a\x00b"
		raw, err := json.Marshal(m)
		require.NoError(t, err)
		broken = append(broken, string(raw))
	}
	for i, r := range broken {
		b.raw("broken-"+strconv.Itoa(i), []byte(r))
	}
	good := fmt.Appendf(nil, `{"model":"delays","environment":"production","time":%q,"rows":1,"versions":[1],"step":0,"latency_ms":1,"predictions":[{"name":"late","values":[0.5]}]}`,
		b.Clock.Now().Format(time.RFC3339))
	b.raw("same", good)
	b.raw("same", good)
	b.Settle(t.Context())
	b.at(7, 0)
	require.Equal(t, int64(1), window(b, 1).Slices[0].Requests)
	var refused int
	require.NoError(t, b.Pool.QueryRow(t.Context(), `SELECT count(*) FROM refused_records`).Scan(&refused))
	require.Equal(t, len(broken), refused)
}
