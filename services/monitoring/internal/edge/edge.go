// Package edge lists windows and alerts.
package edge

import (
	"net/http"
	"strconv"

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
	mux.HandleFunc("GET /v1/windows", e.windows)
	mux.HandleFunc("GET /v1/alerts", e.alerts)
}

func (e *Edge) windows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	items, err := state.Windows(r.Context(), e.state, namespace(r), q.Get("model"), q.Get("environment"), q.Get("kind"), limit)
	answer(w, items, err)
}

func (e *Edge) alerts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	items, err := state.Alerts(r.Context(), e.state, namespace(r), q.Get("model"), q.Get("open") == "true", limit)
	answer(w, items, err)
}

func namespace(r *http.Request) string {
	if ns := r.URL.Query().Get("namespace"); ns != "" {
		return ns
	}
	return "default"
}

func limitOf(w http.ResponseWriter, r *http.Request) (int, bool) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return usualItems, true
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > mostItems {
		web.Problem(w, http.StatusBadRequest, "Bad limit", "limit is "+strconv.Quote(s)+"; 1 to "+strconv.Itoa(mostItems)+" is allowed")
		return 0, false
	}
	return n, true
}

func answer[T any](w http.ResponseWriter, items []T, err error) {
	if err != nil {
		web.Problem(w, http.StatusInternalServerError, "The list cannot be read", err.Error())
		return
	}
	if items == nil {
		items = []T{}
	}
	web.JSON(w, http.StatusOK, map[string]any{"items": items})
}
