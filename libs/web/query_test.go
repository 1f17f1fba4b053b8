package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

func TestQueriesNameANamespaceAndALimit(t *testing.T) {
	t.Parallel()
	require.Equal(t, "default", web.Namespace(httptest.NewRequest("GET", "/v1/things", nil)))
	require.Equal(t, "default", web.Namespace(httptest.NewRequest("GET", "/v1/things?namespace=", nil)))
	require.Equal(t, "lab", web.Namespace(httptest.NewRequest("GET", "/v1/things?namespace=lab", nil)))

	for query, want := range map[string]int{"": 100, "?limit=": 100, "?limit=1": 1, "?limit=1000": 1000} {
		n, err := web.Limit(httptest.NewRequest("GET", "/v1/things"+query, nil), 100, 1000)
		require.NoError(t, err, query)
		require.Equal(t, want, n, query)
	}
	for _, query := range []string{"0", "-1", "1001", "1.5", "many", "99999999999999999999"} {
		_, err := web.Limit(httptest.NewRequest("GET", "/v1/things?limit="+query, nil), 100, 1000)
		require.EqualError(t, err, `limit is "`+query+`"; give a whole number from 1 to 1000, or leave it out for 100`)
	}
}

func TestAListWithoutItemsIsEmpty(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items []string
		want  string
	}{{nil, `{"items":[]}`}, {[]string{"a<b"}, `{"items":["a<b"]}`}} {
		w := httptest.NewRecorder()
		web.List(w, c.items)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, c.want+"\n", w.Body.String())
	}
}

func TestProblemsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		{func(w http.ResponseWriter) { web.BadQuery(w, errors.New("order is \"up\"; log or newest is allowed")) },
			`{"type":"about:blank","title":"Bad query","status":400,"detail":"order is \"up\"; log or newest is allowed"}`},
		{func(w http.ResponseWriter) { web.NotFound(w, "no thing %q", "100%") },
			`{"type":"about:blank","title":"Not found","status":404,"detail":"no thing \"100%\""}`},
		{func(w http.ResponseWriter) { web.Unreadable(w, "The things", errors.New("connection refused")) },
			`{"type":"about:blank","title":"The things cannot be read","status":500,"detail":"connection refused"}`},
	} {
		w := httptest.NewRecorder()
		c.answer(w)
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		require.Equal(t, c.want+"\n", w.Body.String())
	}
}

func TestWhoActsIsAnOpaqueID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		actor, want string
		status      int
	}{{"", "operator", http.StatusOK}, {"account:7", "account:7", http.StatusOK}, {"Ann Other", "", http.StatusBadRequest}} {
		r, w := httptest.NewRequest("POST", "/", nil), httptest.NewRecorder()
		r.Header.Set(web.ActorHeader, c.actor)
		actor, ok := web.Acting(w, r, "operator")
		require.Equal(t, c.want, actor)
		require.Equal(t, c.status == http.StatusOK, ok)
		require.Equal(t, c.status, w.Code)
	}
}

func TestAFormIsNotJSON(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]int{"application/json": 200, "application/json; charset=utf-8": 200, "": 415, "text/plain": 415,
		"application/x-www-form-urlencoded": 415} {
		r, w := httptest.NewRequest("POST", "/", nil), httptest.NewRecorder()
		r.Header.Set("Content-Type", sent)
		require.Equal(t, want == 200, web.SentJSON(w, r), sent)
		require.Equal(t, want, w.Code, sent)
	}
}
