// Package edge answers the Open Inference Protocol's REST routes, version 2, and
// lists environments and rollouts.
package edge

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/deployment/internal/domain"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
	"github.com/prometheus/client_golang/prometheus"
)

// Settings are the edge's limits.
type Settings struct {
	BodyLimit  int64
	MostRows   int
	RecordWait time.Duration // how long a request waits for room in the record queue
}

// Edge is deployment's way in.
type Edge struct {
	settings Settings
	server   *serving.Server
	features serving.Features
	records  *record.Writer
	state    eventlog.Reader
	clock    clock.Clock
	requests *prometheus.HistogramVec
}

// New returns the edge; it registers its metrics.
func New(settings Settings, server *serving.Server, features serving.Features, records *record.Writer,
	reader eventlog.Reader, c clock.Clock, metrics prometheus.Registerer) (*Edge, error) {
	e := &Edge{settings: settings, server: server, features: features, records: records, state: reader, clock: c,
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "freshet_inference_seconds", Help: "Time to answer an inference request.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"model", "environment", "outcome"})}
	var registered prometheus.AlreadyRegisteredError
	if err := metrics.Register(e.requests); errors.As(err, &registered) {
		existing, ok := registered.ExistingCollector.(*prometheus.HistogramVec)
		if !ok {
			return nil, err
		}
		e.requests = existing
	} else if err != nil {
		return nil, err
	}
	return e, nil
}

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v2", Role: web.Caller, Summary: "Say what this server can do",
		Answer: serverMetadata{}}, e.metadata)
	mux.Handle(web.Route{Pattern: "GET /v2/{$}", Role: web.Caller, Summary: "Say what this server can do",
		Answer: serverMetadata{}}, e.metadata)
	mux.Handle(web.Route{Pattern: "GET /v2/health/live", Role: web.Anyone, Summary: "Say that the server runs",
		Answer: health{}}, e.live)
	mux.Handle(web.Route{Pattern: "GET /v2/health/ready", Role: web.Anyone, Summary: "Say whether models are loaded",
		Answer: health{}}, e.ready)
	mux.Handle(web.Route{Pattern: "GET /v2/models/{model}", Role: web.Caller, Summary: "Describe what a model takes and answers",
		Query: []web.Parameter{web.InNamespace}, Answer: modelDescription{}}, e.modelMetadata)
	mux.Handle(web.Route{Pattern: "GET /v2/models/{model}/ready", Role: web.Caller, Summary: "Say whether a model is served",
		Query: []web.Parameter{web.InNamespace}, Answer: modelHealth{}}, e.modelReady)
	mux.Handle(web.Route{Pattern: "POST /v2/models/{model}/infer", Role: web.Caller, Summary: "Ask a model for predictions",
		Query: []web.Parameter{web.InNamespace}, Body: inference, Answer: inference}, e.infer)
	mux.Handle(web.Route{Pattern: "GET /v2/models/{model}/versions/{version}", Role: web.Caller, Summary: "Describe what a version takes and answers",
		Query: []web.Parameter{web.InNamespace}, Answer: modelDescription{}}, e.modelMetadata)
	mux.Handle(web.Route{Pattern: "GET /v2/models/{model}/versions/{version}/ready", Role: web.Caller, Summary: "Say whether a version is served",
		Query: []web.Parameter{web.InNamespace}, Answer: modelHealth{}}, e.modelReady)
	mux.Handle(web.Route{Pattern: "POST /v2/models/{model}/versions/{version}/infer", Role: web.Caller, Summary: "Ask a version for predictions",
		Query: []web.Parameter{web.InNamespace}, Body: inference, Answer: inference}, e.infer)
	mux.Handle(web.Route{Pattern: "GET /v1/environments", Role: web.Reader, Summary: "List environments and what each serves",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[environmentItem]{}}, e.environments)
	mux.Handle(web.Route{Pattern: "GET /v1/rollouts", Role: web.Reader, Summary: "List rollouts, the newest first",
		Query: []web.Parameter{web.InNamespace, web.AtMost, {Name: "model", Summary: "only of this model"},
			{Name: "environment", Summary: "only in this environment"}}, Answer: web.Items[state.Listed]{}}, e.rollouts)
}

// inference is what the protocol defines: JSON, or JSON followed by binary tensors.
const inference = web.Media("application/json")

// serverMetadata, health, modelHealth and modelDescription are the protocol's.
type serverMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

type health struct {
	Live  bool  `json:"live"`
	Ready *bool `json:"ready,omitempty"`
}

type modelHealth struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
}

type modelDescription struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions"`
	Platform string           `json:"platform"`
	Inputs   []tensorMetadata `json:"inputs"`
	Outputs  []tensorMetadata `json:"outputs"`
}

// fail answers as the protocol says errors are written.
func fail(w http.ResponseWriter, status int, message string) {
	web.JSON(w, status, map[string]string{"error": message})
}

func (e *Edge) metadata(w http.ResponseWriter, _ *http.Request) {
	web.JSON(w, http.StatusOK, serverMetadata{Name: "freshet", Version: "1", Extensions: []string{"binary_tensor_data"}})
}

