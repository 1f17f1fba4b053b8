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
	mux.HandleFunc("GET /v2", e.metadata)
	mux.HandleFunc("GET /v2/{$}", e.metadata)
	mux.HandleFunc("GET /v2/health/live", e.live)
	mux.HandleFunc("GET /v2/health/ready", e.ready)
	mux.HandleFunc("GET /v2/models/{model}", e.modelMetadata)
	mux.HandleFunc("GET /v2/models/{model}/ready", e.modelReady)
	mux.HandleFunc("POST /v2/models/{model}/infer", e.infer)
	mux.HandleFunc("GET /v2/models/{model}/versions/{version}", e.modelMetadata)
	mux.HandleFunc("GET /v2/models/{model}/versions/{version}/ready", e.modelReady)
	mux.HandleFunc("POST /v2/models/{model}/versions/{version}/infer", e.infer)
	mux.HandleFunc("GET /v1/environments", e.environments)
	mux.HandleFunc("GET /v1/rollouts", e.rollouts)
}

// fail answers as the protocol says errors are written.
func fail(w http.ResponseWriter, status int, message string) {
	web.JSON(w, status, map[string]string{"error": message})
}

func (e *Edge) metadata(w http.ResponseWriter, _ *http.Request) {
	web.JSON(w, http.StatusOK, map[string]any{"name": "freshet", "version": "1", "extensions": []string{"binary_tensor_data"}})
}

func (e *Edge) live(w http.ResponseWriter, _ *http.Request) {
	web.JSON(w, http.StatusOK, map[string]bool{"live": true})
}

func (e *Edge) ready(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if e.server.Snapshot() == nil {
		status = http.StatusServiceUnavailable
	}
	web.JSON(w, status, map[string]bool{"live": true, "ready": status == http.StatusOK})
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
		web.JSON(w, http.StatusOK, map[string]any{"name": r.PathValue("model"), "ready": true})
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
	web.JSON(w, http.StatusOK, map[string]any{
		"name": r.PathValue("model"), "versions": versions(env), "platform": "onnx", "inputs": inputs, "outputs": outputs})
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
