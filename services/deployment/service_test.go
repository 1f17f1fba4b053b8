package deployment_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/deployment"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

var language = service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision}

// bundle is a deployment service, a feature server beside it, and a model to deploy.
type bundle struct {
	*testing.T
	*testkit.Running
	broken atomic.Bool // the feature server fails
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{T: t}
	server := httptest.NewServer(http.HandlerFunc(b.features))
	t.Cleanup(server.Close)
	cfg := deployment.DefaultConfig()
	cfg.FeaturesURL = server.URL
	b.Running = testkit.Service(t, "deployment", language, deployment.Module(cfg))
	declared := events.ModelDeclared{Model: "delays", SpecDigest: digest, TrainingChanged: true,
		Code: events.CodeRevision{Repository: "delays", Revision: "0123456789012345678901234567890123456789", Archive: object},
		Spec: events.ModelSpec{Model: "delays", Task: "binary-classification", Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15"},
			Features: []events.ViewUse{}, Request: []events.TypedField{}, Prediction: []events.TypedField{}, Metrics: []string{}, Gates: []events.Rule{},
			Environments: []events.EnvironmentSpec{
				{Environment: "staging", Approve: "auto", Rollout: events.RolloutSpec{Canary: []int64{}}},
				{Environment: "production", Approve: "approver", Rollout: events.RolloutSpec{Canary: []int64{}}}},
			Retrain: events.RetrainSpec{When: []string{}}, Mode: "act"}}
	b.foreign(events.NewModelDeclared("default", "delays", declared))
	b.foreign(events.NewDataCommitted("default", "flights", events.DataCommitted{Dataset: "flights", Commit: digest, Manifest: object, Profile: object,
		Added: []events.DataFile{}, Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"flight_id"}, Rows: "quarantine"}}))
	return b
}

const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

var object = events.Object{Digest: digest, URI: "objects:" + digest}

