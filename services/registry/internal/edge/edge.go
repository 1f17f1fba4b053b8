// Package edge answers the registry's HTTP routes. All of them only read; a version
// is made, approved or denied by events alone.
package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/registry/internal/state"
)

// Edge reads the fold.
type Edge struct {
	state eventlog.Reader
	limit int
}

// New returns an edge whose lists hold at most limit items.
func New(state eventlog.Reader, limit int) *Edge { return &Edge{state: state, limit: limit} }

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/models", Role: web.Reader, Summary: "List models and their champions",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[state.ModelDetail]{}}, e.answer(e.models))
	mux.Handle(web.Route{Pattern: "GET /v1/models/{model}", Role: web.Reader, Summary: "Show a model",
		Query: []web.Parameter{web.InNamespace}, Answer: state.ModelDetail{}}, e.answer(e.model))
	mux.Handle(web.Route{Pattern: "GET /v1/models/{model}/versions", Role: web.Reader, Summary: "List versions of a model, the newest first",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[state.VersionDetail]{}}, e.answer(e.versions))
	mux.Handle(web.Route{Pattern: "GET /v1/models/{model}/versions/{version}", Role: web.Reader, Summary: "Show a version with all it was made of",
		Query: []web.Parameter{web.InNamespace}, Answer: state.VersionDetail{}}, e.answer(e.version))
}

var errUnknown = errors.New("unknown")

// answer makes a handler of a query.
func (e *Edge) answer(query func(context.Context, *http.Request, string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := query(r.Context(), r, web.Namespace(r))
		switch {
		case errors.Is(err, errUnknown):
			web.NotFound(w, "%s", err)
		case err != nil:
			web.Unreadable(w, "The registry's state", err)
		default:
			web.JSON(w, http.StatusOK, v)
		}
	}
}

func (e *Edge) models(ctx context.Context, _ *http.Request, namespace string) (any, error) {
	list, err := state.Models(ctx, e.state, namespace, "", e.limit)
	return web.Items[state.ModelDetail]{Items: list}, err
}

func (e *Edge) model(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name := r.PathValue("model")
	list, err := state.Models(ctx, e.state, namespace, name, e.limit)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w model %q in namespace %q", errUnknown, name, namespace)
	}
	return list[0], nil
}

func (e *Edge) versions(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name := r.PathValue("model")
	list, err := state.Versions(ctx, e.state, namespace, name, 0, e.limit)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if _, err := e.model(ctx, r, namespace); err != nil {
			return nil, err
		}
	}
	for i := range list {
		list[i].Registered, list[i].Environments, list[i].Slices = nil, nil, nil
	}
	return web.Items[state.VersionDetail]{Items: list}, nil
}

func (e *Edge) version(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name, number := r.PathValue("model"), r.PathValue("version")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil || version < 1 {
		return nil, fmt.Errorf("%w version %q: versions are numbers from 1", errUnknown, number)
	}
	list, err := state.Versions(ctx, e.state, namespace, name, version, e.limit)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w version %d of model %q in namespace %q", errUnknown, version, name, namespace)
	}
	return list[0], nil
}
