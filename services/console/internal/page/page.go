// Package page is the console's one HTML page with its style and script, embedded in
// the binary: it needs no network but the console's own routes.
package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/console/internal/state"
)

//go:embed assets
var assets embed.FS

// How many ripples and versions the page lists.
const (
	shown  = 300
	listed = 50
)

// policy lets the page load nothing but its own parts, and nobody frame it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page serves the page.
type Page struct {
	state    eventlog.Reader
	template *template.Template
}

// New returns a page over the console's state.
func New(s eventlog.Reader) (*Page, error) {
	t, err := template.New("page.html").Funcs(template.FuncMap{
		"metrics": metrics, "when": when, "words": words,
	}).ParseFS(assets, "assets/page.html")
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return &Page{state: s, template: t}, nil
}

// Register adds the routes.
func (p *Page) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /{$}", Role: web.Reader, Summary: "Open the console", Query: []web.Parameter{web.InNamespace},
		Answer: web.Media("text/html")}, p.page)
	mux.Handle(asset("GET /console/style.css", "text/css"), p.asset("style.css", "text/css; charset=utf-8"))
	mux.Handle(asset("GET /console/services.css", "text/css"), p.asset("services.css", "text/css; charset=utf-8"))
	mux.Handle(asset("GET /console/app.js", "text/javascript"), p.asset("app.js", "text/javascript; charset=utf-8"))
	mux.Handle(asset("GET /console/graph.js", "text/javascript"), p.asset("graph.js", "text/javascript; charset=utf-8"))
	mux.Handle(asset("GET /console/page.js", "text/javascript"), p.asset("page.js", "text/javascript; charset=utf-8"))
	mux.Handle(asset("GET /console/past.js", "text/javascript"), p.asset("past.js", "text/javascript; charset=utf-8"))
	mux.Handle(asset("GET /console/worklist.js", "text/javascript"), p.asset("worklist.js", "text/javascript; charset=utf-8"))
	mux.Handle(asset("GET /console/icon.svg", "image/svg+xml"), p.asset("icon.svg", "image/svg+xml"))
	mux.Handle(web.Route{Pattern: "GET /console/state", Role: web.Reader, Summary: "Read what the console shows beside the ripples",
		Query: []web.Parameter{web.InNamespace}, Answer: view{}}, p.side)
}

// asset declares a part of the page.
func asset(pattern string, media web.Media) web.Route {
	return web.Route{Pattern: pattern, Role: web.Reader, Summary: "Read a part of the console's page", Answer: media}
}

func (p *Page) asset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := assets.ReadFile("assets/" + name)
		if err != nil {
			web.Problem(w, http.StatusInternalServerError, "Internal error", err.Error())
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b) // the client is gone if this fails
	}
}

// A view is what the page shows.
type view struct {
	Namespace string           `json:"namespace"`
	Approvals []state.Approval `json:"approvals"`
	Champions []state.Champion `json:"champions"`
	Versions  []version        `json:"versions"`
	Ripples   []state.Ripple   `json:"-"`
	Changed   int64            `json:"changed"`
	Triggers  []string         `json:"-"`
}

func (p *Page) view(ctx context.Context, namespace string) (view, error) {
	v := view{Namespace: namespace, Triggers: []string{"data", "code", "drift", "quality", "schedule", "person"}}
	var err error
	// What changed is read first: what changes meanwhile is reported by the stream again.
	if v.Changed, err = state.Newest(ctx, p.state, namespace); err != nil {
		return v, err
	}
	if v.Approvals, err = state.Approvals(ctx, p.state, namespace); err != nil {
		return v, err
	}
	if v.Champions, err = state.Champions(ctx, p.state, namespace); err != nil {
		return v, err
	}
	all, err := state.Versions(ctx, p.state, namespace, listed)
	v.Versions = make([]version, len(all))
	for i, one := range all {
		v.Versions[i] = version{Model: one.Model, Version: one.Version, Status: one.Status, Serves: []string{}}
		for _, c := range v.Champions {
			if c.Model == one.Model && c.Version == one.Version {
				v.Versions[i].Serves = append(v.Versions[i].Serves, c.Environment)
			}
		}
	}
	return v, err
}

// A version, and where it serves.
type version struct {
	Model   string   `json:"model"`
	Version int64    `json:"version"`
	Status  string   `json:"status"`
	Serves  []string `json:"serves"` // environments
}

// side answers what stands beside the ripples, for the page to refresh.
func (p *Page) side(w http.ResponseWriter, r *http.Request) {
	v, err := p.view(r.Context(), web.Namespace(r))
	if err != nil {
		web.Unreadable(w, "The console's state", err)
		return
	}
	if v.Approvals == nil {
		v.Approvals = []state.Approval{}
	}
	if v.Champions == nil {
		v.Champions = []state.Champion{}
	}
	web.JSON(w, http.StatusOK, v)
}

func (p *Page) page(w http.ResponseWriter, r *http.Request) {
	v, err := p.view(r.Context(), web.Namespace(r))
	if err == nil {
		v.Ripples, err = state.Ripples(r.Context(), p.state, state.Filter{Namespace: v.Namespace, Limit: shown})
	}
	var b bytes.Buffer
	if err == nil {
		err = p.template.Execute(&b, v)
	}
	if err != nil {
		web.Problem(w, http.StatusInternalServerError, "The page cannot be made", err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(b.Bytes()) // the client is gone if this fails
}

func when(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04") }

func words(s string) string { return strings.ReplaceAll(s, "_", " ") }

// A measure is one row of the table beside an approval.
type measure struct {
	Metric                     string
	Candidate, Champion, Naive string
}

// metrics lines up what the candidate, the champion and the naive predictor reached.
func metrics(a state.Approval) ([]measure, error) {
	var candidate, naive map[string]float64
	var champion struct {
		Metrics map[string]float64 `json:"metrics"`
	}
	if err := json.Unmarshal(a.Candidate, &candidate); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.Naive, &naive); err != nil {
		return nil, err
	}
	if len(a.Champion) > 0 {
		if err := json.Unmarshal(a.Champion, &champion); err != nil {
			return nil, err
		}
	}
	return lineUp(candidate, champion.Metrics, naive), nil
}
