package web_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
)

func TestMuxAnswersProblems(t *testing.T) {
	t.Parallel()
	m := web.NewMux(web.Open{}, nil, nil)
	m.Handle(web.Route{Pattern: "GET /v1/things/{id}", Role: web.Reader}, func(w http.ResponseWriter, r *http.Request) {
		web.JSON(w, http.StatusOK, map[string]string{"id": r.PathValue("id")})
	})
	m.Handle(web.Route{Pattern: "GET /v1/broken", Role: web.Reader}, func(http.ResponseWriter, *http.Request) {
		var none map[string]string
		none["a"] = "b"
	})
	require.Len(t, m.Routes(), 2)
	require.Equal(t, "GET /v1/things/{id}", m.Routes()[0].Pattern)
	for _, c := range []struct {
		method, path string
		status       int
		has          string
	}{
		{"GET", "/v1/things/7", 200, `"id":"7"`},
		{"POST", "/v1/things/7", 405, "POST is not served"},
		{"GET", "/v1/other", 404, "nothing is served"},
		{"GET", "/v1/broken", 500, "Internal error"},
	} {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		require.Equal(t, c.status, w.Code, c.path)
		require.Contains(t, w.Body.String(), c.has)
		if c.status != 200 {
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		}
	}
}

// What is measured of a route is one histogram, whatever it answers, and a counter of
// each class of answers that it gave.
func TestRequestsAreTimedByRouteAndCountedByAnswer(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	m := web.NewMux(web.Open{}, nil, metrics)
	m.Handle(web.Route{Pattern: "GET /v1/things/{id}", Role: web.Reader}, func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "none" {
			web.Problem(w, http.StatusNotFound, "Not found", "there is no such thing")
		}
	})
	m.Handle(web.Route{Pattern: "GET /v1/unused", Role: web.Reader}, func(http.ResponseWriter, *http.Request) {})
	for _, id := range []string{"1", "2", "none"} {
		m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/things/"+id, nil))
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`freshet_http_request_seconds_count{pattern="GET /v1/things/{id}"} 3`,
		`freshet_http_request_seconds_count{pattern="GET /v1/unused"} 0`,
		`freshet_http_requests_total{pattern="GET /v1/things/{id}",status="2xx"} 2`,
		`freshet_http_requests_total{pattern="GET /v1/things/{id}",status="4xx"} 1`,
	} {
		require.Contains(t, w.Body.String(), line+"\n")
	}
	require.Equal(t, 2, strings.Count(w.Body.String(), "\nfreshet_http_requests_total{"))
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	for _, declared := range []bool{true, false} {
		var body io.Reader = strings.NewReader("12345")
		if !declared {
			body = io.MultiReader(body)
		}
		r := httptest.NewRequest("POST", "/", body)
		_, err := web.Body(httptest.NewRecorder(), r, 4)
		require.ErrorIs(t, err, web.ErrTooLarge)
		w := httptest.NewRecorder()
		web.BodyProblem(w, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	}
	b, err := web.Body(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader("1234")), 4)
	require.NoError(t, err)
	require.Equal(t, "1234", string(b))
}

func TestServesLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:80", "127.0.0.1"} {
		_, err := web.Listen(addr, web.Open{})
		require.Error(t, err, addr)
	}
	l, err := web.Listen("127.0.0.1:0", web.Open{})
	require.NoError(t, err)
	s := web.Serve(l, web.Guard(l.Addr(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, 200, "ok") })))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })

	for _, c := range []struct {
		host, site string
		status     int
	}{{"", "", 200}, {"localhost:1", "", 200}, {"[::1]:1", "", 200}, {"evil.example", "", 421}, {"", "cross-site", 403}, {"", "same-origin", 200}} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+l.Addr().String()+"/", nil)
		require.NoError(t, err)
		if c.host != "" {
			r.Host = c.host
		}
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, c.status, res.StatusCode, "%+v", c)
	}
}

func TestStreamSendsAndEndsWithTheServer(t *testing.T) {
	t.Parallel()
	l, err := web.Listen("127.0.0.1:0", web.Open{})
	require.NoError(t, err)
	m := web.NewMux(web.Open{}, nil, nil)
	m.Handle(web.Route{Pattern: "GET /tail", Role: web.Reader}, func(w http.ResponseWriter, r *http.Request) {
		s, err := web.SSE(w)
		if err != nil {
			t.Error(err)
			return
		}
		if err := s.Send("event", "7", []byte("two\nlines")); err != nil {
			t.Error(err)
		}
		if err := s.Send("bad\nname", "", nil); err == nil {
			t.Error("a name of two lines was sent")
		}
		<-r.Context().Done()
	})
	s := web.Serve(l, m)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+l.Addr().String()+"/tail", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	lines := bufio.NewScanner(res.Body)
	for _, want := range []string{"id: 7", "event: event", "data: two", "data: lines", ""} {
		require.True(t, lines.Scan())
		require.Equal(t, want, lines.Text())
	}
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, res.Body.Close())
}
