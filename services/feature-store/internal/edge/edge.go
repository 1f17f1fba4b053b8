// Package edge is the feature store's HTTP: Feast's routes for online features,
// and lists of what there is.
package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/feature-store/internal/online"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
	"github.com/freshet-io/freshet/services/feature-store/internal/wire"
)

// Edge answers.
type Edge struct {
	Store  *online.Store
	State  eventlog.Reader
	Logger *slog.Logger

	BodyLimit   int64         // bytes of a request
	PushTimeout time.Duration // until pushed rows must be seen
	ListLimit   int           // items of a list
}

// Register mounts the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "POST /get-online-features", Role: web.Caller, Summary: "Read online features, as Feast's feature server answers",
		Query: []web.Parameter{web.InNamespace}, Body: wire.OnlineRequest{},
		Answer: web.Media("application/json")}, e.getOnlineFeatures)
	mux.Handle(web.Route{Pattern: "POST /push", Role: web.Producer, Summary: "Push rows to the online store, as Feast's feature server takes them",
		Query: []web.Parameter{web.InNamespace}, Body: wire.PushRequest{},
		Answer: web.Media("application/json")}, e.push)
	mux.Handle(web.Route{Pattern: "GET /v1/views", Role: web.Reader, Summary: "List feature views",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[viewItem]{}}, e.views)
	mux.Handle(web.Route{Pattern: "GET /v1/training-sets", Role: web.Reader, Summary: "List training sets, the newest first",
		Query: []web.Parameter{web.InNamespace, {Name: "model", Summary: "only of this model"}}, Answer: web.Items[trainingSetItem]{}}, e.trainingSets)
}

func (e *Edge) body(w http.ResponseWriter, r *http.Request, into any) bool {
	b, err := web.Body(w, r, e.BodyLimit)
	switch {
	case errors.Is(err, web.ErrTooLarge):
		feastError(w, http.StatusRequestEntityTooLarge, "FeastError", err.Error())
	case err != nil:
		feastError(w, http.StatusBadRequest, "FeastError", "the body could not be read: "+err.Error())
	default:
		if err = json.Unmarshal(b, into); err == nil {
			return true
		}
		detail := err.Error()
		if typed := (*json.UnmarshalTypeError)(nil); errors.As(err, &typed) {
			detail = strings.TrimSpace(typed.Field + " is a JSON " + typed.Value)
		}
		feastError(w, http.StatusUnprocessableEntity, "FeastError", "the body is not the JSON that this route takes: "+detail)
	}
	return false
}

func (e *Edge) getOnlineFeatures(w http.ResponseWriter, r *http.Request) {
	var req wire.OnlineRequest
	if !e.body(w, r, &req) {
		return
	}
	q := &online.Query{Namespace: web.Namespace(r), Entities: req.Entities, AsOf: req.AsOf}
	refs := req.Features
	if req.FeatureService != "" {
		var ok bool
		if refs, ok = e.service(q.Namespace, req.FeatureService); !ok {
			feastError(w, http.StatusNotFound, "FeatureServiceNotFoundException", "Feature service "+req.FeatureService+" does not exist; a model's name is one")
			return
		}
	}
	names := make([]string, len(refs))
	for i, ref := range refs {
		parsed, err := wire.ParseReference(ref)
		if err != nil {
			feastError(w, http.StatusUnprocessableEntity, "FeastError", err.Error())
			return
		}
		q.Features = append(q.Features, online.Reference{View: parsed.View, Version: parsed.Version, Feature: parsed.Feature})
		names[i] = parsed.Name(req.FullFeatureNames)
	}
	if same := wire.Collisions(refs, names); len(same) > 0 {
		feastError(w, http.StatusInternalServerError, "FeatureNameCollisionError", wire.CollisionMessage(same, req.FullFeatureNames))
		return
	}
	a, err := e.Store.Get(r.Context(), q)
	if err != nil {
		e.refuse(w, err)
		return
	}
	b := appendAnswer(make([]byte, 0, 256+a.Rows*len(a.Features)*40), a, req.Entities, names)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client is gone if this fails
}