// features answers late_share = 0.3 for ORD and nothing for other airports, as
// Feast's server writes it.
func (b *bundle) features(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Entities map[string][]string `json:"entities"`
		Features []string            `json:"features"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || b.broken.Load() || r.URL.Path != "/get-online-features" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	values, statuses := []any{}, []string{}
	for _, airport := range in.Entities["airport"] {
		if airport == "ORD" {
			values, statuses = append(values, 0.3), append(statuses, "PRESENT")
		} else {
			values, statuses = append(values, nil), append(statuses, "NOT_FOUND")
		}
	}
	keys := map[string]any{"values": in.Entities["airport"], "statuses": statuses, "event_timestamps": []any{}}
	answer := map[string]any{
		"metadata": map[string]any{"feature_names": []string{"airport", "origin_delays@1__late_share"}},
		"results":  []any{keys, map[string]any{"values": values, "statuses": statuses, "event_timestamps": []any{}}}}
	_ = json.NewEncoder(w).Encode(answer)
}

func (b *bundle) foreign(e event.Event, err error) event.Event {
	b.T.Helper()
	require.NoError(b, err)
	return b.Foreign(eventlog.Cause{}, e)[0]
}

// approve approves a version whose model adds bias to the late share.
func (b *bundle) approve(environment string, version int64, bias float64, canary ...int64) event.Event {
	b.T.Helper()
	model, err := onnx.Logistic([]float64{0}, []float64{1}, []float64{1}, bias, "features", []string{"late_share"})
	require.NoError(b, err)
	return b.approveBytes(environment, version, model, canary...)
}

func (b *bundle) approveBytes(environment string, version int64, model []byte, canary ...int64) event.Event {
	b.T.Helper()
	ref, err := b.Objects.PutBytes(b.Context(), model)
	require.NoError(b, err)
	missing := 0.2
	if canary == nil {
		canary = []int64{}
	}
	return b.foreign(events.NewModelVersionApproved("default", "delays", events.ModelVersionApproved{
		Model: "delays", Version: version, Environment: environment, By: "rule", Profile: object, Task: "binary-classification",
		Artifact: events.ObjectOf(ref.Digest, ref.Size, ""),
		Columns:  []events.FeatureColumn{{Name: "late_share", View: "origin_delays", Version: 1, Feature: "late_share", Missing: &missing}},
		Uses:     []events.FeatureUse{{View: "origin_delays", Version: 1, Entity: []events.EntityKey{{Key: "airport", Column: "origin"}}}},
		RequestFields: []events.TypedField{{Name: "flight_id", Type: "string"}, {Name: "date", Type: "timestamp"},
			{Name: "origin", Type: "string"}, {Name: "distance", Type: "int64"}},
		Prediction: []events.TypedField{{Name: "late", Type: "float"}},
		Rollout:    events.RolloutSpec{Canary: canary, Requests: 100, AtLeast: events.Duration(time.Hour), AtMost: events.Duration(36 * time.Hour)},
	}))
}

func (b *bundle) completeStep(rollout string, version, step int64, result string) {
	b.T.Helper()
	b.foreign(events.NewCanaryJudged("default", rollout, events.CanaryJudged{Rollout: rollout, Model: "delays", Environment: "production",
		Version: version, Step: step, Verdict: result, Rules: []events.GateResult{}}))
}

func (b *bundle) post(path, body string, header ...string) (int, string, http.Header) {
	b.T.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.URL+path, bytes.NewReader([]byte(body)))
	require.NoError(b, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func (b *bundle) get(path string) (int, string) {
	b.T.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.URL+path, nil)
	require.NoError(b, err)
	status, body, _ := b.do(req)
	return status, body
}

func (b *bundle) do(req *http.Request) (int, string, http.Header) {
	b.T.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer func() { require.NoError(b, resp.Body.Close()) }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	return resp.StatusCode, string(raw), resp.Header
}

func request(n int) string {
	ids, origins, distances := make([]string, n), make([]string, n), make([]int, n)
	for i := range n {
		ids[i], origins[i], distances[i] = "f"+strconv.Itoa(i), []string{"ORD", "BOS"}[i%2], 100
	}
	tensor := func(name, datatype string, data any) map[string]any {
		return map[string]any{"name": name, "datatype": datatype, "shape": []int{n}, "data": data}
	}
	body, _ := json.Marshal(map[string]any{"id": "r1", "inputs": []any{
		tensor("flight_id", "BYTES", ids), tensor("origin", "BYTES", origins), tensor("distance", "INT64", distances)}})
	return string(body)
}

type response struct {
	ModelVersion string `json:"model_version"`
	ID           string `json:"id"`
	Outputs      []struct {
		Name     string    `json:"name"`
		Datatype string    `json:"datatype"`
		Shape    []int     `json:"shape"`
		Data     []float64 `json:"data"`
	} `json:"outputs"`
}

func (b *bundle) infer(model string, n int) response {
	b.T.Helper()
	status, body, _ := b.post("/v2/models/"+model+"/infer", request(n))
	require.Equal(b, http.StatusOK, status, body)
	var r response
	require.NoError(b, json.Unmarshal([]byte(body), &r))
	return r
}

// contract is what inference records promise their readers.
func contract(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := contracts.FS.ReadFile("inference/v1/record.json")
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("record.json", document))
	schema, err := c.Compile("record.json")
	require.NoError(t, err)
	return schema
}

func (b *bundle) records() []record.Record {
	b.T.Helper()
	b.Settle(b.Context())
	got, _, err := b.Kafka.Fetch(b.Context(), record.Topic, 0, 0, time.Second)
	require.NoError(b, err)
	var list []record.Record
	for _, k := range got {
		headers := map[string]string{}
		for _, h := range k.Headers {
			headers[h.Key] = string(h.Value)
		}
		e, err := events.DecodeKafka(k.Key, k.Value, headers)
		require.NoError(b, err)
		require.Equal(b, record.Type, e.Type())
		require.Equal(b, "default", e.Extensions()["namespace"])
		var document any
		require.NoError(b, json.Unmarshal(e.Data(), &document))
		require.NoError(b, contract(b.T).Validate(document))
		var r struct {
			record.Record
			Predictions []struct{ Values []float64 } `json:"predictions"`
		}
		require.NoError(b, json.Unmarshal(e.Data(), &r))
		list = append(list, r.Record)
	}
	return list
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func TestAVersionIsServedCanariedAndRolledBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, body := b.get("/v2/models/delays")
	require.Equal(t, http.StatusNotFound, status, body)

	// The first version gets all traffic at once, although a canary is declared.
	b.approve("production", 1, 0, 10, 50)
	completed, err := events.Parse[events.RolloutCompleted](b.AwaitType(events.TypeRolloutCompleted, 1))
	require.NoError(t, err)
	require.Equal(t, int64(1), completed.Version)
	require.Nil(t, completed.Previous)
	b.Settle(t.Context())
	r := b.infer("delays", 4)
	require.Equal(t, "1", r.ModelVersion)
	require.Equal(t, "r1", r.ID)
	require.InDeltaSlice(t, []float64{logistic(0.3), logistic(0.2), logistic(0.3), logistic(0.2)}, r.Outputs[0].Data, 1e-6)
	require.Equal(t, []float64{1, 1, 1, 1}, r.Outputs[1].Data)

	// The second steps up on verdicts; a verdict about another step moves nothing.
	started := b.approve("production", 2, 1, 10, 50)
	stepped, err := events.Parse[events.RolloutStepped](b.AwaitType(events.TypeRolloutStepped, 1))
	require.NoError(t, err)
	require.Equal(t, events.RolloutStepped{Rollout: started.ID(), Model: "delays", Environment: "production", Version: 2, Step: 0, Weight: 10}, stepped)
	b.Settle(t.Context())
	require.InDelta(t, 100, b.shareOf(2, 1000), 45)
	b.completeStep(started.ID(), 2, 1, "fail")
	b.completeStep(started.ID(), 2, 0, "pass")
	b.AwaitType(events.TypeRolloutStepped, 2)
	b.Settle(t.Context())
	require.InDelta(t, 500, b.shareOf(2, 1000), 80)
	b.completeStep(started.ID(), 2, 1, "pass")
	b.AwaitType(events.TypeRolloutCompleted, 2)
	b.Settle(t.Context())
	require.Equal(t, 1000, b.shareOf(2, 1000))

	// A third in its canary is nothing to go back to.
	third := b.approve("production", 3, 2, 10)
	b.AwaitType(events.TypeRolloutStepped, 3)
	never := int64(3)
	b.foreign(events.NewRollbackAsked("default", "delays", events.RollbackAsked{Model: "delays", Environment: "production", Version: &never}))
	refused, err := events.Parse[events.RollbackRefused](b.AwaitType(events.TypeRollbackRefused, 1))
	require.NoError(t, err)
	require.Equal(t, "unknown_version", refused.Reason)

	// It fails: all traffic is the second's again, and it still is nothing to go back to.
	b.completeStep(third.ID(), 3, 0, "fail")
	back, err := events.Parse[events.RolloutRolledBack](b.AwaitType(events.TypeRolloutRolledBack, 1))
	require.NoError(t, err)
	require.Equal(t, "canary", back.Reason)
	b.Settle(t.Context())
	require.Equal(t, 1000, b.shareOf(2, 1000))

	b.foreign(events.NewRollbackAsked("default", "delays", events.RollbackAsked{Model: "delays", Environment: "production", Version: &never}))
	refused, err = events.Parse[events.RollbackRefused](b.AwaitType(events.TypeRollbackRefused, 2))
	require.NoError(t, err)
	require.Equal(t, "unknown_version", refused.Reason)

	// A person goes back to the version before, and then there is none before that.
	b.foreign(events.NewRollbackAsked("default", "delays", events.RollbackAsked{Model: "delays", Environment: "production"}))
	again, err := events.Parse[events.RolloutCompleted](b.AwaitType(events.TypeRolloutCompleted, 3))
	require.NoError(t, err)
	require.Equal(t, int64(1), again.Version)
	b.foreign(events.NewRollbackAsked("default", "delays", events.RollbackAsked{Model: "delays", Environment: "production"}))
	refused, err = events.Parse[events.RollbackRefused](b.AwaitType(events.TypeRollbackRefused, 3))
	require.NoError(t, err)
	require.Equal(t, "nothing_before", refused.Reason)

	// What serves survives a restart: a server that knows nothing reloads it.
	b.Settle(t.Context())
	fresh := serving.NewServer(serving.NewCache(b.Objects), b.Pool, b.Log.Changed, slog.New(slog.DiscardHandler))
	require.NoError(t, fresh.Refresh(t.Context()))
	require.Equal(t, int64(1), fresh.Snapshot().Find("default", "delays").Champion.Number)

	status, body = b.get("/v1/rollouts?model=delays")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"state":"rolled_back"`)
	status, body = b.get("/v1/environments")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"environment":"production","version":1`)
}

// shareOf asks for n rows and counts those that a version answered.
func (b *bundle) shareOf(version int64, n int) int {
	b.T.Helper()
	count := 0
	for _, v := range b.infer("delays", n).Outputs[1].Data {
		if int64(v) == version {
			count++
		}
	}
	return count
}

func TestAStepWithTooFewRequestsEndsTheRollout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.approve("production", 1, 0)
	b.AwaitType(events.TypeRolloutCompleted, 1)
	b.approve("production", 2, 0, 10)
	b.AwaitType(events.TypeRolloutStepped, 1)
	b.Clock.Set(b.Clock.Now().Add(37 * time.Hour))
	back, err := events.Parse[events.RolloutRolledBack](b.AwaitType(events.TypeRolloutRolledBack, 1))
	require.NoError(t, err)
	require.Equal(t, "too_few_requests", back.Reason)
}

func TestANewerApprovalSupersedes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.approve("production", 1, 0)
	b.AwaitType(events.TypeRolloutCompleted, 1)
	b.approve("production", 2, 0, 10)
	b.AwaitType(events.TypeRolloutStepped, 1)
	b.approve("production", 3, 0, 10)
	back, err := events.Parse[events.RolloutRolledBack](b.AwaitType(events.TypeRolloutRolledBack, 1))
	require.NoError(t, err)
	require.Equal(t, "superseded", back.Reason)
	stepped, err := events.Parse[events.RolloutStepped](b.AwaitType(events.TypeRolloutStepped, 2))
	require.NoError(t, err)
	require.Equal(t, int64(3), stepped.Version)
}

func TestAModelThatCannotBeLoadedTakesNoTraffic(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.approve("production", 1, 0)
	b.AwaitType(events.TypeRolloutCompleted, 1)
	b.approveBytes("production", 2, []byte("not a model"), 10)
	failed, err := events.Parse[events.ReplicaFailed](b.AwaitType(events.TypeReplicaFailed, 1))
	require.NoError(t, err)
	require.Equal(t, "bad_model", failed.Reason)
	two, err := onnx.Logistic([]float64{0, 0}, []float64{1, 1}, []float64{1, 1}, 0, "x", []string{"a", "b"})
	require.NoError(t, err)
	b.approveBytes("production", 3, two, 10)
	failed, err = events.Parse[events.ReplicaFailed](b.AwaitType(events.TypeReplicaFailed, 2))
	require.NoError(t, err)
	require.Equal(t, "signature", failed.Reason)
	b.AwaitType(events.TypeRolloutRolledBack, 2)
	b.Settle(t.Context())
	require.Equal(t, "1", b.infer("delays", 1).ModelVersion)
}

func TestTheOpenInferenceProtocol(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.approve("staging", 1, 0)
	b.approve("production", 1, 0)
	b.AwaitType(events.TypeRolloutCompleted, 2)
	b.Settle(t.Context())
	for path, want := range map[string]string{
		"/v2":                                  `{"name":"freshet","version":"1","extensions":["binary_tensor_data"]}`,
		"/v2/health/live":                      `{"live":true}`,
		"/v2/health/ready":                     `{"live":true,"ready":true}`,
		"/v2/models/delays/ready":              `{"name":"delays","ready":true}`,
		"/v2/models/delays/versions/1/ready":   `{"name":"delays","ready":true}`,
		"/v2/models/delays@staging/versions/1": "",
		"/v2/models/delays": `{"name":"delays","versions":["1"],"platform":"onnx","inputs":[
			{"name":"flight_id","datatype":"BYTES","shape":[-1]},{"name":"date","datatype":"BYTES","shape":[-1]},
			{"name":"origin","datatype":"BYTES","shape":[-1]},{"name":"distance","datatype":"INT64","shape":[-1]}],
			"outputs":[{"name":"late","datatype":"FP64","shape":[-1]},{"name":"model_version","datatype":"INT64","shape":[-1]}]}`,
	} {
		status, body := b.get(path)
		require.Equal(t, http.StatusOK, status, path)
		if want != "" {
			require.JSONEq(t, want, body, path)
		}
	}
	for path, says := range map[string]string{
		"/v2/models/nothing":           `no model \"nothing\" is served; there are delays, delays@production, delays@staging`,
		"/v2/models/delays/versions/9": `version \"9\" of \"delays\" is not served; there are 1`,
	} {
		status, body := b.get(path)
		require.Equal(t, http.StatusNotFound, status)
		require.Contains(t, body, `{"error":`)
		require.Contains(t, body, says)
	}

	// Binary tensors, in and out.
	head := `{"id":"b","parameters":{"binary_data_output":true},"inputs":[{"name":"origin","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":7}}],
		"outputs":[{"name":"late"}]}`
	status, body, header := b.post("/v2/models/delays/infer", head+"\x03\x00\x00\x00ORD", "Inference-Header-Content-Length", strconv.Itoa(len(head)))
	require.Equal(t, http.StatusOK, status, body)
	n, err := strconv.Atoi(header.Get("Inference-Header-Content-Length"))
	require.NoError(t, err)
	require.JSONEq(t, `{"model_name":"delays","model_version":"1","id":"b","outputs":[{"name":"late","datatype":"FP64","shape":[1],"parameters":{"binary_data_size":8}}]}`, body[:n])
	require.InDelta(t, logistic(0.3), math.Float64frombits(binary.LittleEndian.Uint64([]byte(body[n:]))), 1e-6)

	status, body, _ = b.post("/v2/models/delays/infer", `{"inputs":[{"name":"origin","shape":[1],"datatype":"INT64","data":[1]}]}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.JSONEq(t, `{"error":"input \"origin\" has datatype INT64; a string is BYTES"}`, body)
	status, body, _ = b.post("/v2/models/delays/infer",
		`{"inputs":[{"name":"late_share","shape":[1],"datatype":"FP64","data":[0.5]}],"outputs":[{"name":"early"}]}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "there are late, model_version")

	b.broken.Store(true)
	status, body, _ = b.post("/v2/models/delays/infer", request(3))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "feature server")

	list := b.records()
	require.Len(t, list, 4, "every request leaves one record, the failed ones too")
	require.Equal(t, []string{"", record.InvalidRequest, record.InvalidRequest, record.FeaturesUnavailable},
		[]string{list[0].Error, list[1].Error, list[2].Error, list[3].Error})
	require.Equal(t, "production", list[0].Environment)
	require.Equal(t, 3, list[3].Rows)
	require.Equal(t, []string{"f0", "f1", "f2"}, list[3].Keys)
	require.Equal(t, "flight_id", list[3].Key)
	require.Equal(t, b.Clock.Now(), list[3].Time.UTC())
}

// Other people's client is the measure: this one is NVIDIA's. It runs where
// FRESHET_TEST_PYTHON names an interpreter that has tritonclient[http].
func TestTritonsClientIsAnswered(t *testing.T) {
	t.Parallel()
	python := os.Getenv("FRESHET_TEST_PYTHON")
	if python == "" {
		t.Skip("FRESHET_TEST_PYTHON names no interpreter with tritonclient[http]")
	}
	b := setup(t)
	b.approve("production", 1, 0)
	b.AwaitType(events.TypeRolloutCompleted, 1)
	b.Settle(t.Context())
	out, err := exec.CommandContext(t.Context(), python, "testdata/triton_client.py", strings.TrimPrefix(b.URL, "http://")).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "ok\n", string(out))
}
