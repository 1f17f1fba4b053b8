package audit_test

import (
	"bufio"
	"bytes"
	"context"
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
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	namespace = "default"
	model     = "flight-delays"
)

var (
	at       = time.Date(2001, 1, 7, 0, 0, 0, 0, time.UTC)
	revision = strings.Repeat("c", 40)
)

type bundle struct {
	*testkit.Running
	t testing.TB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	language := service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}
	return &bundle{Running: testkit.Service(t, "audit", language, audit.Module(audit.DefaultConfig())), t: t}
}

func object(c string) events.Object {
	d := "sha256:" + strings.Repeat(c, 64)
	return events.Object{Digest: d, URI: "objects:" + d, Size: 10}
}

// then says what another service recorded because of an event; a zero one for a root.
func (b *bundle) then(cause event.Event, e event.Event, err error) event.Event {
	b.t.Helper()
	require.NoError(b.t, err)
	c := eventlog.Cause{}
	if cause.Context != nil {
		c = eventlog.CauseOf(cause)
	}
	return b.Foreign(c, e)[0]
}

func (b *bundle) get(path string) (int, http.Header, []byte) {
	b.t.Helper()
	r, err := http.Get(b.URL + path)
	require.NoError(b.t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	return r.StatusCode, r.Header, body
}

// raw are the log's messages, as they are.
func (b *bundle) raw() [][]byte {
	b.t.Helper()
	js, err := jetstream.New(b.NATS)
	require.NoError(b.t, err)
	s, err := js.Stream(b.t.Context(), testkit.Stream)
	require.NoError(b.t, err)
	out := make([][]byte, s.CachedInfo().State.LastSeq)
	for i := range out {
		m, err := s.GetMsg(b.t.Context(), uint64(i+1))
		require.NoError(b.t, err)
		out[i] = m.Data
	}
	return out
}

// trimArchive deletes the archive's records up to an event.
func (b *bundle) trimArchive(sequence int64) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Broker))
	require.NoError(b.t, err)
	defer client.Close()
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = sequence // the first event is at offset 0
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = archive.Topic, []kmsg.DeleteRecordsRequestTopicPartition{partition}
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis, request.Topics = 10_000, []kmsg.DeleteRecordsRequestTopic{topic}
	answer, err := request.RequestWith(b.t.Context(), client)
	require.NoError(b.t, err)
	require.NoError(b.t, kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode))
}

