package training_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/training"
	"github.com/stretchr/testify/require"
)

// Jobs are launched by the running binary: here, the test's.
func TestMain(m *testing.M) {
	if training.RunBuiltin() {
		return
	}
	os.Exit(m.Run())
}

const model = "late"

var day0 = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)

type world struct {
	*testkit.Running
	t       *testing.T
	commits int64
}

func start(t *testing.T, change ...func(*training.Config)) *world {
	t.Helper()
	cfg := training.DefaultConfig()
	cfg.Grace = 300 * time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	return &world{t: t, Running: testkit.Service(t, "training",
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}, training.Module(cfg))}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func (w *world) object(b []byte) events.Object {
	w.t.Helper()
	ref, err := w.Objects.PutBytes(w.t.Context(), b)
	require.NoError(w.t, err)
	return events.ObjectOf(ref.Digest, ref.Size, "")
}

func (w *world) declare(change func(*events.ModelSpec), code map[string]string) event.Event {
	w.t.Helper()
	spec := events.ModelSpec{
		Model: model, Task: "binary-classification",
		Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15", LabelWait: events.Duration(48 * time.Hour),
			Validation: events.Duration(24 * time.Hour), Test: events.Duration(24 * time.Hour)},
		Features: []events.ViewUse{}, Request: []events.TypedField{}, Prediction: []events.TypedField{{Name: "late", Type: "float"}},
		Training: events.TrainingSpec{Builtin: "logistic-regression", CPU: 1, MemoryBytes: 2 << 30, Timeout: events.Duration(time.Minute),
			Params: map[string]any{"l2": 0.01}},
		Metrics: []string{"auc"}, Slices: []string{"origin"}, Gates: []events.Rule{},
		Environments: []events.EnvironmentSpec{{Environment: "production", Approve: "auto", Rollout: events.RolloutSpec{Canary: []int64{}}}},
		Monitor:      events.MonitorSpec{Window: events.Duration(time.Hour), PSI: 0.25},
		Retrain: events.RetrainSpec{When: []string{"data", "code", "drift"}, DataCommits: 2,
			Cooldown: events.Duration(time.Hour), PerDay: 10, GiveUpAfter: 5},
		Mode: "act",
	}
	if change != nil {
		change(&spec)
	}
	draft := must[event.Event](w.t)(events.NewModelDeclared("default", model, events.ModelDeclared{
		Model: model, Spec: spec, SpecDigest: "sha256:" + strings.Repeat("a", 64), TrainingChanged: true,
		Code: events.CodeRevision{Repository: "models", Revision: strings.Repeat("c", 40), Archive: w.object(archive(w.t, code))},
	}))
	return w.Foreign(eventlog.Cause{}, draft)[0]
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	a := tar.NewWriter(z)
	for name, text := range files {
		require.NoError(t, a.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := a.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, a.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func (w *world) commitData() event.Event {
	w.t.Helper()
	w.commits++
	some := w.object([]byte("manifest"))
	draft := must[event.Event](w.t)(events.NewDataCommitted("default", "flights", events.DataCommitted{
		Dataset: "flights", Commit: "sha256:" + strings.Repeat("d", 63) + string(rune('0'+w.commits%10)), Number: w.commits, Manifest: some, Profile: some,
		Added: []events.DataFile{}, Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"id"}, Time: "date", Zone: "local", Rows: "quarantine"},
	}))
	return w.Foreign(eventlog.Cause{}, draft)[0]
}