// service lists the features of a model: its feature service.
func (e *Edge) service(ns, name string) ([]string, bool) {
	c := e.Store.Catalog()
	m := c.Model(ns, name)
	if m == nil {
		return nil, false
	}
	var refs []string
	for _, use := range m.Features {
		v, _ := c.View(ns, use.View, use.Version)
		if v == nil {
			refs = append(refs, wire.Reference{View: use.View, Version: use.Version, Feature: "*"}.String())
			continue
		}
		for _, f := range v.Spec.Features {
			refs = append(refs, wire.Reference{View: use.View, Version: use.Version, Feature: f.Name}.String())
		}
	}
	return refs, true
}

func (e *Edge) refuse(w http.ResponseWriter, err error) {
	var (
		view    *online.UnknownViewError
		feature *online.UnknownFeatureError
		keys    *online.MissingKeysError
		request *online.MissingRequestError
		invalid *online.InvalidError
	)
	switch {
	case errors.As(err, &view) && view.Version > 0:
		feastError(w, http.StatusNotFound, "FeatureViewVersionNotFound", err.Error())
	case errors.As(err, &view):
		feastError(w, http.StatusNotFound, "FeatureViewNotFoundException", err.Error())
	case errors.As(err, &feature):
		feastError(w, http.StatusNotFound, "FeastObjectNotFoundException", err.Error())
	case errors.As(err, &keys):
		feastError(w, http.StatusUnprocessableEntity, "EntityNotFoundException", err.Error())
	case errors.As(err, &request):
		feastError(w, http.StatusNotFound, "RequestDataNotFoundInEntityRowsException", err.Error())
	case errors.As(err, &invalid):
		feastError(w, http.StatusUnprocessableEntity, "FeastError", err.Error())
	case errors.Is(err, online.ErrNotReady):
		w.Header().Set("Retry-After", "1")
		feastError(w, http.StatusServiceUnavailable, "FeastError", err.Error())
	case errors.Is(err, context.Canceled):
	default:
		e.Logger.Error("online features", "error", err)
		feastError(w, http.StatusInternalServerError, "FeastError", "the feature store failed; its log says why")
	}
}

func (e *Edge) push(w http.ResponseWriter, r *http.Request) {
	var req wire.PushRequest
	if !e.body(w, r, &req) {
		return
	}
	switch req.To {
	case "", "online":
	case "offline", "online_and_offline":
		feastError(w, http.StatusUnprocessableEntity, "FeastError", "only to=online is taken: what training sees of a dataset are its data commits, "+
			"which enter at POST /v1/arrivals")
		return
	default:
		feastError(w, http.StatusUnprocessableEntity, "FeastError", req.To+" is not a supported push format. Please specify 'online'.")
		return
	}
	ns := web.Namespace(r)
	spec := e.Store.Catalog().Dataset(ns, req.PushSourceName)
	if spec == nil {
		feastError(w, http.StatusUnprocessableEntity, "PushSourceNotFoundException", "Unable to find push source '"+req.PushSourceName+"'; a dataset's name is one.")
		return
	}
	p := &wire.Push{Dataset: req.PushSourceName, Columns: req.DF}
	table, err := p.Table(spec)
	if err != nil {
		feastError(w, http.StatusUnprocessableEntity, "DataFrameSerializationError", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.PushTimeout)
	defer cancel()
	switch err := e.Store.Push(ctx, ns, p, table); {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("null")) // Feast's answer
	case errors.Is(err, events.ErrTooLarge):
		feastError(w, http.StatusRequestEntityTooLarge, "FeastError", err.Error()+"; push fewer rows at once")
	case errors.Is(err, context.DeadlineExceeded):
		w.Header().Set("Retry-After", "1")
		feastError(w, http.StatusServiceUnavailable, "FeastError", "the rows may be durable but are not seen yet; pushing them again does no harm")
	case errors.Is(err, context.Canceled):
	default:
		e.Logger.Error("push", "dataset", req.PushSourceName, "error", err)
		feastError(w, http.StatusInternalServerError, "FeastError", "the rows could not be stored: "+err.Error())
	}
}