// scenario is all that led to a champion: a data commit and a code commit, a training,
// gates, a canary judged on a window of its own, a person.
func (b *bundle) scenario() (champion event.Event) {
	none := event.Event{}
	note, err := b.Objects.PutBytes(b.t.Context(), []byte("rain matters"))
	require.NoError(b.t, err)
	hypothesis := events.ObjectOf(note.Digest, note.Size, "")
	code := events.CodeRevision{Repository: "flights", Revision: revision, Archive: object("d")}
	e, err := events.NewCodePushed(namespace, "flights", events.CodePushed{Repository: "flights", URL: "/tmp/flights", Branch: "main",
		Revision: revision, Via: "watch"})
	pushed := b.then(none, e, err)
	e, err = events.NewCodeCommitted(namespace, "flights", events.CodeCommitted{Repository: "flights", Branch: "main", Revision: revision, Archive: object("d"),
		Views: []events.ViewSpec{}, Datasets: []events.DatasetSpec{}, Models: []string{model}, Hypothesis: &hypothesis})
	b.then(pushed, e, err)

	e, err = events.NewDataArrived(namespace, "flights", events.DataArrived{Dataset: "flights", Via: "http",
		Files:  []events.ArrivedFile{{Object: object("1"), Format: "parquet", Name: "2001-01-06.parquet"}},
		Origin: events.OutsideEvent{Source: "/airline", ID: "1", Type: "arrived"}})
	arrived := b.then(none, e, err)
	e, err = events.NewDataCommitted(namespace, "flights", events.DataCommitted{Dataset: "flights", Commit: object("2").Digest, Number: 1,
		Manifest: object("2"), Profile: object("3"),
		Added: []events.DataFile{}, Rows: 16600, AddedRows: 16600, Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"flight_id"}, Time: "date",
			Zone: "local", Rows: "quarantine"}})
	committed := b.then(arrived, e, err)

	data := []events.DatasetCommit{{Dataset: "flights", Commit: object("2").Digest, Number: 1, Event: committed.ID()}}
	e, err = events.NewTrainingRequested(namespace, model, events.TrainingRequested{Model: model, Trigger: "data", Code: code, Data: data, Spec: spec(),
		SpecDigest: object("4").Digest, Seed: 7, AsOf: at,
		Contributors: []string{committed.ID()}})
	requested := b.then(committed, e, err)
	e, err = events.NewTrainingSetBuilt(namespace, model, events.TrainingSetBuilt{TrainingSet: object("5").Digest, Model: model, Request: requested.ID(),
		Data:    data,
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{},
		Splits:  []events.Split{{Name: "train", File: object("6"), Rows: 12000, From: at, To: at.Add(time.Hour)}},
		Profile: object("7"), Label: "delay > 15", Naive: 0.2, Contributors: []string{committed.ID()}})
	built := b.then(requested, e, err)
	e, err = events.NewCandidateMeasured(namespace, model, events.CandidateMeasured{Run: "run-1", Model: model, Request: requested.ID(), Trigger: "data",
		SpecDigest: object("4").Digest,
		Artifact:   object("a"), Profile: object("b"), Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Lineage: lineage(code, data),
		Rows: 16000, From: at, To: at.Add(time.Hour),
		Candidate: events.Measure{Metrics: map[string]float64{"auc": 0.66}}, Naive: events.Measure{Metrics: map[string]float64{"auc": 0.5}},
		Gates: []events.Rule{}, Environments: []events.EnvironmentSpec{}, Monitor: monitor(), RequestFields: []events.TypedField{}, Prediction: []events.TypedField{},
		Task: "binary-classification", Label: "delay > 15", ExamplesDataset: "flights", Mode: "act"})
	measured := b.then(built, e, err)
	e, err = events.NewModelVersionRegistered(namespace, model, events.ModelVersionRegistered{Model: model, Version: 1, Run: "run-1",
		Artifact: object("a"), Profile: object("b"),
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Lineage: lineage(code, data),
		Candidate: events.Measure{Metrics: map[string]float64{"auc": 0.66}},
		Naive:     events.Measure{Metrics: map[string]float64{"auc": 0.5}}, Rows: 16000, From: at, To: at.Add(time.Hour),
		RequestFields: []events.TypedField{}, Prediction: []events.TypedField{},
		Task: "binary-classification", Label: "delay > 15", ExamplesDataset: "flights", Monitor: monitor()})
	b.then(measured, e, err)
	e, err = events.NewCandidatePassed(namespace, model, events.CandidatePassed{Model: model, Version: 1,
		Gates: []events.GateResult{{Name: "useful", CEL: "candidate.auc > naive.auc", Passed: true,
			Values: map[string]float64{"candidate.auc": 0.66, "naive.auc": 0.5}}}})
	b.then(measured, e, err)
	e, err = events.NewApprovalRequested(namespace, model, events.ApprovalRequested{Model: model, Version: 1, Environment: "production"})
	asked := b.then(measured, e, err)
	e, err = events.NewApprovalGiven(namespace, model, events.ApprovalGiven{Model: model, Version: 1, Environment: "production"})
	if err == nil {
		e.SetExtension("actor", "ada")
	}
	given := b.then(asked, e, err)
	e, err = events.NewModelVersionApproved(namespace, model, events.ModelVersionApproved{Model: model, Version: 1, Environment: "production",
		By: "person", Artifact: object("a"), Profile: object("b"),
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, RequestFields: []events.TypedField{}, Prediction: []events.TypedField{},
		Task:    "binary-classification",
		Rollout: events.RolloutSpec{Canary: []int64{10}, Requests: 500, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(time.Hour)}, Monitor: monitor()})
	approved := b.then(given, e, err)
	e, err = events.NewRolloutStarted(namespace, "r1", events.RolloutStarted{Rollout: "r1", Model: model, Environment: "production", Version: 1,
		Steps: []int64{10}, Weight: 10, Requests: 500,
		AtLeast: events.Duration(time.Hour), AtMost: events.Duration(time.Hour), Kind: "promotion"})
	b.then(approved, e, err)
	// The canary's window is a root of its own.
	e, err = events.NewWindowClosed(namespace, model, events.WindowClosed{Model: model, Environment: "production", Kind: "canary", From: at,
		To: at.Add(time.Hour), Rollout: "r1",
		Slices: []events.WindowSlice{{Version: 1, Role: "candidate", Requests: 600}}, Drift: []events.ColumnDrift{}})
	window := b.then(none, e, err)
	e, err = events.NewCanaryJudged(namespace, "r1", events.CanaryJudged{Rollout: "r1", Model: model, Environment: "production", Version: 1, Step: 0,
		Verdict: "pass", Rules: []events.GateResult{}})
	judged := b.then(window, e, err)
	e, err = events.NewRolloutCompleted(namespace, "r1", events.RolloutCompleted{Rollout: "r1", Model: model, Environment: "production", Version: 1})
	completed := b.then(judged, e, err)
	e, err = events.NewChampionChanged(namespace, model, events.ChampionChanged{Model: model, Environment: "production", Version: 1})
	return b.then(completed, e, err)
}

