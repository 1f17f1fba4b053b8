package training_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/services/training"
	"github.com/stretchr/testify/require"
)

// command makes a model's training a shell script of its repository.
func command(timeout time.Duration) func(*events.ModelSpec) {
	return func(s *events.ModelSpec) {
		s.Training.Builtin, s.Training.Params = "", map[string]any{"depth": 3.0}
		s.Training.Command = []string{"/bin/sh", "train.sh"}
		s.Training.Timeout = events.Duration(timeout)
		s.Training.Runtime = map[string]string{"lock": "tools.lock"}
	}
}

func graph(t *testing.T, weights []float64, columns ...string) string {
	t.Helper()
	zeros, ones := make([]float64, len(columns)), make([]float64, len(columns))
	for i := range ones {
		ones[i] = 1
	}
	b, err := onnx.Logistic(zeros, ones, weights, -1.5, "x", columns)
	require.NoError(t, err)
	return string(b)
}

// trained brings a model to its first training set.
func (w *world) trained(change func(*events.ModelSpec), code map[string]string) event.Event {
	w.t.Helper()
	w.commitData()
	w.declare(change, code)
	requested := w.AwaitType(events.TypeTrainingRequested, 1)
	w.build(requested)
	return requested
}

func TestACommandRunsInTheArchivedCode(t *testing.T) {
	t.Parallel()
	w := start(t)
	good := graph(t, []float64{1.5, 2}, "hours__sin", "share__late")
	w.trained(command(time.Minute), map[string]string{
		"train.sh": `set -e
			job=$(dirname "$FRESHET_JOB")
			grep -q '"depth": 3' "$FRESHET_JOB"
			grep -q '"split": "validation"' "$FRESHET_JOB"
			if grep -q '"split": "test"' "$FRESHET_JOB"; then echo the test split was given; exit 1; fi
			test -s "$job/inputs/train.parquet"; test ! -e "$job/inputs/test.parquet"
			# the first attempt asks for another, which finds what it left
			checkpoint=$(sed -n 's/.*"checkpoint": "\(.*\)".*/\1/p' "$FRESHET_JOB")
			if [ ! -e "$checkpoint/half" ]; then echo half > "$checkpoint/half"; exit 75; fi
			cp model/good.onnx "$job/output/model.onnx"
			echo '{"loss": 0.25, "odd": 1e308}' > "$job/output/metrics.json"`,
		"model/good.onnx": good, "tools.lock": "pinned",
	})
	completed := parse[events.RunCompleted](t, w.AwaitType(events.TypeRunCompleted, 1))
	require.Equal(t, 0.25, completed.Metrics["loss"])
	require.Equal(t, "/bin/sh train.sh", completed.Environment["command"])
	require.Len(t, completed.Environment["lock_sha256"], 64)
	m := parse[events.CandidateMeasured](t, w.AwaitType(events.TypeCandidateMeasured, 1))
	require.Greater(t, m.Candidate.Metrics["auc"], 0.75)
	require.NotContains(t, m.Candidate.Metrics, "loss", "claims are not measurements")
}

func TestRunsThatFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script  string
		files   map[string]string
		timeout time.Duration
		reason  string
		log     string
	}{
		"exit":           {script: "echo what went wrong; exit 4", reason: "exit", log: "what went wrong"},
		"timeout":        {script: "trap '' TERM; while :; do sleep 0.05; done", timeout: time.Second, reason: "timeout", log: "longer than 1s"},
		"nothing left":   {script: "true", reason: "no_model", log: "left no model.onnx"},
		"no ONNX":        {script: `echo junk > "$(dirname "$FRESHET_JOB")/output/model.onnx"`, reason: "bad_model", log: "malformed"},
		"link elsewhere": {script: `ln -s /etc/passwd "$(dirname "$FRESHET_JOB")/output/model.onnx"`, reason: "no_model", log: "no regular file"},
		"other columns":  {script: `cp m.onnx "$(dirname "$FRESHET_JOB")/output/model.onnx"`, reason: "bad_model", log: "takes 1 columns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			if c.timeout == 0 {
				c.timeout = time.Minute
			}
			w.trained(command(c.timeout), map[string]string{"train.sh": c.script, "m.onnx": graph(t, []float64{1}, "other")})
			failed := parse[events.RunFailed](t, w.AwaitType(events.TypeRunFailed, 1))
			require.Equal(t, c.reason, failed.Reason)
			require.NotNil(t, failed.Log)
			w.Settle(t.Context())
			status, log := w.get("/v1/runs/" + failed.Run + "/log")
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, log, c.log)
			_, run := w.get("/v1/runs/" + failed.Run)
			require.Contains(t, run, `"status":"failed","reason":"`+c.reason+`"`)
		})
	}
}

