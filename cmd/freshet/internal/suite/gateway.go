package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
)

const (
	pollEvery   = time.Second
	pollTimeout = 500 * time.Millisecond
)

// Gateway stands before services that run in processes of their own, as the one
// listener of a suite does: it asks each of them for its routes and mounts those.
type Gateway struct {
	listener     net.Listener
	server       *web.Server
	logger       *slog.Logger
	infra        *Infrastructure
	environments string
	services     map[string]*remote
	routes       atomic.Pointer[http.ServeMux]
	stop         context.CancelFunc
	polling      sync.WaitGroup
}

// remote is a service's process.
type remote struct {
	base  string
	proxy *httputil.ReverseProxy

	mu       sync.Mutex
	patterns []string // as last told; a service that restarts keeps them
}

// StartGateway listens, and writes what the services' processes read. Each
// service gets a port of its own, counted from the listener's; with port 0 all of
// them were free a moment ago.
func StartGateway(i *Infrastructure, listen string, logger *slog.Logger) (*Gateway, error) {
	l, err := listenBeforeFree(listen, len(Names()))
	if err != nil {
		return nil, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no TCP address", l.Addr()), l.Close())
	}
	g := &Gateway{listener: l, logger: logger, infra: i, services: map[string]*remote{}}
	listens := map[string]string{}
	for n, name := range Names() {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(addr.Port+1+n))
		listens[name] = at
		base := &url.URL{Scheme: "http", Host: at}
		g.services[name] = &remote{base: base.String(), proxy: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(base) },
			FlushInterval: -1,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				web.Problem(w, http.StatusBadGateway, "Service unavailable", name+" does not answer: "+err.Error())
			},
		}}
	}
	if g.environments, err = i.WriteEnvironments(listens, g.URL()); err != nil {
		return nil, errors.Join(fmt.Errorf("the services' environments: %w", err), l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.mount()
	g.polling.Go(func() { g.poll(ctx) })
	g.server = web.Serve(l, web.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(g.routes.Load(), w, r)
	})))
	return g, nil
}

// URL is where the gateway answers.
func (g *Gateway) URL() string { return "http://" + g.listener.Addr().String() }

// Environments is the directory with a file per service.
func (g *Gateway) Environments() string { return g.environments }

// Stop ends it.
func (g *Gateway) Stop(ctx context.Context) error {
	g.stop()
	g.polling.Wait()
	return g.server.Stop(ctx)
}

// poll asks every service for its routes, again and again.
func (g *Gateway) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		changed := false
		for _, r := range g.services {
			var told service.Routes
			if ask(ctx, r.base+"/routez", &told) != nil || len(told.Patterns) == 0 {
				continue
			}
			r.mu.Lock()
			if fmt.Sprint(r.patterns) != fmt.Sprint(told.Patterns) {
				r.patterns, changed = told.Patterns, true
			}
			r.mu.Unlock()
		}
		if changed {
			g.mount()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gateway) mount() {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]any{"alive": true, "services": Names()})
	})
	routes.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { service.WriteReady(w, g.ready(r.Context())) })
	routes.HandleFunc("GET /statusz", func(w http.ResponseWriter, r *http.Request) { web.JSON(w, http.StatusOK, g.status(r.Context())) })
	for _, name := range Names() {
		r := g.services[name]
		r.mu.Lock()
		for _, pattern := range r.patterns {
			if err := handle(routes, pattern, r.proxy); err != nil {
				g.logger.Error("a route is not mounted", "service", name, "pattern", pattern, "error", err)
			}
		}
		r.mu.Unlock()
	}
	g.routes.Store(routes)
}

func (g *Gateway) ready(ctx context.Context) map[string]map[string]string {
	out := map[string]map[string]string{}
	if wrong := g.infra.ready(); len(wrong) > 0 {
		out["suite"] = wrong
	}
	for name, r := range g.services {
		var told struct {
			Services map[string]map[string]string `json:"services"`
		}
		if err := ask(ctx, r.base+"/readyz", &told); err != nil {
			out[name] = map[string]string{"process": err.Error()}
			continue
		}
		out[name] = told.Services[name]
	}
	return out
}

func (g *Gateway) status(ctx context.Context) Status {
	end, err := g.infra.end(ctx)
	out := Status{Services: map[string]service.Status{}, End: end, Settled: err == nil}
	for name, r := range g.services {
		var told service.Status
		if err := ask(ctx, r.base+"/statusz", &told); err != nil {
			told = service.Status{Service: name, Behind: map[string]int64{}, Error: err.Error()}
		}
		out.Services[name] = told
		out.Settled = out.Settled && told.Settled && told.Position == end
	}
	return out
}

func ask(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	return json.NewDecoder(res.Body).Decode(into)
}
