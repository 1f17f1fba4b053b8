package console_test

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
	"github.com/freshet-io/freshet/services/console"
	"github.com/stretchr/testify/require"
)

const (
	namespace = "default"
	model     = "flight-delays"
)

var (
	at   = time.Date(2001, 1, 7, 0, 0, 0, 0, time.UTC)
	none = event.Event{}
)

// A bundle is a console alone on a log, and the other services' words.
type bundle struct {
	*testkit.Running
	t testing.TB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	language := service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}
	return &bundle{Running: testkit.Service(t, "console", language, console.Module(console.DefaultConfig())), t: t}
}

func object(c string) events.Object {
	d := "sha256:" + strings.Repeat(c, 64)
	return events.Object{Digest: d, URI: "objects:" + d[7:], Size: 10}
}

// then says what another service recorded because of an event; none for a root.
func (b *bundle) then(cause event.Event, e event.Event, err error) event.Event {
	b.t.Helper()
	require.NoError(b.t, err)
	c := eventlog.Cause{}
	if cause.Context != nil {
		c = eventlog.CauseOf(cause)
	}
	return b.Foreign(c, e)[0]
}

func (b *bundle) arrive() event.Event {
	e, err := events.NewDataArrived(namespace, "flights", events.DataArrived{Dataset: "flights", Via: "http",
		Files: []events.ArrivedFile{{Object: object("1"), Format: "parquet", Name: "2001-01-06.parquet"}}, Origin: events.OutsideEvent{Source: "/airline",
			ID: "1", Type: "arrived"}})
	return b.then(none, e, err)
}

func (b *bundle) check(arrived event.Event) event.Event {
	e, err := events.NewDataChecked(namespace, "flights", events.DataChecked{Dataset: "flights", Arrival: arrived.ID(), Rows: 16604, Accepted: 16600,
		Quarantined: 4})
	return b.then(arrived, e, err)
}

func (b *bundle) commit(checked event.Event) event.Event {
	e, err := events.NewDataCommitted(namespace, "flights", events.DataCommitted{Dataset: "flights", Commit: object("2").Digest, Number: 1,
		Manifest: object("2"), Profile: object("3"),
		Added: []events.DataFile{}, Rows: 16600, AddedRows: 16600, Quarantined: 4, Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"flight_id"},
			Time: "date", Zone: "local", Rows: "quarantine"}})
	return b.then(checked, e, err)
}

// register is a version that passed its gates, in the ripple of cause.
func (b *bundle) register(cause event.Event, version int64) event.Event {
	e, err := events.NewModelVersionRegistered(namespace, model, events.ModelVersionRegistered{Model: model, Version: version, Run: "run-1",
		Artifact: object("a"), Profile: object("b"),
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Lineage: events.Lineage{Data: []events.DatasetCommit{},
			Code:        events.CodeRevision{Repository: "flights", Revision: strings.Repeat("c", 40), Archive: object("d")},
			TrainingSet: object("5").Digest, Run: "run-1", Params: map[string]any{"l2": 0.01}, Environment: map[string]string{}, TrainedThrough: at},
		Candidate: events.Measure{Metrics: map[string]float64{"auc": 0.66, "log_loss": 0.49}},
		Naive:     events.Measure{Metrics: map[string]float64{"auc": 0.5, "log_loss": 0.53}},
		Champion:  &events.ChampionMeasure{Version: 1, Metrics: map[string]float64{"auc": 0.64, "log_loss": 0.5}},
		Rows:      16000, From: at, To: at.Add(time.Hour), RequestFields: []events.TypedField{}, Prediction: []events.TypedField{},
		Task: "binary-classification", Label: "delay > 15",
		ExamplesDataset: "flights", Monitor: events.MonitorSpec{Window: events.Duration(time.Hour), PSI: 0.25}})
	b.then(cause, e, err)
	e, err = events.NewCandidatePassed(namespace, model, events.CandidatePassed{Model: model, Version: version,
		Gates: []events.GateResult{{Name: "useful", CEL: "true", Passed: true,
			Values: map[string]float64{"candidate.auc": 0.66}}}})
	return b.then(cause, e, err)
}

func (b *bundle) ask(cause event.Event, version int64) event.Event {
	e, err := events.NewApprovalRequested(namespace, model, events.ApprovalRequested{Model: model, Version: version, Environment: "production"})
	return b.then(cause, e, err)
}

func (b *bundle) approve(cause event.Event, version int64) event.Event {
	e, err := events.NewModelVersionApproved(namespace, model, events.ModelVersionApproved{Model: model, Version: version, Environment: "production",
		By: "person", Artifact: object("a"), Profile: object("b"),
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, RequestFields: []events.TypedField{}, Prediction: []events.TypedField{},
		Task:    "binary-classification",
		Rollout: events.RolloutSpec{Canary: []int64{10}, Requests: 500, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(time.Hour)},
		Monitor: events.MonitorSpec{Window: events.Duration(time.Hour), PSI: 0.25}})
	return b.then(cause, e, err)
}

func (b *bundle) start(cause event.Event, id string, version int64) event.Event {
	e, err := events.NewRolloutStarted(namespace, id, events.RolloutStarted{Rollout: id, Model: model, Environment: "production", Version: version,
		Steps: []int64{10}, Weight: 10, Requests: 500,
		AtLeast: events.Duration(time.Hour), AtMost: events.Duration(time.Hour), Kind: "promotion"})
	return b.then(cause, e, err)
}

func (b *bundle) complete(cause event.Event, id string, version int64) event.Event {
	e, err := events.NewRolloutCompleted(namespace, id, events.RolloutCompleted{Rollout: id, Model: model, Environment: "production", Version: version})
	return b.then(cause, e, err)
}

func (b *bundle) champion(cause event.Event, version int64, previous *int64) event.Event {
	e, err := events.NewChampionChanged(namespace, model, events.ChampionChanged{Model: model, Environment: "production", Version: version, Previous: previous})
	return b.then(cause, e, err)
}

type ripple struct {
	ID, Trigger, Subject, Outcome, Detail string
	RootType                              string `json:"root_type"`
	Events                                int64
	Open                                  bool
	Ended                                 *time.Time
	Items                                 []struct{ ID, Type, Cause, Note, Actor string }
}

func (b *bundle) ripple(e event.Event) ripple {
	b.t.Helper()
	b.Settle(b.t.Context())
	var r ripple
	require.Equal(b.t, 200, b.get("/v1/ripples/"+eventlog.Correlation(e), &r))
	return r
}

func (b *bundle) get(path string, into any) int {
	b.t.Helper()
	r, err := http.Get(b.URL + path)
	require.NoError(b.t, err)
	defer r.Body.Close()
	require.NoError(b.t, json.NewDecoder(r.Body).Decode(into))
	return r.StatusCode
}

type answer struct {
	ID, Ripple, Title, Detail string
	Existing                  bool
	StatusURL                 string `json:"status_url"`
}

// post sends JSON with headers in pairs.
func (b *bundle) post(path, body string, headers ...string) (int, answer) {
	b.t.Helper()
	q, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.URL+path, strings.NewReader(body))
	require.NoError(b.t, err)
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			q.Host = headers[i+1]
			continue
		}
		q.Header.Set(headers[i], headers[i+1])
	}
	r, err := http.DefaultClient.Do(q)
	require.NoError(b.t, err)
	defer r.Body.Close()
	var a answer
	require.NoError(b.t, json.NewDecoder(r.Body).Decode(&a))
	return r.StatusCode, a
}
