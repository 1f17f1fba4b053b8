package edge

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/past/asof"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

const (
	usuallyTold  = 200
	usuallyDrawn = 60
	mostTold     = 2000
)

// registerPast adds the routes that ask the past.
func (e *Edge) registerPast(mux *web.Mux) {
	asked := []web.Parameter{
		web.InNamespace, {Name: "at", Summary: "what served at this time or position, instead of now"}, {Name: "format", Summary: "json (the default) or svg"},
	}
	mux.Handle(web.Route{Pattern: "GET /v1/as-of/{point}", Role: web.Reader, Summary: "Show how everything stood at a time or a position of the log",
		Query: []web.Parameter{web.InNamespace, {Name: "model", Summary: "only this model, and what it is made of"}}, Answer: asof.Answer{}}, e.asOf)
	mux.Handle(web.Route{Pattern: "GET /v1/why/{name}", Role: web.Reader, Summary: "Explain why something is so, back to the commits",
		Query: asked, Answer: lineage.Answer{}}, e.why)
	mux.Handle(web.Route{Pattern: "GET /v1/why/{environment}/{model}", Role: web.Reader, Summary: "Explain why a version serves, back to the commits",
		Query: asked, Answer: lineage.Answer{}}, e.why)
	mux.Handle(web.Route{Pattern: "GET /v1/impact/{name}", Role: web.Reader, Summary: "Show what came of a commit, or of any event",
		Query: append(asked, web.AtMost), Answer: lineage.Answer{}}, e.impact)
	mux.Handle(web.Route{Pattern: "GET /v1/impact/{environment}/{model}", Role: web.Reader, Summary: "Show what came of the version that serves",
		Query: append(asked, web.AtMost), Answer: lineage.Answer{}}, e.impact)
}

// end is how far the index is.
func (e *Edge) end(r *http.Request) int64 {
	return int64(e.log.Status(r.Context()).Position) //nolint:gosec // a sequence of the log
}

// mostNamespaces are named where another one is asked for.
const mostNamespaces = 10

// nothingIn answers where a namespace has no events at all, while others have: it may be
// written wrongly.
func (e *Edge) nothingIn(w http.ResponseWriter, r *http.Request) bool {
	happened, err := state.Happened(r.Context(), e.log.State(), web.Namespace(r))
	if err != nil {
		unreadable(w, err)
		return true
	}
	if happened {
		return false
	}
	others, err := state.Namespaces(r.Context(), e.log.State(), mostNamespaces)
	if err != nil {
		unreadable(w, err)
		return true
	}
	web.NotFound(w, "namespace %q has no events; %s", web.Namespace(r), there(others))
	return true
}

// positionOf reads a name that is a position of the log.
func positionOf(name string) (int64, bool) {
	n, err := strconv.ParseInt(name, 10, 64)
	return n, err == nil && n > 0
}

// nothingAt says which positions there are, of a log that is indexed up to end.
func nothingAt(r *http.Request, position, end int64) string {
	if position <= end {
		return fmt.Sprintf("position %d of the log is no event of namespace %q", position, web.Namespace(r))
	}
	return fmt.Sprintf("there is no position %d; the log that is indexed goes from 1 to %d", position, end)
}

// position finds the point that a request asks about; false where it was answered.
func (e *Edge) position(w http.ResponseWriter, r *http.Request, point string) (int64, bool) {
	position, err := asof.Position(r.Context(), e.log.State(), point, e.end(r), e.clock.Now())
	switch {
	case errors.Is(err, asof.ErrBadPoint):
		web.Problem(w, http.StatusBadRequest, "Bad point", err.Error())
	case err != nil:
		unreadable(w, err)
	default:
		return position, true
	}
	return 0, false
}

// asOf answers how everything stood at a position or a time.
func (e *Edge) asOf(w http.ResponseWriter, r *http.Request) {
	point, model := r.PathValue("point"), r.URL.Query().Get("model")
	if !e.bounded(w, point) || model != "" && !e.bounded(w, model) {
		return
	}
	position, ok := e.position(w, r, point)
	if !ok {
		return
	}
	a, err := asof.At(r.Context(), e.log.State(), web.Namespace(r), point, model, position, e.limit)
	if (err == nil && position > 0 || errors.Is(err, asof.ErrUnknownModel)) && e.nothingIn(w, r) {
		return
	}
	switch {
	case errors.Is(err, asof.ErrUnknownModel):
		e.unknownModel(w, r, model, position)
	case err != nil:
		unreadable(w, err)
	default:
		web.JSON(w, http.StatusOK, a)
	}
}

