package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/libs/web/openapi"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	checkEvery   = 2 * time.Second
	checkTimeout = 2 * time.Second
	stalledAfter = 20 * time.Second
	clockEvery   = 30 * time.Second
	maxClockSkew = 5 * time.Second
)

// health is what the watch has seen.
type health struct {
	mu       sync.Mutex
	position uint64
	moved    time.Time // when position last moved, or nothing was waiting
	clockErr error
	clockAt  time.Time
	skew     time.Duration // this machine's clock from PostgreSQL's
	unready  int           // checks that fail
}

// measure registers the metrics of the alarms.
func (h *health) measure(metrics prometheus.Registerer) error {
	gauge := func(name, help string, read func() float64) error {
		return metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return read()
		}))
	}
	return errors.Join(
		gauge("freshet_unready_checks", "Checks of /readyz that fail.", func() float64 { return float64(h.unready) }),
		gauge("freshet_clock_skew_seconds", "Difference between this machine's clock and PostgreSQL's, when last compared.",
			func() float64 { return h.skew.Seconds() }),
	)
}

// watch samples progress and clocks.
func (h *health) watch(ctx context.Context, s *Service) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		h.sample(ctx, s)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *health) sample(ctx context.Context, s *Service) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	st := s.log.Status(ctx)
	now := time.Now()
	h.mu.Lock()
	if st.Position != h.position || st.Position >= st.End || h.moved.IsZero() {
		h.position, h.moved = st.Position, now
	}
	due := now.Sub(h.clockAt) > clockEvery
	h.mu.Unlock()
	if due && s.o.Clock == clock.System() {
		skew, err := measureSkew(ctx, s.pool)
		h.mu.Lock()
		h.clockErr, h.clockAt, h.skew = err, now, skew
		h.mu.Unlock()
	}
	unready := len(s.Ready(ctx))
	h.mu.Lock()
	h.unready = unready
	h.mu.Unlock()
}

// measureSkew compares this machine's clock with PostgreSQL's. The time that the query
// took is not counted as skew.
func measureSkew(ctx context.Context, pool *pgxpool.Pool) (skew time.Duration, _ error) {
	var postgresTime time.Time
	before := time.Now()
	if err := pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&postgresTime); err != nil {
		return 0, nil //nolint:nilerr // that PostgreSQL does not answer is another check's finding
	}
	switch after := time.Now(); {
	case postgresTime.Before(before):
		skew = before.Sub(postgresTime)
	case postgresTime.After(after):
		skew = postgresTime.Sub(after)
	}
	if skew > maxClockSkew {
		return skew, fmt.Errorf("this machine's clock differs from PostgreSQL's by %s: synchronize both with the same time server", skew.Round(time.Second))
	}
	return skew, nil
}

// Ready returns the failed checks, by name; an empty map means ready.
func (s *Service) Ready(ctx context.Context) map[string]string {
	if !s.ready.Load() {
		return map[string]string{"start": "the service is starting or stopping"}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	wrong := map[string]string{}
	if err := s.pool.Ping(ctx); err != nil {
		wrong["postgres"] = err.Error()
	}
	if !s.nats.IsConnected() {
		wrong["log"] = "the log's server is unavailable"
	}
	st := s.log.Status(ctx)
	if st.Err != nil {
		wrong["processing"] = st.Err.Error()
	}
	select {
	case <-s.logEnded:
		wrong["processing"] = "processing of the log has ended"
	default:
	}
	for _, c := range s.checks {
		if err := c.Find(ctx); err != nil {
			wrong[c.Name] = err.Error()
		}
	}
	if p := s.log.Renewing(); p != nil {
		wrong["rebuild"] = fmt.Sprintf("the fold's version changed: %d of %d events are folded again; until then reads answer from the old tables", p.Done, p.Of)
		return wrong
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if still := time.Since(s.health.moved); st.Position < st.End && st.Position == s.health.position && !s.health.moved.IsZero() && still > stalledAfter {
		wrong["progress"] = fmt.Sprintf("stalled at %d of %d for %s", st.Position, st.End, still.Round(time.Second))
	}
	if s.health.clockErr != nil {
		wrong["clock"] = s.health.clockErr.Error()
	}
	return wrong
}

// Status is a service's position in the log and its pending work.
type Status struct {
	Service  string           `json:"service"`
	Position uint64           `json:"position"` // of the log, applied
	End      uint64           `json:"end"`      // of the log, when last seen
	Behind   map[string]int64 `json:"behind"`
	Settled  bool             `json:"settled"` // no work is pending
	Error    string           `json:"error,omitempty"`
}

// Status counts what waits. Parked events wait for a person, so they do not keep
// a service from being settled; what cannot be counted does.
func (s *Service) Status(ctx context.Context) Status {
	if !s.ready.Load() {
		return Status{Service: s.o.Name, Behind: map[string]int64{}, Error: "the service is starting or stopping"}
	}
	st := s.log.Status(ctx)
	out := Status{Service: s.o.Name, Position: st.Position, End: st.End, Behind: behind(st)}
	errs := []error{st.Err}
	for _, l := range s.loops {
		if l.Behind == nil {
			continue
		}
		n, err := l.Behind(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Name, err))
			continue
		}
		out.Behind[l.Name] += n
	}
	if err := errors.Join(errs...); err != nil {
		out.Error = err.Error()
	}
	out.Settled = out.Error == ""
	for name, n := range out.Behind {
		if name != "parked" && n != 0 {
			out.Settled = false
		}
	}
	return out
}

