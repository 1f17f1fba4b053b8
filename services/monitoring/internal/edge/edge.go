// Package edge lists windows and alerts.
package edge

import (
	"net/http"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
)

const (
	usualItems = 100
	mostItems  = 1000
)

// Edge reads the fold.
type Edge struct{ state eventlog.Reader }

// New returns an edge.
func New(reader eventlog.Reader) *Edge { return &Edge{state: reader} }

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/windows", Role: web.Reader, Summary: "List windows that were evaluated, the newest first",
		Query: []web.Parameter{web.InNamespace, web.AtMost,
			{Name: "model", Summary: "only of this model"}, {Name: "environment", Summary: "only of this environment"},
			{Name: "kind", Summary: "only of this kind"}}, Answer: web.Items[state.Window]{}}, e.windows)
	mux.Handle(web.Route{Pattern: "GET /v1/alerts", Role: web.Reader, Summary: "List alerts, the newest first",
		Query: []web.Parameter{web.InNamespace, web.AtMost,
			{Name: "model", Summary: "only of this model"}, {Name: "open", Summary: "only open ones", Value: false}},
		Answer: web.Items[state.Alert]{}}, e.alerts)
}

func (e *Edge) windows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := web.Limit(r, usualItems, mostItems)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	windows, err := state.Windows(r.Context(), e.state, web.Namespace(r), q.Get("model"), q.Get("environment"), q.Get("kind"), limit)
	if err != nil {
		web.Unreadable(w, "The windows", err)
		return
	}
	web.List(w, windows)
}

func (e *Edge) alerts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := web.Limit(r, usualItems, mostItems)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	alerts, err := state.Alerts(r.Context(), e.state, web.Namespace(r), q.Get("model"), q.Get("open") == "true", limit)
	if err != nil {
		web.Unreadable(w, "The alerts", err)
		return
	}
	web.List(w, alerts)
}