func TestACancelledRunEndsAndLetsTheNextOneIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.trained(command(time.Minute), map[string]string{"train.sh": "echo waiting; while :; do sleep 0.05; done"})
	started := parse[events.RunStarted](t, w.AwaitType(events.TypeRunStarted, 1))
	require.Eventually(t, func() bool { // the log can be read while the job runs
		_, log := w.get("/v1/runs/" + started.Run + "/log")
		return strings.Contains(log, "waiting")
	}, time.Minute, 10*time.Millisecond)

	// A code change meanwhile has to wait for the end.
	w.declare(nil, nil)
	skipped := parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 1))
	require.Equal(t, "running", skipped.Reason)

	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/v1/runs/"+started.Run+"/cancel", nil)
	require.NoError(t, err)
	q.Header.Set("Freshet-Actor", "u-17")
	answer, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "u-17", eventlog.Actor(w.AwaitType(events.TypeCancelAsked, 1)))
	cancelled := w.AwaitType(events.TypeRunCancelled, 1)
	require.Equal(t, started.Run, parse[events.RunCancelled](t, cancelled).Run)
	next := w.AwaitType(events.TypeTrainingRequested, 2)
	require.Equal(t, "code", parse[events.TrainingRequested](t, next).Trigger)
	require.NotEmpty(t, parse[events.TrainingRequested](t, next).Spec.Training.Builtin, "the newest code")
	w.build(next)
	w.AwaitType(events.TypeCandidateMeasured, 1)
	w.Settle(t.Context())
	_, run := w.get("/v1/runs/" + started.Run)
	require.Contains(t, run, `"status":"cancelled"`)
	answer, err = http.Post(w.URL+"/v1/runs/"+started.Run+"/cancel", "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusConflict, answer.StatusCode)
}

func TestTooLittleDataIsVisibleAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.commitData()
	w.declare(nil, nil)
	requested := w.AwaitType(events.TypeTrainingRequested, 1)
	const words = "the training split has 3 rows"
	detail := w.object([]byte(words))
	w.Foreign(eventlog.CauseOf(requested), must[event.Event](t)(events.NewTrainingSetFailed("default", model, events.TrainingSetFailed{
		Model: model, Request: requested.ID(), Reason: "too_little_data", Detail: &detail})))
	failed := parse[events.RunFailed](t, w.AwaitType(events.TypeRunFailed, 1))
	require.Equal(t, "training_set", failed.Reason)
	w.Settle(t.Context())
	_, run := w.get("/v1/runs/" + requested.ID())
	require.Contains(t, run, "training_set: too_little_data")
	require.Contains(t, run, `"detail":"`+words+`"`)
	status, printed := w.get("/v1/runs/" + requested.ID() + "/log")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, words, printed)

	// No second try on the same data; the next commit is tried at once, as code.
	data := w.commitData()
	again := w.AwaitType(events.TypeTrainingRequested, 2)
	require.Equal(t, data.ID(), eventlog.Causation(again))
	require.Equal(t, "code", parse[events.TrainingRequested](t, again).Trigger)
}