func (e *Edge) unknownModel(w http.ResponseWriter, r *http.Request, model string, position int64) {
	a, err := asof.At(r.Context(), e.log.State(), web.Namespace(r), "", "", position, e.limit)
	if err != nil {
		unreadable(w, err)
		return
	}
	names := make([]string, len(a.Models))
	for i, m := range a.Models {
		names[i] = fmt.Sprint(m["model"])
	}
	web.NotFound(w, "there was no model %q in namespace %q at position %d; %s", model, web.Namespace(r), position, there(names))
}

// why answers why something is so; with ?at=, an environment as it was then.
func (e *Edge) why(w http.ResponseWriter, r *http.Request) {
	name, ok := e.name(w, r)
	if !ok {
		return
	}
	position, ok := e.position(w, r, r.URL.Query().Get("at"))
	if !ok {
		return
	}
	a, err := e.explainer.Why(r.Context(), web.Namespace(r), name, position)
	e.respond(w, r, name, position, a, err)
}

// impact answers what came of something.
func (e *Edge) impact(w http.ResponseWriter, r *http.Request) {
	name, ok := e.name(w, r)
	if !ok {
		return
	}
	told := usuallyTold
	if r.URL.Query().Get("format") == "svg" {
		told = usuallyDrawn
	}
	told, err := web.Limit(r, told, mostTold)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	position, ok := e.position(w, r, r.URL.Query().Get("at"))
	if !ok {
		return
	}
	a, err := e.explainer.Impact(r.Context(), web.Namespace(r), name, position, told)
	e.respond(w, r, name, position, a, err)
}

// name is what the path names: one part, or an environment and a model.
func (e *Edge) name(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.PathValue("name")
	if name == "" {
		name = state.EnvironmentKey(r.PathValue("environment"), r.PathValue("model"))
	}
	return name, e.bounded(w, name)
}

// bounded refuses names that nothing can have.
func (e *Edge) bounded(w http.ResponseWriter, name string) bool {
	if name == "" || len(name) > state.LongestName || strings.ContainsFunc(name,
		func(c rune) bool { return unicode.IsControl(c) || c == unicode.ReplacementChar }) {
		web.Problem(w, http.StatusBadRequest, "Bad name", fmt.Sprintf("a name has 1 to %d printable characters", state.LongestName))
		return false
	}
	return true
}

// respond writes a graph as JSON, or as a picture where that is asked for. What came after
// the position that was asked for was unknown then.
func (e *Edge) respond(w http.ResponseWriter, r *http.Request, name string, position int64, a lineage.Answer, err error) {
	at := r.URL.Query().Get("at")
	if err == nil && at != "" && a.Began() > position {
		err = state.ErrUnknown
	}
	var ambiguous *state.AmbiguousError
	switch {
	case errors.Is(err, state.ErrUnknown) && e.nothingIn(w, r):
		return
	case errors.Is(err, state.ErrUnknown):
		if at != "" {
			web.NotFound(w, "nothing was called %q in namespace %q at %s; leave out --at to see whether it came later", name, web.Namespace(r), at)
			return
		}
		if sequence, is := positionOf(name); is {
			web.NotFound(w, "%s", nothingAt(r, sequence, e.end(r)))
			return
		}
		names, err := state.There(r.Context(), e.log.State(), web.Namespace(r))
		if err != nil {
			unreadable(w, err)
			return
		}
		web.NotFound(w, "nothing is called %q in namespace %q; %s", name, web.Namespace(r), there(names))
		return
	case errors.As(err, &ambiguous):
		web.Problem(w, http.StatusBadRequest, "Ambiguous name", err.Error())
		return
	case err != nil:
		unreadable(w, err)
		return
	}
	switch format := r.URL.Query().Get("format"); format {
	case "", "json":
		web.JSON(w, http.StatusOK, a)
	case "svg":
		var b bytes.Buffer
		if err := a.Draw(&b); err != nil {
			unreadable(w, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "image/svg+xml")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b.Bytes()) // the client is gone if this fails
	default:
		web.BadQuery(w, fmt.Errorf("format is %q; json or svg is allowed", format))
	}
}

// there says which names there are.
func there(names []string) string {
	if len(names) == 0 {
		return "there is nothing yet"
	}
	return "there are " + strings.Join(names, ", ")
}
