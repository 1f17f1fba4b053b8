package suite

import (
	"context"
	"fmt"
	"net/http"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/libs/web/openapi"
)

// describe adds the routes that describe all routes: those of the mux itself, and the
// services', which parts asks for.
func describe(mux *web.Mux, parts func(context.Context) ([]openapi.Document, error)) {
	whole := func(w http.ResponseWriter, r *http.Request) (openapi.Document, bool) {
		merged, err := merge(r.Context(), mux, parts)
		if err != nil {
			web.Problem(w, http.StatusServiceUnavailable, "Not described", err.Error())
		}
		return merged, err == nil
	}
	mux.Handle(web.Route{Pattern: "GET /openapi.json", Role: web.Reader, Summary: "Describe all routes, as OpenAPI 3.1", Answer: web.Media("application/json")},
		func(w http.ResponseWriter, r *http.Request) {
			if d, ok := whole(w, r); ok {
				web.JSON(w, http.StatusOK, d)
			}
		})
	mux.Handle(web.Route{Pattern: "GET /docs/api", Role: web.Reader, Summary: "Describe all routes, for people", Answer: web.Media("text/html")},
		func(w http.ResponseWriter, r *http.Request) {
			d, ok := whole(w, r)
			if !ok {
				return
			}
			page, err := openapi.Page(d)
			if err != nil {
				web.Problem(w, http.StatusInternalServerError, "Internal error", err.Error())
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			_, _ = w.Write(page) // the client is gone if this fails
		})
}

// merge describes the mux's own routes and those of parts in one document.
func merge(ctx context.Context, mux *web.Mux, parts func(context.Context) ([]openapi.Document, error)) (openapi.Document, error) {
	own, err := document(openapi.Describe("suite", mux.Routes()))
	if err != nil {
		return nil, err
	}
	all, err := parts(ctx)
	if err != nil {
		return nil, err
	}
	return openapi.Merge(append([]openapi.Document{own}, all...)...)
}

// document is a description as its JSON has it.
func document(described any) (openapi.Document, error) {
	raw, err := openapi.JSON(described)
	if err != nil {
		return nil, err
	}
	return openapi.Read(raw)
}

// described are the descriptions of the services in this process.
func (s *Suite) described(context.Context) ([]openapi.Document, error) {
	all := make([]openapi.Document, len(s.services))
	for i, one := range s.services {
		var err error
		if all[i], err = document(one.Describe()); err != nil {
			return nil, fmt.Errorf("%s: %w", one.Name(), err)
		}
	}
	return all, nil
}

// described are the descriptions of the services that answer; of the others, no route is
// described until they do.
func (g *Gateway) described(ctx context.Context) ([]openapi.Document, error) {
	var all []openapi.Document
	for _, name := range Names() {
		var one openapi.Document
		if err := g.ask(ctx, g.services[name].base+"/openapi.json", &one); err == nil {
			all = append(all, one)
		}
	}
	return all, nil
}