func TestTheChampionIsMeasuredOnTheSameRows(t *testing.T) {
	t.Parallel()
	w := start(t)
	requested := w.trained(nil, nil)
	first := parse[events.CandidateMeasured](t, w.AwaitType(events.TypeCandidateMeasured, 1))
	version := func(n int64, through time.Time, columns []events.FeatureColumn) {
		w.Foreign(eventlog.CauseOf(requested),
			must[event.Event](t)(events.NewModelVersionRegistered("default", model, events.ModelVersionRegistered{
				Model: model, Version: n, Run: first.Run, Artifact: first.Artifact, Profile: first.Profile, Columns: columns, Uses: first.Uses,
				Lineage: func() events.Lineage { l := first.Lineage; l.TrainedThrough = through; return l }(), Candidate: first.Candidate,
				Naive: first.Naive, Rows: first.Rows, From: first.From, To: first.To, RequestFields: first.RequestFields, Prediction: first.Prediction,
				Task: first.Task, Label: first.Label, ExamplesDataset: first.ExamplesDataset, Monitor: first.Monitor})),
			must[event.Event](t)(events.NewChampionChanged("default", model, events.ChampionChanged{Model: model, Environment: "production", Version: n})))
	}
	asked := 1
	again := func() events.CandidateMeasured {
		asked++
		w.Foreign(eventlog.Cause{}, must[event.Event](t)(events.NewTrainingAsked("default", model, events.TrainingAsked{Model: model})))
		w.build(w.AwaitType(events.TypeTrainingRequested, asked))
		return parse[events.CandidateMeasured](t, w.AwaitType(events.TypeCandidateMeasured, asked))
	}

	// Half of the test day is new to a champion that was trained through noon.
	version(1, day0.AddDate(0, 0, 3).Add(12*time.Hour), first.Columns)
	m := again()
	require.EqualValues(t, 1, m.Champion.Version)
	require.EqualValues(t, 300, m.Rows)
	require.Equal(t, day0.AddDate(0, 0, 3).Add(12*time.Hour), m.From)
	require.Equal(t, m.Candidate.Metrics, m.Champion.Metrics, "the same job on the same data")

	// Nothing is new to one that was trained on all of it: no comparison.
	version(2, day0.AddDate(0, 0, 9), first.Columns)
	m = again()
	require.EqualValues(t, 600, m.Rows)
	require.Empty(t, m.Champion.Metrics)

	// One that needs a feature which the candidate dropped cannot be compared.
	other := append([]events.FeatureColumn{{Name: "gone__x", View: "gone", Version: 1, Feature: "x"}}, first.Columns...)
	version(3, day0, other)
	m = again()
	require.Empty(t, m.Champion.Metrics)
	require.NotEmpty(t, m.Candidate.Metrics)
}

func TestADayOfTicksMakesOneTrainingEach(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.commitData()
	w.declare(func(s *events.ModelSpec) {
		s.Retrain.When, s.Retrain.Schedule = []string{"schedule"}, "0 */6 * * *"
	}, nil)
	require.Equal(t, "not_asked_for", parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 1)).Reason)
	w.Clock.Set(day0.Add(6 * time.Hour))
	tick := w.AwaitType(events.TypeScheduleTicked, 1)
	require.Equal(t, day0.Add(6*time.Hour), parse[events.ScheduleTicked](t, tick).Tick)
	require.Empty(t, eventlog.Causation(tick), "a tick is a root")
	requested := w.AwaitType(events.TypeTrainingRequested, 1)
	require.Equal(t, "schedule", parse[events.TrainingRequested](t, requested).Trigger)
	require.Equal(t, day0.Add(6*time.Hour), parse[events.TrainingRequested](t, requested).AsOf)
	w.Settle(t.Context())

	// A long absence: one tick for all that were missed, and the next says how many.
	w.Clock.Set(day0.Add(31 * time.Hour))
	late := parse[events.ScheduleTicked](t, w.AwaitType(events.TypeScheduleTicked, 2))
	require.Equal(t, day0.Add(12*time.Hour), late.Tick)
	w.Settle(t.Context())
	w.Clock.Set(day0.Add(36 * time.Hour))
	next := parse[events.ScheduleTicked](t, w.AwaitType(events.TypeScheduleTicked, 3))
	require.Equal(t, day0.Add(36*time.Hour), next.Tick)
	require.EqualValues(t, 3, next.Missed)
}

func TestDriftAsksOnceAndIsRefusedByTheRules(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *training.Config) { c.Jobs = 2 })
	w.trained(nil, nil)
	w.AwaitType(events.TypeCandidateMeasured, 1)
	drift := func() {
		w.Foreign(eventlog.Cause{}, must[event.Event](t)(events.NewDriftDetected("default", model, events.DriftDetected{
			Model: model, Environment: "production", Version: 1, Column: "share__late", Kind: "feature", PSI: 0.4, Threshold: 0.25, From: day0,
			To: day0.Add(time.Hour)})))
	}
	drift()
	require.Equal(t, events.TrainingSkipped{Model: model, Trigger: "drift", Reason: "cooldown"},
		parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 1)))
	w.Clock.Set(day0.Add(2 * time.Hour))
	drift()
	require.Equal(t, "drift", parse[events.TrainingRequested](t, w.AwaitType(events.TypeTrainingRequested, 2)).Trigger)
	drift()
	require.Equal(t, "running", parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 2)).Reason)
	w.commitData()
	require.Equal(t, "waiting_for_commits", parse[events.TrainingSkipped](t, w.AwaitType(events.TypeTrainingSkipped, 3)).Reason)
}