// feastError answers as Feast's server does: a JSON string that contains JSON.
func feastError(w http.ResponseWriter, status int, class, message string) {
	inner, err := json.Marshal(map[string]string{"module": "feast.errors", "class": class, "message": message})
	if err != nil {
		inner = []byte(`{"module":"feast.errors","class":"FeastError","message":"internal error"}`)
	}
	web.JSON(w, status, string(inner))
}

type viewItem struct {
	View         string          `json:"view"`
	Version      int64           `json:"version"`
	Digest       string          `json:"digest"`
	Spec         events.ViewSpec `json:"spec"`
	Error        string          `json:"error,omitempty"`
	DeclaredAt   time.Time       `json:"declared_at"`
	Commits      int64           `json:"commits"`
	Rows         int64           `json:"rows"`
	Through      *time.Time      `json:"through,omitempty"`
	LastComputed *time.Time      `json:"last_computed,omitempty"`
	LastError    string          `json:"last_error,omitempty"`
}

func (e *Edge) views(w http.ResponseWriter, r *http.Request) {
	ns := web.Namespace(r)
	views, err := state.Views(r.Context(), e.State, ns)
	if err != nil {
		e.failed(w, err)
		return
	}
	computed, err := state.Materialisations(r.Context(), e.State, ns)
	if err != nil {
		e.failed(w, err)
		return
	}
	items := make([]viewItem, 0, len(views))
	for _, v := range views {
		item := viewItem{View: v.Name, Version: v.Version, Digest: v.Digest, Spec: v.Spec, Error: v.Error, DeclaredAt: v.At}
		for _, m := range computed {
			if m.View != v.Name || m.Version != v.Version {
				continue
			}
			item.Commits++
			item.Rows += m.Rows
			item.LastComputed, item.LastError = &m.At, m.Error
			if m.Through != nil && (item.Through == nil || m.Through.After(*item.Through)) {
				item.Through = m.Through
			}
		}
		items = append(items, item)
	}
	web.List(w, items)
}

type trainingSetItem struct {
	Request     string          `json:"request"`
	Model       string          `json:"model"`
	TrainingSet string          `json:"training_set,omitempty"`
	Status      string          `json:"status"`
	Reason      string          `json:"reason,omitempty"`
	AsOf        time.Time       `json:"as_of"`
	At          time.Time       `json:"at"`
	Built       json.RawMessage `json:"built,omitempty"`
}

func (e *Edge) trainingSets(w http.ResponseWriter, r *http.Request) {
	sets, err := state.TrainingSets(r.Context(), e.State, web.Namespace(r), r.URL.Query().Get("model"), e.ListLimit)
	if err != nil {
		e.failed(w, err)
		return
	}
	items := make([]trainingSetItem, 0, len(sets))
	for _, s := range sets {
		item := trainingSetItem{Request: s.Request, Model: s.Model, TrainingSet: s.TrainingSet, Reason: s.Failed, AsOf: s.AsOf, At: s.At, Built: s.Built,
			Status: "building"}
		switch {
		case s.Failed != "":
			item.Status = "failed"
		case s.TrainingSet != "":
			item.Status = "built"
		}
		items = append(items, item)
	}
	web.List(w, items)
}

func (e *Edge) failed(w http.ResponseWriter, err error) {
	e.Logger.Error("list", "error", err)
	web.Problem(w, http.StatusInternalServerError, "Internal error", "the feature store could not read its state; its log says why")
}