// build answers a request with a training set whose label depends on its columns:
// two days to train on, one to validate, one to test.
func (w *world) build(request event.Event) event.Event {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"hours__sin", "share__late"}
	var splits []events.Split
	profile := &statistics.Profile{}
	for i, s := range []struct {
		name string
		days int
	}{{"train", 2}, {"validation", 1}, {"test", 1}} {
		from := day0.AddDate(0, 0, []int{0, 2, 3}[i])
		n := 600 * s.days
		var times []int64
		var origins []string
		var a, b, label []float64
		for k := range n {
			times = append(times, from.Add(time.Duration(k)*24*time.Hour*time.Duration(s.days)/time.Duration(n)).UnixMicro())
			origins = append(origins, []string{"JFK", "ORD", "DEN"}[k%3])
			x, y := rng.NormFloat64(), rng.Float64()
			a, b = append(a, x), append(b, y)
			p := 1 / (1 + math.Exp(-(1.5*x + 2*y - 1.5)))
			late := 0.0
			if rng.Float64() < p {
				late = 1
			}
			label = append(label, late)
		}
		table := must[*parquet.Table](w.t)(parquet.NewTable(
			parquet.Column{Name: "date", Kind: parquet.Time, Times: times}, parquet.Column{Name: "origin", Kind: parquet.String, Strings: origins},
			parquet.Column{Name: names[0], Kind: parquet.Float, Floats: a}, parquet.Column{Name: names[1], Kind: parquet.Float, Floats: b},
			parquet.Column{Name: "label", Kind: parquet.Float, Floats: label}))
		var file bytes.Buffer
		require.NoError(w.t, parquet.Write(&file, table))
		splits = append(splits, events.Split{Name: s.name, File: w.object(file.Bytes()), Rows: int64(n), From: from, To: from.AddDate(0, 0, s.days)})
		if s.name == "train" {
			profile = &statistics.Profile{Rows: int64(n), Columns: []*statistics.Column{
				statistics.Numbers(names[0], a, nil, 20), statistics.Numbers(names[1], b, nil, 20)}}
		}
	}
	encoded := must[[]byte](w.t)(profile.Encode())
	draft := must[event.Event](w.t)(events.NewTrainingSetBuilt("default", model, events.TrainingSetBuilt{
		TrainingSet: "ts-1", Model: model, Request: request.ID(), Data: []events.DatasetCommit{}, Uses: []events.FeatureUse{},
		Columns: []events.FeatureColumn{{Name: names[0], View: "hours", Version: 1, Feature: "sin"}, {Name: names[1], View: "share", Version: 1, Feature: "late"}},
		Splits:  splits, Profile: w.object(encoded), Label: "delay > 15", Naive: 0.45,
	}))
	return w.Foreign(eventlog.CauseOf(request), draft)[0]
}

func parse[P any](t *testing.T, e event.Event) (p P) {
	t.Helper()
	require.NoError(t, json.Unmarshal(e.Data(), &p))
	return p
}

func (w *world) get(path string) (int, string) {
	w.t.Helper()
	answer, err := http.Get(w.URL + path)
	require.NoError(w.t, err)
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	require.NoError(w.t, err)
	return answer.StatusCode, string(b)
}

func TestACodeChangeWaitsForDataAndIsTrainedOn(t *testing.T) {
	t.Parallel()
	w := start(t)
	declared := w.declare(nil, nil)
	skipped := parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 1))
	require.Equal(t, events.TrainingSkipped{Model: model, Trigger: "code", Reason: "no_data"}, skipped)

	data := w.commitData()
	requested := w.AwaitType(events.TypeTrainingRequested, 1)
	p := parse[events.TrainingRequested](t, requested)
	require.Equal(t, "code", p.Trigger)
	require.Equal(t, []string{declared.ID(), data.ID()}, p.Contributors)
	require.Equal(t, data.ID(), eventlog.Causation(requested))

	w.build(requested)
	measured := w.AwaitType(events.TypeCandidateMeasured, 1)
	m := parse[events.CandidateMeasured](t, measured)
	started := parse[events.RunStarted](t, w.AwaitType(events.TypeRunStarted, 1))
	require.Equal(t, started.Run, m.Run)
	require.Nil(t, m.Champion)
	require.EqualValues(t, 600, m.Rows)
	require.Greater(t, m.Candidate.Metrics["auc"], 0.75)
	require.Equal(t, 0.5, m.Naive.Metrics["auc"])
	require.Less(t, m.Candidate.Metrics["log_loss"], m.Naive.Metrics["log_loss"])
	require.Len(t, m.Slices, 3)
	require.Equal(t, day0.AddDate(0, 0, 3), m.Lineage.TrainedThrough)
	require.Equal(t, "logistic-regression", m.Lineage.Environment["builtin"])
	require.Equal(t, eventlog.Correlation(data), eventlog.Correlation(measured))

	// The artifact is the model that was measured; the profile knows its predictions.
	b, err := w.Objects.Get(t.Context(), m.Artifact.Digest, 1<<20)
	require.NoError(t, err)
	g, err := onnx.Load(b)
	require.NoError(t, err)
	require.Equal(t, []string{"hours__sin", "share__late"}, g.ColumnNames())
	b, err = w.Objects.Get(t.Context(), m.Profile.Digest, 1<<20)
	require.NoError(t, err)
	profile, err := statistics.ParseProfile(b)
	require.NoError(t, err)
	require.EqualValues(t, 1200, profile.Column(statistics.PredictionColumn).Count)
	require.NotNil(t, profile.Column("hours__sin"))

	status, log := w.get("/v1/runs/" + m.Run + "/log")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, log, "converged in")
	w.Settle(t.Context())
	_, run := w.get("/v1/runs/" + m.Run)
	require.Contains(t, run, `"status":"measured"`)
	_, list := w.get("/v1/runs?model=" + model)
	require.Contains(t, list, `"items":[{"run":"`+m.Run)
	status, _ = w.get("/v1/runs/nothing")
	require.Equal(t, http.StatusNotFound, status)
}