func (e *Edge) live(w http.ResponseWriter, _ *http.Request) {
	web.JSON(w, http.StatusOK, health{Live: true})
}

func (e *Edge) ready(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if e.server.Snapshot() == nil {
		status = http.StatusServiceUnavailable
	}
	ready := status == http.StatusOK
	web.JSON(w, status, health{Live: true, Ready: &ready})
}

// find answers 404 and returns nil where nothing of the name is served. The
// version is nil unless the path names one.
func (e *Edge) find(w http.ResponseWriter, r *http.Request) (*serving.Environment, *serving.Version) {
	snapshot := e.server.Snapshot()
	if snapshot == nil {
		fail(w, http.StatusServiceUnavailable, "models are being loaded; try again in a moment")
		return nil, nil
	}
	name := r.PathValue("model")
	env := snapshot.Find(web.Namespace(r), name)
	if env == nil {
		message := "no model " + strconv.Quote(name) + " is served"
		if names := snapshot.Names(web.Namespace(r)); len(names) > 0 {
			message += "; there are " + strings.Join(names, ", ")
		}
		fail(w, http.StatusNotFound, message)
		return nil, nil
	}
	wanted := r.PathValue("version")
	if wanted == "" {
		return env, nil
	}
	for _, v := range []*serving.Version{env.Champion, env.Candidate} {
		if v != nil && strconv.FormatInt(v.Number, 10) == wanted {
			return env, v
		}
	}
	fail(w, http.StatusNotFound, "version "+strconv.Quote(wanted)+" of "+strconv.Quote(name)+" is not served; there are "+versionList(env))
	return nil, nil
}

func versionList(env *serving.Environment) string { return strings.Join(versions(env), ", ") }

func versions(env *serving.Environment) []string {
	var list []string
	for _, v := range env.Versions() {
		list = append(list, strconv.FormatInt(v, 10))
	}
	return list
}

func (e *Edge) modelReady(w http.ResponseWriter, r *http.Request) {
	if env, _ := e.find(w, r); env != nil {
		web.JSON(w, http.StatusOK, modelHealth{Name: r.PathValue("model"), Ready: true})
	}
}

// datatypes are how request fields are best sent.
var datatypes = map[string]string{"string": "BYTES", "int64": "INT64", "float": "FP64", "bool": "BOOL", "timestamp": "BYTES"}

type tensorMetadata struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

func (e *Edge) modelMetadata(w http.ResponseWriter, r *http.Request) {
	env, v := e.find(w, r)
	if env == nil {
		return
	}
	if v == nil {
		v = env.Champion
	}
	inputs := []tensorMetadata{}
	for _, f := range v.Fields {
		inputs = append(inputs, tensorMetadata{f.Name, datatypes[f.Type], []int64{-1}})
	}
	outputs := []tensorMetadata{}
	for _, p := range v.Prediction[:1] {
		outputs = append(outputs, tensorMetadata{p.Name, "FP64", []int64{-1}})
	}
	outputs = append(outputs, tensorMetadata{versionOutput, "INT64", []int64{-1}})
	web.JSON(w, http.StatusOK, modelDescription{
		Name: r.PathValue("model"), Versions: versions(env), Platform: "onnx", Inputs: inputs, Outputs: outputs})
}

type environmentItem struct {
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Version     *int64    `json:"version,omitempty"`
	Rollout     string    `json:"rollout,omitempty"`
	Candidate   *int64    `json:"candidate,omitempty"`
	State       string    `json:"state,omitempty"`
	Weight      int64     `json:"weight"`
	Step        int64     `json:"step"`
	Withdrawn   bool      `json:"withdrawn,omitempty"`
	Changed     time.Time `json:"changed"`
}

func (e *Edge) environments(w http.ResponseWriter, r *http.Request) {
	all, err := state.Environments(r.Context(), e.state, web.Namespace(r))
	if err != nil {
		web.Unreadable(w, "The environments", err)
		return
	}
	items := []environmentItem{}
	for _, env := range all {
		item := environmentItem{Model: env.Model, Environment: env.Environment, Version: env.Serving, Withdrawn: env.Withdrawn, Changed: env.Changed.UTC()}
		if o := env.Rollout; o != nil {
			item.Rollout, item.Candidate, item.State, item.Step = o.ID, &o.Version, string(o.State), o.Step
			if o.State == domain.Stepping {
				item.Weight = o.Weight
			}
		}
		items = append(items, item)
	}
	web.List(w, items)
}

const (
	usualItems = 100
	mostItems  = 1000
)

func (e *Edge) rollouts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := web.Limit(r, usualItems, mostItems)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	list, err := state.Rollouts(r.Context(), e.state, web.Namespace(r), q.Get("model"), q.Get("environment"), limit)
	if err != nil {
		web.Unreadable(w, "The rollouts", err)
		return
	}
	for i := range list {
		list[i].Started, list[i].Moved = list[i].Started.UTC(), list[i].Moved.UTC()
	}
	web.List(w, list)
}
