package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

const secret = "QWERTY"

func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A reader is let in as nothing else.
type reader struct{}

func (reader) Roles(*http.Request) []web.Role { return []web.Role{web.Reader} }

func TestOnlyWhoHasTheRoleOfARouteReachesIt(t *testing.T) {
	t.Parallel()
	served := func(gate web.Gate) *web.Mux {
		m := web.NewMux(gate, nil, nil)
		for _, role := range append(web.Roles(), web.Anyone, "") {
			m.Handle(web.Route{Pattern: "GET /role-" + string(role), Role: role}, func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, 200, "in") })
		}
		return m
	}
	for _, role := range append(web.Roles(), "") {
		path := "/role-" + string(role)
		w := ask(served(web.Token(secret)), "GET", path)
		require.Equal(t, 401, w.Code, path)
		require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer")
		for _, wrong := range []string{"Bearer", "Bearer ", "Bearer qwerty", "Bearer " + secret + " ", secret, "Basic " + secret} {
			require.Equal(t, 401, ask(served(web.Token(secret)), "GET", path, "Authorization", wrong).Code, wrong)
		}
		want := map[bool]int{true: 200, false: 403}
		require.Equal(t, want[role != ""], ask(served(web.Token(secret)), "GET", path, "Authorization", "Bearer "+secret).Code, path)
		require.Equal(t, want[role != ""], ask(served(web.Open{}), "GET", path).Code, path)
		require.Equal(t, want[role == web.Reader], ask(served(reader{}), "GET", path).Code, path)
	}
	require.Equal(t, 200, ask(served(web.Token(secret)), "GET", "/role-anyone").Code)
	require.Equal(t, 401, ask(served(web.Token("")), "GET", "/role-reader", "Authorization", "Bearer ").Code, "no token lets nobody in")
	require.Contains(t, ask(served(web.Token(secret)), "GET", "/role-reader", "Accept", "text/html").Body.String(), "freshet console")
}

func TestALinkLetsOneBrowserIn(t *testing.T) {
	t.Parallel()
	m := web.NewMux(web.Token(secret), nil, nil)
	login := web.NewLogin(web.Token(secret), "http://127.0.0.1:1")
	login.Register(m)
	m.Handle(web.Route{Pattern: "GET /{$}", Role: web.Reader}, func(w http.ResponseWriter, _ *http.Request) { web.JSON(w, 200, "in") })
	link, err := url.Parse(login.Link())
	require.NoError(t, err)
	w := ask(m, "GET", link.RequestURI())
	require.Equal(t, 303, w.Code)
	cookie := w.Result().Cookies()[0]
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.NotContains(t, cookie.Value, secret)
	require.Equal(t, 200, ask(m, "GET", "/", "Cookie", cookie.Name+"="+cookie.Value).Code)
	require.Equal(t, 401, ask(m, "GET", link.RequestURI()).Code, "a link is good once")
	require.Equal(t, 401, ask(m, "GET", "/console/login?code=").Code)

	// Nobody makes or prolongs a session without the token.
	for i := range cookie.Value {
		other := "A"
		if cookie.Value[i] == 'A' {
			other = "E"
		}
		forged := cookie.Value[:i] + other + cookie.Value[i+1:]
		require.Equal(t, 401, ask(m, "GET", "/", "Cookie", cookie.Name+"="+forged).Code, i)
	}
	other := web.NewMux(web.Token("another"), nil, nil)
	other.Handle(web.Route{Pattern: "GET /{$}", Role: web.Reader}, func(http.ResponseWriter, *http.Request) {})
	require.Equal(t, 401, ask(other, "GET", "/", "Cookie", cookie.Name+"="+cookie.Value).Code)

	require.Equal(t, 401, ask(m, "POST", "/v1/console-links").Code)
	w = ask(m, "POST", "/v1/console-links", "Authorization", "Bearer "+secret)
	require.Equal(t, 201, w.Code)
	require.True(t, strings.HasPrefix(w.Body.String(), `{"url":"http://127.0.0.1:1/console/login?code=`), w.Body.String())
}
