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
	token        string
	login        *web.Login // nil where everybody is let in
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
func StartGateway(i *Infrastructure, listen, auth string, logger *slog.Logger) (*Gateway, error) {
	token, err := tokenFor(auth, i.dir)
	if err != nil {
		return nil, err
	}
	l, err := listenBeforeFree(listen, len(Names()), gate(token))
	if err != nil {
		return nil, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no TCP address", l.Addr()), l.Close())
	}
	g := &Gateway{listener: l, token: token, logger: logger, infra: i, services: map[string]*remote{}}
	if token != "" {
		g.login = web.NewLogin(web.Token(token), g.URL())
	}
	listens, at := map[string]string{}, map[string]int{}
	for n, name := range Names() {
		at[name] = addr.Port + 1 + n
		listens[name] = net.JoinHostPort("127.0.0.1", strconv.Itoa(at[name]))
		base := &url.URL{Scheme: "http", Host: listens[name]}
		g.services[name] = &remote{base: base.String(), proxy: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(base) },
			FlushInterval: -1,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				web.Problem(w, http.StatusBadGateway, "Service unavailable", name+" does not answer: "+err.Error())
			},
		}}
	}
	if g.environments, err = i.WriteEnvironments(listens, g.URL(), token); err != nil {
		return nil, errors.Join(fmt.Errorf("the services' environments: %w", err), l.Close())
	}
	if err := i.publish(l, token, at); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.mount()
	g.polling.Go(func() { g.poll(ctx) })
	g.server = web.Serve(l, web.Guard(l.Addr(), g.own()))
	return g, nil
}

// URL is where the gateway answers.
func (g *Gateway) URL() string { return "http://" + g.listener.Addr().String() }

// ConsoleLink is a link that lets one browser into the console.
func (g *Gateway) ConsoleLink() string {
	if g.login == nil {
		return g.URL()
	}
	return g.login.Link()
}

// own serves the gateway's own routes, and the services' as they are mounted.
func (g *Gateway) own() *web.Mux {
	mux := web.NewMux(gate(g.token), g.logger, nil)
	own(mux, Names, g.ready, g.status)
	describe(mux, g.described)
	if g.login != nil {
		g.login.Register(mux)
	}
	mux.Else(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(g.routes.Load(), w, r) }))
	return mux
}

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
			if g.ask(ctx, r.base+"/routez", &told) != nil || len(told.Patterns) == 0 {
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
		if err := g.ask(ctx, r.base+"/readyz", &told); err != nil {
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
		if err := g.ask(ctx, r.base+"/statusz", &told); err != nil {
			told = service.Status{Service: name, Behind: map[string]int64{}, Error: err.Error()}
		}
		out.Services[name] = told
		out.Settled = out.Settled && told.Settled && told.Position == end
	}
	return out
}

func (g *Gateway) ask(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if g.token != "" {
		r.Header.Set("Authorization", "Bearer "+g.token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	return json.NewDecoder(res.Body).Decode(into)
}
