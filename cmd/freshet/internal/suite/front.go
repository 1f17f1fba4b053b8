package suite

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// front is the one listener's handler: every service's routes, and the suite's
// health. Until the routes are mounted it answers 503.
type front struct {
	suite  *Suite
	own    *web.Mux
	routes atomic.Pointer[http.ServeMux]
	all    atomic.Pointer[prometheus.Gatherers]
}

func newFront(s *Suite) *front {
	f := &front{suite: s, own: web.NewMux(gate(s.token), s.logger, nil)}
	own(f.own, s.names, s.Ready, s.Status)
	describe(f.own, s.described)
	f.own.Handle(web.Route{Pattern: "GET /metrics", Role: web.Reader, Summary: "Read metrics, as Prometheus does", Answer: web.Media("text/plain")}, f.metrics)
	if s.login != nil {
		s.login.Register(f.own)
	}
	f.own.Else(http.HandlerFunc(f.services))
	return f
}

// own adds the routes of the suite itself, in one process or in several.
func own(mux *web.Mux, names func() []string, ready func(context.Context) map[string]map[string]string, status func(context.Context) Status) {
	mux.Handle(web.Route{Pattern: "GET /healthz", Role: web.Anyone, Summary: "Say that the suite runs", Answer: service.Liveness{}},
		func(w http.ResponseWriter, _ *http.Request) {
			web.JSON(w, http.StatusOK, service.Liveness{Live: true, Services: names()})
		})
	mux.Handle(web.Route{Pattern: "GET /readyz", Role: web.Anyone, Summary: "Say what keeps services from their work", Answer: service.Readiness{}},
		func(w http.ResponseWriter, r *http.Request) { service.WriteReady(w, ready(r.Context())) })
	mux.Handle(web.Route{Pattern: "GET /statusz", Role: web.Reader, Summary: "Show where every service is in the log, and what waits", Answer: Status{}},
		func(w http.ResponseWriter, r *http.Request) { web.JSON(w, http.StatusOK, status(r.Context())) })
	serveContracts(mux)
}

// mount puts the services' routes before the listener. A route that two services
// serve is an error. The routes of services that do not run say so.
func (f *front) mount(services []*service.Service, process *prometheus.Registry) error {
	routes := http.NewServeMux()
	gatherers := prometheus.Gatherers{process}
	for _, s := range services {
		gatherers = append(gatherers, s.Metrics())
		for _, route := range s.Mux().Routes() {
			if err := handle(routes, route.Pattern, s.Mux()); err != nil {
				return fmt.Errorf("%s's route %q: %w", s.Name(), route.Pattern, err)
			}
		}
	}
	for _, d := range definitions {
		if f.suite.Runs(d.name) {
			continue
		}
		for _, path := range d.paths() {
			if err := handle(routes, path, absent(d.name)); err != nil {
				return fmt.Errorf("%s's route %q: %w", d.name, path, err)
			}
		}
	}
	f.all.Store(&gatherers)
	f.routes.Store(routes)
	return nil
}

// handle registers a pattern; the mux panics where two patterns collide.
func handle(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.own.ServeHTTP(w, r) }

// services serves the services' routes. Each checks the roles of its own.
func (f *front) services(w http.ResponseWriter, r *http.Request) {
	routes := f.routes.Load()
	if routes == nil {
		starting(w)
		return
	}
	serve(routes, w, r)
}

func (f *front) metrics(w http.ResponseWriter, r *http.Request) {
	all := f.all.Load()
	if all == nil {
		starting(w)
		return
	}
	promhttp.HandlerFor(*all, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

func starting(w http.ResponseWriter) {
	web.Problem(w, http.StatusServiceUnavailable, "Not ready", "the suite is starting or stopping")
}

// shared begin the paths that every service serves under its name.
var shared = []string{"/v1/parked/", "/v1/replay/", "/v1/trials/"}

// paths are those of a service's routes, and of what every service answers under its
// name.
func (d definition) paths() []string {
	var all []string
	for _, what := range shared {
		all = append(all, what+d.name, what+d.name+"/")
	}
	for _, pattern := range d.routes {
		_, path, _ := strings.Cut(pattern, " ")
		all = append(all, path)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// absent answers for a service that does not run.
func absent(service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.Problem(w, http.StatusNotFound, "Not found", r.URL.Path+" is served by "+service+", which does not run here: add it to --services")
	})
}

// serve serves what a mux knows and answers the rest with a problem.
func serve(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	if _, pattern := mux.Handler(r); pattern != "" {
		mux.ServeHTTP(w, r)
		return
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" && pattern != "GET /" && pattern != "/" {
			web.Problem(w, http.StatusMethodNotAllowed, "Method not allowed", r.Method+" is not served at "+r.URL.Path)
			return
		}
	}
	web.Problem(w, http.StatusNotFound, "Not found", "nothing is served at "+r.URL.Path)
}

// Status of the suite.
type Status struct {
	Services map[string]service.Status `json:"services"`
	End      uint64                    `json:"end"` // of the log
	Settled  bool                      `json:"settled"`
	Error    string                    `json:"error,omitempty"`
}

// Status asks every service twice, the log's end in between: settled means that
// both times nothing waited and everything had applied the whole log.
func (s *Suite) Status(ctx context.Context) Status {
	first := s.statuses(ctx)
	end, err := s.infra.end(ctx)
	out := Status{Services: first, End: end, Settled: err == nil}
	if err != nil {
		out.Error = "the log's server: " + err.Error()
	}
	check := func(all map[string]service.Status) {
		for _, st := range all {
			if !st.Settled || st.Position != end {
				out.Settled = false
			}
		}
	}
	if check(first); out.Settled {
		second := s.statuses(ctx)
		check(second)
		out.Services = second
	}
	return out
}

func (s *Suite) statuses(ctx context.Context) map[string]service.Status {
	return each(s.services, func(one *service.Service) service.Status { return one.Status(ctx) })
}

// each asks every service something, at once: where PostgreSQL hangs, each of them takes
// as long as it may.
func each[T any](services []*service.Service, ask func(*service.Service) T) map[string]T {
	out := map[string]T{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, one := range services {
		all.Go(func() {
			answer := ask(one)
			mu.Lock()
			defer mu.Unlock()
			out[one.Name()] = answer
		})
	}
	all.Wait()
	return out
}

// Ready returns, for each service, what keeps it from its work.
func (s *Suite) Ready(ctx context.Context) map[string]map[string]string {
	out := each(s.services, func(one *service.Service) map[string]string { return one.Ready(ctx) })
	if !s.started.Load() {
		out["suite"] = map[string]string{"start": "starting or stopping"}
	} else if wrong := s.infra.ready(); len(wrong) > 0 {
		out["suite"] = wrong
	}
	return out
}

func (s *Suite) names() []string {
	names := map[string]bool{}
	for _, one := range s.services {
		names[one.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}
