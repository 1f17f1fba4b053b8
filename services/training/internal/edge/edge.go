// Package edge is training's HTTP: what was trained, why, how it ended, what it
// printed; and a person's wish to stop it.
package edge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/training/internal/effect"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// Recorder records facts; *eventlog.Log does.
type Recorder interface {
	RecordAndWait(ctx context.Context, facts ...eventlog.Fact) ([]eventlog.Receipt, error)
}

// detailBytes is how long the detail of a failed training set may be to be shown.
const detailBytes = 64 << 10

// Edge serves training's routes.
type Edge struct {
	State    eventlog.Reader
	Log      Recorder
	Objects  *objects.Store
	Live     *effect.Logs
	Limit    int   // of a list
	LogBytes int64 // of a job's log
}

// Register adds the routes.
func (x *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/runs", Role: web.Reader, Summary: "List training runs, the newest first",
		Query: []web.Parameter{web.InNamespace, web.AtMost, {Name: "model", Summary: "only of this model"}}, Answer: web.Items[run]{}}, x.list)
	mux.Handle(web.Route{Pattern: "GET /v1/runs/{id}", Role: web.Reader, Summary: "Show a training run",
		Query: []web.Parameter{web.InNamespace}, Answer: run{}}, x.show)
	mux.Handle(web.Route{Pattern: "GET /v1/runs/{id}/log", Role: web.Reader, Summary: "Read what a run's job printed",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Media("text/plain")}, x.log)
	mux.Handle(web.Route{Pattern: "POST /v1/runs/{id}/cancel", Role: web.Operator, Summary: "Ask a run to stop",
		Query: []web.Parameter{web.InNamespace}, Answer: run{}}, x.cancel)
}

type run struct {
	Run         string             `json:"run,omitempty"`
	Request     string             `json:"request"`
	Model       string             `json:"model"`
	Trigger     string             `json:"trigger"`
	Status      string             `json:"status"`
	Reason      string             `json:"reason,omitempty"`
	Detail      string             `json:"detail,omitempty"` // of a training set that could not be built
	RequestedAt time.Time          `json:"requested_at"`
	StartedAt   *time.Time         `json:"started_at,omitempty"`
	EndedAt     *time.Time         `json:"ended_at,omitempty"`
	Attempts    int64              `json:"attempts,omitempty"`
	TrainingSet string             `json:"training_set,omitempty"`
	Code        string             `json:"revision"`
	Seed        int64              `json:"seed"`
	Metrics     map[string]float64 `json:"claimed_metrics,omitempty"`
	Artifact    string             `json:"artifact,omitempty"`
	Environment map[string]string  `json:"environment,omitempty"`
	Seconds     float64            `json:"seconds,omitempty"`
	Log         string             `json:"log,omitempty"`

	Data    []events.DatasetCommit `json:"data,omitempty"`
	Params  map[string]any         `json:"params,omitempty"`
	Columns []string               `json:"columns,omitempty"`
}

// view fills in what is known of a run; the rest stays out.
func view(r state.Run, whole bool) (run, error) {
	v := run{Run: r.ID, Request: r.Request, Model: r.Model, Trigger: r.Trigger, Status: r.Status, Reason: r.Reason,
		RequestedAt: r.RequestedAt.UTC(), StartedAt: inUTC(r.StartedAt), EndedAt: inUTC(r.EndedAt), Attempts: r.Attempts}
	requested, err := r.Requested()
	if err != nil {
		return v, err
	}
	v.Code, v.Seed = requested.Code.Revision, requested.Seed
	if whole {
		v.Data, v.Params = requested.Data, requested.Spec.Training.Params
	}
	isBuilt, isCompleted := r.Has()
	if isBuilt {
		built, err := r.Built()
		if err != nil {
			return v, err
		}
		v.TrainingSet = built.TrainingSet
		if whole {
			for _, c := range built.Columns {
				v.Columns = append(v.Columns, c.Name)
			}
		}
	}
	if isCompleted {
		completed, err := r.Completed()
		if err != nil {
			return v, err
		}
		v.Metrics, v.Artifact, v.Environment, v.Seconds = completed.Metrics, completed.Artifact.Digest, completed.Environment, completed.Seconds
	}
	if r.ID != "" {
		v.Log = "/v1/runs/" + r.ID + "/log"
	}
	return v, nil
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (x *Edge) list(w http.ResponseWriter, r *http.Request) {
	limit, err := web.Limit(r, x.Limit, x.Limit)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	runs, err := state.Runs(r.Context(), x.State, web.Namespace(r), r.URL.Query().Get("model"), limit)
	if err != nil {
		fault(w, err)
		return
	}
	items := make([]run, 0, len(runs))
	for _, one := range runs {
		v, err := view(one, false)
		if err != nil {
			fault(w, err)
			return
		}
		items = append(items, v)
	}
	web.List(w, items)
}

func (x *Edge) show(w http.ResponseWriter, r *http.Request) {
	found, ok := x.find(w, r)
	if !ok {
		return
	}
	v, err := view(found, true)
	if err != nil {
		fault(w, err)
		return
	}
	if built, _ := found.Has(); !built && found.Log != "" {
		b, err := x.Objects.Get(r.Context(), found.Log, detailBytes)
		if v.Detail = strings.ToValidUTF8(string(b), "\uFFFD"); err != nil {
			v.Detail = "the detail cannot be read: " + err.Error()
		}
	}
	web.JSON(w, http.StatusOK, v)
}

func (x *Edge) log(w http.ResponseWriter, r *http.Request) {
	found, ok := x.find(w, r)
	if !ok {
		return
	}
	b, live := x.Live.Of(found.ID)
	if !live {
		if found.Log == "" {
			web.Problem(w, http.StatusNotFound, "No log", "run "+r.PathValue("id")+" is "+found.Status+" and has printed nothing")
			return
		}
		var err error
		if b, err = x.Objects.Get(r.Context(), found.Log, x.LogBytes); err != nil {
			fault(w, err)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b)
}

// cancel records the wish and answers with what became of the run.
func (x *Edge) cancel(w http.ResponseWriter, r *http.Request) {
	actor, ok := web.Acting(w, r, "")
	if !ok {
		return
	}
	found, ok := x.find(w, r)
	if !ok {
		return
	}
	if found.Final() {
		web.Problem(w, http.StatusConflict, "Run is over", "run "+r.PathValue("id")+" is "+found.Status)
		return
	}
	draft, err := events.NewCancelAsked(found.Namespace, found.Model, events.CancelAsked{Run: r.PathValue("id"), Model: found.Model})
	if err != nil {
		fault(w, err)
		return
	}
	fact := eventlog.Fact{Event: draft, Key: []string{"cancel", found.Namespace, found.Request}, Actor: actor}
	if _, err := x.Log.RecordAndWait(r.Context(), fact); err != nil && !errors.Is(err, eventlog.ErrConflict) {
		fault(w, err)
		return
	}
	x.show(w, r)
}

func (x *Edge) find(w http.ResponseWriter, r *http.Request) (state.Run, bool) {
	id := r.PathValue("id")
	found, err := state.RunOf(r.Context(), x.State, web.Namespace(r), id)
	if errors.Is(err, state.ErrNotFound) {
		web.Problem(w, http.StatusNotFound, "No such run", "there is no run or request "+strconv.Quote(id)+" in namespace "+web.Namespace(r))
		return found, false
	}
	if err != nil {
		fault(w, err)
		return found, false
	}
	return found, true
}

func fault(w http.ResponseWriter, err error) {
	web.Problem(w, http.StatusInternalServerError, "Internal error", err.Error())
}