func monitor() events.MonitorSpec {
	return events.MonitorSpec{Window: events.Duration(24 * time.Hour), PSI: 0.25}
}

func lineage(code events.CodeRevision, data []events.DatasetCommit) events.Lineage {
	return events.Lineage{Data: data, Code: code, TrainingSet: object("5").Digest, Run: "run-1", Params: map[string]any{"l2": 0.01}, Seed: 7,
		Environment: map[string]string{}, TrainedThrough: at}
}

func spec() events.ModelSpec {
	return events.ModelSpec{Model: model, Task: "binary-classification", Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15"},
		Features: []events.ViewUse{},
		Request:  []events.TypedField{}, Prediction: []events.TypedField{}, Training: events.TrainingSpec{Builtin: "logistic-regression", CPU: 1,
			MemoryBytes: 1 << 30},
		Metrics: []string{"auc"}, Gates: []events.Rule{}, Environments: []events.EnvironmentSpec{}, Monitor: monitor(),
		Retrain: events.RetrainSpec{When: []string{"data"}}, Mode: "act"}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	champion := b.scenario()
	b.Settle(t.Context())
	status, _, body := b.get("/v1/why/production/flight-delays")
	require.Equal(t, 200, status, string(body))
	var answer graph
	require.NoError(t, json.Unmarshal(body, &answer))
	require.Equal(t, "production serves flight-delays v1 since 2001-01-06 00:00", answer.Title)
	require.Equal(t, champion.ID(), answer.Event)
	require.Equal(t, []string{"champion_changed", "rollout_completed", "canary_judged", "window_closed", "rollout_started", "model_version_approved",
		"approval_given", "approval_requested", "candidate_passed", "model_version_registered", "candidate_measured", "training_set_built", "training_requested",
		"data_committed", "data_arrived", "code_committed", "code_pushed"}, answer.types())
	texts := answer.texts()
	require.Equal(t, "ada", answer.Nodes[6].Actor)
	require.Contains(t, texts, "ada approved v1 for production")
	require.Contains(t, texts, "v1 passed every gate: useful (candidate.auc 0.66, naive.auc 0.5)")
	require.Contains(t, texts, "it was measured on 16,000 rows that none was trained on, 2001-01-07 00:00 to 2001-01-07 01:00: auc 0.66 (naive 0.5)")
	require.Contains(t, texts, "data arrived for flights over http: 2001-01-06.parquet")
	require.Contains(t, texts, `code commit cccccccc of flights, branch main: "rain matters"`)
	require.True(t, answer.has("rollout_completed", "rollout_started", "rollout"), "it goes on behind the window's own root")
	require.True(t, answer.has("training_requested", "code_committed", "code"))
	require.Equal(t, []string{`cccccccc of flights, branch main: "rain matters"`}, answer.facts("code"))

	version := b.graph("/v1/why/flight-delays@1")
	require.Equal(t, []string{"for production by ada, at 2001-01-06 00:00"}, version.facts("approved"))
	require.Equal(t, []string{"100 % of production, champion since 2001-01-06 00:00"}, version.facts("serves"))
	require.Equal(t, "champion_changed", version.types()[0])

	status, _, _ = b.get("/v1/why/staging/flight-delays")
	require.Equal(t, 404, status)
	status, _, _ = b.get("/v1/why/production/flight-delays?at=2000-12-31T00:00:00Z")
	require.Equal(t, 404, status, "nothing served then")
	status, _, _ = b.get("/v1/why/production/flight-delays?at=yesterday")
	require.Equal(t, 400, status)
}

func TestEventsAreShownAsTheyAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	b.Settle(t.Context())
	raw := b.raw()
	log := b.Events()

	for i, e := range log {
		status, header, body := b.get("/v1/events/" + e.ID())
		require.Equal(t, 200, status)
		require.Equal(t, string(raw[i]), string(body))
		require.Equal(t, "application/cloudevents+json", header.Get("Content-Type"))
	}
	status, header, body := b.get("/v1/events/replay")
	require.Equal(t, 200, status)
	require.Equal(t, "application/x-ndjson", header.Get("Content-Type"))
	require.Equal(t, string(bytes.Join(raw, []byte("\n")))+"\n", string(body))
	_, _, body = b.get("/v1/events/replay?from=3&to=5")
	require.Equal(t, string(bytes.Join(raw[2:5], []byte("\n")))+"\n", string(body))
	_, _, body = b.get(fmt.Sprintf("/v1/events/replay?from=%d&to=9999", len(raw)))
	require.Equal(t, string(raw[len(raw)-1])+"\n", string(body))
	for query, says := range map[string]string{"from=x": "from 1", "from=0": "from 1", "from=900": "from is 900; the log goes from 1 to %d",
		"from=10&to=5": "from is 10 and to is 5; the log goes from 1 to %d"} {
		status, _, body = b.get("/v1/events/replay?" + query)
		require.Equal(t, 400, status, query)
		require.Contains(t, string(body), strings.Replace(says, "%d", strconv.Itoa(len(raw)), 1))
	}

	var list struct {
		Items []struct {
			Sequence                int64
			ID, Type, Ripple, Cause string
		}
	}
	_, _, body = b.get("/v1/events?limit=1000")
	require.NoError(t, json.Unmarshal(body, &list))
	require.Len(t, list.Items, len(log))
	for i, item := range list.Items {
		require.EqualValues(t, i+1, item.Sequence)
		require.Equal(t, log[i].ID(), item.ID)
		require.Equal(t, eventlog.Causation(log[i]), item.Cause)
	}
	_, _, body = b.get("/v1/events?type=champion_changed,rollout_completed")
	require.NoError(t, json.Unmarshal(body, &list))
	require.Len(t, list.Items, 2)
	_, _, body = b.get("/v1/events?ripple=" + list.Items[0].Ripple + "&subject=r1")
	require.NoError(t, json.Unmarshal(body, &list))
	require.Len(t, list.Items, 2, "the canary's verdict and the rollout's end")
	for _, bad := range []string{"type=nothing", "after=-1", "limit=0", "order=random"} {
		status, _, _ := b.get("/v1/events?" + bad)
		require.Equal(t, 400, status, bad)
	}
	status, _, _ = b.get("/v1/events/nothing")
	require.Equal(t, 404, status)
	status, _, _ = b.get("/v1/events/" + log[0].ID() + "?namespace=other")
	require.Equal(t, 404, status, "another namespace does not see it")
}

func TestTheServiceArchives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	b.Settle(t.Context()) // which waits for the archive too
	raw := b.raw()
	records, _, err := b.Kafka.Fetch(t.Context(), archive.Topic, 0, 0, time.Second)
	require.NoError(t, err)
	require.Len(t, records, len(raw))
	for i, r := range records {
		require.Equal(t, string(raw[i]), string(r.Value))
	}
}

// A replay goes over from the archive to the stream, and back for what the stream lacks;
// what is in neither cuts the answer off, so that nobody takes a part for the whole.
func TestAReplayIsWholeOrCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	b.Settle(t.Context())
	raw := b.raw()
	js, err := jetstream.New(b.NATS)
	require.NoError(t, err)
	s, err := js.Stream(t.Context(), testkit.Stream)
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSequence(6)))
	whole := func() {
		status, _, body := b.get("/v1/events/replay")
		require.Equal(t, 200, status, string(body))
		require.Equal(t, string(bytes.Join(raw, []byte("\n")))+"\n", string(body))
	}
	whole()
	require.NoError(t, s.DeleteMsg(t.Context(), 9))
	whole()

	b.trimArchive(9)
	r, err := http.Get(b.URL + "/v1/events/replay?from=6")
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, bytes.Count(body, []byte("\n")), 3)
}

func TestTail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+"/v1/events/tail?after=0&type=champion_changed", nil)
	require.NoError(t, err)
	r, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer r.Body.Close()
	champion := b.scenario()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			require.Contains(t, data, champion.ID())
			return
		}
	}
	t.Fatal("the stream ended:", lines.Err())
}
