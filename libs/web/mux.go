package web

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Mux is net/http's mux with routes that are declared: it lets nobody pass who has not
// the role that a route needs, and remembers them, so that one listener can stand before
// several services. It counts and traces what it serves.
type Mux struct {
	mux    *http.ServeMux
	gate   Gate
	logger *slog.Logger
	tracer trace.Tracer
	next   http.Handler

	mu     sync.Mutex
	routes []Route

	duration *prometheus.HistogramVec
	requests *prometheus.CounterVec
}

// NewMux returns an empty mux behind a gate. Logger and metrics may be nil.
func NewMux(gate Gate, logger *slog.Logger, metrics prometheus.Registerer) *Mux {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Mux{
		mux:    http.NewServeMux(),
		gate:   gate,
		logger: logger,
		tracer: otel.Tracer("github.com/freshet-io/freshet/libs/web"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "freshet_http_request_seconds",
			Help: "Duration of HTTP requests by pattern.",
			// Every pattern costs a sample for each bucket, so these are few. A Prometheus
			// that scrapes native histograms gets buckets of 10 % in their place.
			Buckets:                     []float64{.0005, .002, .01, .05, .25, 1, 5},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"pattern"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_http_requests_total",
			Help: "HTTP requests by pattern and status class.",
		}, []string{"pattern", "status"}),
	}
	if metrics != nil {
		if err := errors.Join(metrics.Register(m.duration), metrics.Register(m.requests)); err != nil {
			logger.Warn("http metrics are not registered", "error", err)
		}
	}
	return m
}

// Handle registers a route. It panics where another route is the same.
func (m *Mux) Handle(route Route, h http.HandlerFunc) {
	m.mu.Lock()
	m.routes = append(m.routes, route)
	m.mu.Unlock()
	m.mux.Handle(route.Pattern, m.observe(route, h))
}

// Else serves what no route of this mux does.
func (m *Mux) Else(next http.Handler) { m.next = next }

// Routes are the registered ones, in order.
func (m *Mux) Routes() []Route {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.routes)
}

// ServeHTTP serves what was registered and answers everything else with a problem.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := m.mux.Handler(r)
	if pattern != "" {
		m.mux.ServeHTTP(w, r)
		return
	}
	if m.next != nil {
		m.next.ServeHTTP(w, r)
		return
	}
	// The mux's own answer says whether the path or only the method is unknown.
	rec := &answer{header: http.Header{}}
	h.ServeHTTP(rec, r)
	switch {
	case rec.status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", rec.header.Get("Allow"))
		Problem(w, rec.status, "Method not allowed", r.Method+" is not served at "+r.URL.Path)
	case rec.status >= 300 && rec.status < 400:
		h.ServeHTTP(w, r)
	default:
		Problem(w, http.StatusNotFound, "Not found", "nothing is served at "+r.URL.Path)
	}
}

// observe lets in, recovers, counts and traces one handler.
func (m *Mux) observe(route Route, h http.Handler) http.Handler {
	pattern := route.Pattern
	duration := m.duration.WithLabelValues(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		ctx := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := m.tracer.Start(ctx, pattern, trace.WithSpanKind(trace.SpanKindServer))
		if span.IsRecording() {
			r = r.WithContext(ctx)
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
					span.End()
					panic(p) //nolint:forbidigo // net/http's own way to cut a connection
				}
				m.logger.Error("a handler panicked", "pattern", pattern, "panic", p, "stack", string(debug.Stack()))
				if sw.status == 0 {
					Problem(sw, http.StatusInternalServerError, "Internal error", "the request failed; the server's log says why")
				}
			}
			status := sw.status
			if status == 0 {
				status = http.StatusOK
			}
			duration.Observe(time.Since(began).Seconds())
			m.requests.WithLabelValues(pattern, strconv.Itoa(min(status/100, 5))+"xx").Inc()
			span.SetAttributes(attribute.Int("http.response.status_code", status))
			span.End()
		}()
		if admit(sw, r, m.gate, route.Role) {
			h.ServeHTTP(sw, r)
		}
	})
}

// statusWriter remembers the status that a handler answered with.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answer keeps the header and status of a handler, not its body.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return len(b), nil
}

func (a *answer) WriteHeader(status int) { a.status = status }