func behind(st eventlog.Status) map[string]int64 {
	b := map[string]int64{"log": 0, "outbox": st.Outbox, "effects": st.Effects, "parked": st.Parked}
	if st.End > st.Position {
		b["log"] = int64(st.End - st.Position) //nolint:gosec // a count of messages
	}
	return b
}

// Handler serves the service's routes and its own health.
func (s *Service) Handler() http.Handler {
	mux := web.NewMux(s.o.gate(), s.logger, nil)
	mux.Handle(web.Route{Pattern: "GET /healthz", Role: web.Anyone, Summary: "Say that the process runs", Answer: Liveness{}},
		func(w http.ResponseWriter, _ *http.Request) {
			web.JSON(w, http.StatusOK, Liveness{Live: true, Services: []string{s.o.Name}})
		})
	mux.Handle(web.Route{Pattern: "GET /readyz", Role: web.Anyone, Summary: "Say what keeps services from their work", Answer: Readiness{}},
		func(w http.ResponseWriter, r *http.Request) {
			WriteReady(w, map[string]map[string]string{s.o.Name: s.Ready(r.Context())})
		})
	mux.Handle(web.Route{Pattern: "GET /statusz", Role: web.Reader, Summary: "Show the service's position in the log", Answer: Status{}},
		func(w http.ResponseWriter, r *http.Request) { web.JSON(w, http.StatusOK, s.Status(r.Context())) })
	mux.Handle(web.Route{Pattern: "GET /metrics", Role: web.Reader, Summary: "Read metrics, as Prometheus does", Answer: web.Media("text/plain")},
		promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}).ServeHTTP)
	mux.Handle(web.Route{Pattern: "GET /routez", Role: web.Reader, Summary: "List what the suite mounts", Answer: Routes{}},
		func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, http.StatusOK, s.routes()) })
	mux.Handle(web.Route{Pattern: "GET /openapi.json", Role: web.Reader, Summary: "Describe the routes of " + s.o.Name, Answer: web.Media("application/json")},
		func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, http.StatusOK, s.Describe()) })
	mux.Else(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ready.Load() {
			web.Problem(w, http.StatusServiceUnavailable, "Not ready", s.o.Name+" is starting or stopping")
			return
		}
		s.mux.ServeHTTP(w, r)
	}))
	return mux
}

// Describe is the description of the service's routes; complete after Start.
func (s *Service) Describe() *huma.OpenAPI { return openapi.Describe(s.o.Name, s.mux.Routes()) }

// Liveness answers whoever asks whether a process runs.
type Liveness struct {
	Live     bool     `json:"alive"`
	Services []string `json:"services"`
}

// Routes are what a service serves; the suite mounts them.
type Routes struct {
	Service  string   `json:"service"`
	Patterns []string `json:"patterns"`
}

func (s *Service) routes() Routes {
	out := Routes{Service: s.o.Name}
	for _, route := range s.mux.Routes() {
		out.Patterns = append(out.Patterns, route.Pattern)
	}
	return out
}

// Readiness says for each service what keeps it from its work.
type Readiness struct {
	Ready    bool                         `json:"ready"`
	Services map[string]map[string]string `json:"services"`
}

// WriteReady answers a readiness request: 200 when no service finds anything
// wrong, else 503, with each finding.
func WriteReady(w http.ResponseWriter, services map[string]map[string]string) {
	status := http.StatusOK
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if len(services[name]) > 0 {
			status = http.StatusServiceUnavailable
		}
	}
	web.JSON(w, status, Readiness{Ready: status == http.StatusOK, Services: services})
}
