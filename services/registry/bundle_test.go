package registry_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/registry"
	"github.com/stretchr/testify/require"
)

const namespace = "default"

var language = service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}

// A bundle is a registry alone on a log, and the other services' words.
type bundle struct {
	*testkit.Running
	t testing.TB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	return &bundle{Running: testkit.Service(t, "registry", language, registry.Module(registry.DefaultConfig())), t: t}
}

func object(c string) events.Object {
	d := "sha256:" + strings.Repeat(c, 64)
	return events.Object{Digest: d, URI: "objects:" + d, Size: 10}
}

func rollout(canary ...int64) events.RolloutSpec {
	if canary == nil {
		canary = []int64{}
	}
	return events.RolloutSpec{Canary: canary, Requests: 500, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(24 * time.Hour)}
}

var at = time.Date(2001, 1, 7, 0, 0, 0, 0, time.UTC)

// measured is a candidate of a model with staging by rule and production by a person.
func measured(model, run string, change func(*events.CandidateMeasured)) events.CandidateMeasured {
	p := events.CandidateMeasured{
		Run: run, Model: model, Request: "request-" + run, Trigger: "data", SpecDigest: object("1").Digest,
		Artifact: object("a"), Profile: object("b"), Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{},
		Lineage: events.Lineage{Data: []events.DatasetCommit{}, Code: events.CodeRevision{Repository: "flights", Revision: strings.Repeat("c", 40),
			Archive: object("d")},
			TrainingSet: object("e").Digest, Run: run, Params: map[string]any{"l2": 0.01}, Seed: 7, Environment: map[string]string{"go": "1.26"}, TrainedThrough: at},
		Rows: 1000, From: at, To: at.Add(24 * time.Hour),
		Candidate: events.Measure{Metrics: map[string]float64{"auc": 0.66, "log_loss": 0.49}},
		Naive:     events.Measure{Metrics: map[string]float64{"auc": 0.5, "log_loss": 0.53}},
		Gates: []events.Rule{{Name: "useful", CEL: "candidate.auc > naive.auc + 0.05"},
			{Name: "better", CEL: "champion == null || candidate.log_loss < champion.log_loss"}},
		Environments: []events.EnvironmentSpec{
			{Environment: "staging", Approve: "auto", Rollout: rollout()},
			{Environment: "production", Approve: "approver", Rollout: rollout(10, 50), RollbackIf: []events.Rule{{Name: "errors", CEL: "candidate.error_rate > 0.01"}}},
		},
		Monitor: events.MonitorSpec{Window: events.Duration(24 * time.Hour), PSI: 0.25}, RequestFields: []events.TypedField{{Name: "flight_id", Type: "string"}},
		Prediction: []events.TypedField{{Name: "late", Type: "float"}}, Task: "binary-classification", Label: "delay > 15", ExamplesDataset: "flights", Mode: "act",
	}
	if change != nil {
		change(&p)
	}
	return p
}

func (b *bundle) say(e event.Event, err error) event.Event {
	b.t.Helper()
	require.NoError(b.t, err)
	return b.Foreign(eventlog.Cause{}, e)[0]
}

func (b *bundle) measure(p events.CandidateMeasured) event.Event {
	b.t.Helper()
	return b.say(events.NewCandidateMeasured(namespace, p.Model, p))
}

// settle waits until everything was applied and returns the registry's decisions
// because of an event, in their order.
func (b *bundle) because(e event.Event) []event.Event {
	b.t.Helper()
	b.Settle(b.t.Context())
	var out []event.Event
	for _, d := range b.Events() {
		if eventlog.Causation(d) == e.ID() {
			out = append(out, d)
		}
	}
	return out
}

func short(es []event.Event) []string {
	names := make([]string, len(es))
	for i, e := range es {
		names[i] = e.Type()[strings.LastIndexByte(e.Type(), '.')+1:]
	}
	return names
}

func parse[P any](t testing.TB, e event.Event) P {
	t.Helper()
	var p P
	require.NoError(t, json.Unmarshal(e.Data(), &p))
	return p
}

// complete says that a rollout of a version completed, after it started.
func (b *bundle) complete(model, environment string, version int64, kind, id string) event.Event {
	b.t.Helper()
	started := b.say(events.NewRolloutStarted(namespace, id, events.RolloutStarted{Rollout: id, Model: model, Environment: environment, Version: version,
		Steps: []int64{}, Weight: 100, Requests: 500, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(time.Hour), Kind: kind}))
	e, err := events.NewRolloutCompleted(namespace, id, events.RolloutCompleted{Rollout: id, Model: model, Environment: environment, Version: version})
	require.NoError(b.t, err)
	return b.Foreign(eventlog.CauseOf(started), e)[0]
}

func (b *bundle) get(path string, into any) int {
	b.t.Helper()
	r, err := http.Get(b.URL + path)
	require.NoError(b.t, err)
	defer r.Body.Close()
	require.NoError(b.t, json.NewDecoder(r.Body).Decode(into))
	return r.StatusCode
}
