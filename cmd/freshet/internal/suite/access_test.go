package suite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

// withoutToken are the routes that anybody may ask: health, what proves itself, and the
// way in.
var withoutToken = []string{"GET /healthz", "GET /readyz", "GET /v2/health/live", "GET /v2/health/ready", "POST /hooks/github/{repository}",
	"GET /console/login"}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// asked asks for a route, with nothing in it.
func asked(t *testing.T, client *http.Client, base, pattern string, header http.Header) int {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // a stream has no end
	r, err := http.NewRequestWithContext(ctx, method, base+parameter.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "x"), strings.NewReader("{}"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := client.Do(r)
	require.NoError(t, err, pattern)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func TestWithoutTheTokenNothingIsAnsweredButHealth(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dir, Listen: "127.0.0.1:0", Logger: logger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	token, err := suite.ReadToken(filepath.Join(dir, suite.TokenFile))
	require.NoError(t, err)
	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	let := &http.Client{Transport: web.Bearer{Token: web.Token(token)}}
	var open []string
	routes := suite.Patterns(s)
	require.Greater(t, len(routes), 100)
	for _, pattern := range routes {
		if code := asked(t, plain, s.URL(), pattern, nil); code != http.StatusUnauthorized {
			open = append(open, pattern)
		}
		// A page of another origin, in a browser that has a session, can change nothing.
		if method, _, _ := strings.Cut(pattern, " "); method != http.MethodGet {
			for _, site := range []string{"cross-site", "same-site"} {
				require.Equal(t, http.StatusForbidden, asked(t, let, s.URL(), pattern, http.Header{"Sec-Fetch-Site": {site}}), pattern)
			}
			require.Equal(t, http.StatusForbidden, asked(t, let, s.URL(), pattern, http.Header{"Origin": {"http://127.0.0.1:1"}}), pattern)
			continue
		}
		code := asked(t, let, s.URL(), pattern, nil)
		require.NotEqual(t, http.StatusForbidden, code, pattern)
		if pattern != "GET /console/login" {
			require.NotEqual(t, http.StatusUnauthorized, code, pattern)
		}
	}
	// The way in refuses who has no link.
	require.Equal(t, http.StatusUnauthorized, asked(t, plain, s.URL(), "GET /console/login", nil))
	require.ElementsMatch(t, withoutToken[:4], open, "and hooks that nobody signed, and the console's link, answer 401 by themselves")

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	res, err := browser.Get(s.ConsoleLink())
	require.NoError(t, err)
	page, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Contains(t, string(page), "<title>")

	// What is in the data directory is its owner's.
	for _, name := range []string{"token", "clients/environment", "clients/nats.json", "clients/kafka.properties"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, name)
	}
	environment, err := os.ReadFile(filepath.Join(dir, "clients", "environment"))
	require.NoError(t, err)
	require.Contains(t, string(environment), "FRESHET_TOKEN="+token)
	raw, err := os.ReadFile(filepath.Join(dir, "ports.json"))
	require.NoError(t, err)
	var ports map[string]int
	require.NoError(t, json.Unmarshal(raw, &ports))
	require.Equal(t, s.URL(), fmt.Sprintf("http://127.0.0.1:%d", ports["http"]))
}

func TestATokenThatOthersReadIsRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	path := filepath.Join(dir, suite.TokenFile)
	require.NoError(t, os.WriteFile(path, []byte("x\n"), 0o644))
	_, err := suite.Start(t.Context(), suite.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.ErrorContains(t, err, path+" may be read by others (-rw-r--r--)")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o600))
	_, err = suite.Start(t.Context(), suite.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.ErrorContains(t, err, path+" is empty")
	_, err = suite.Start(t.Context(), suite.Options{DataDir: dir, Listen: "127.0.0.1:0", Auth: "nobody"})
	require.ErrorContains(t, err, `"nobody" is no way to let somebody in`)
	_, err = suite.Start(t.Context(), suite.Options{DataDir: dir, Listen: "0.0.0.0:0", Auth: service.AuthNone})
	require.ErrorContains(t, err, "only loopback addresses")
}
