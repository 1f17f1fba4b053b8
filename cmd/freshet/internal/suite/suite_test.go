package suite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/stretchr/testify/require"
)

// dataDir is a directory that PostgreSQL's user can enter, also as root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-suite-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func start(t *testing.T, dir string, services ...string) *suite.Suite {
	t.Helper()
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Services: services, Logger: logger(t)})
	require.NoError(t, err)
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}

func TestComesUpServesAndComesBack(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, dir)
	for _, path := range []string{"/readyz", "/healthz", "/statusz", "/metrics", "/", "/v1/models", "/v1/runs", "/v1/events", "/v1/ripples",
		"/v1/datasets", "/v1/rollouts", "/v1/alerts", "/v1/views", "/v1/parked/training", "/v1/parked/feature-store"} {
		code, body := get(t, s.URL()+path)
		require.Equal(t, http.StatusOK, code, "%s: %s", path, body)
	}
	suite.RequireRoutes(t, s)
	code, _ := get(t, s.URL()+"/v1/nothing")
	require.Equal(t, http.StatusNotFound, code)
	res, err := http.Post(s.URL()+"/v1/models", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)

	// Something that changes state, kept across a stop.
	repository := filepath.Join(dir, "repository")
	for _, args := range [][]string{
		{"init", "-q", "-b", "main", repository},
		{"-C", repository, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	body := fmt.Sprintf(`{"name":"empty","url":%q,"branch":"main"}`, repository)
	res, err = http.Post(s.URL()+"/v1/repositories", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 2, res.StatusCode/100, "%s", answer)
	settle(t, s.URL())
	_, before := get(t, s.URL()+"/v1/events")
	require.Contains(t, before, "repository_connected")
	require.NoError(t, s.Stop(context.Background()))

	s = start(t, dir)
	_, after := get(t, s.URL()+"/v1/events")
	require.JSONEq(t, before, after)
	require.NoError(t, s.Stop(context.Background()))
}

func settle(t *testing.T, url string) {
	t.Helper()
	var last string
	require.Eventually(t, func() bool {
		_, last = get(t, url+"/statusz")
		var st suite.Status
		return json.Unmarshal([]byte(last), &st) == nil && st.Settled && st.End > 0
	}, time.Minute, 20*time.Millisecond, "%s", last)
}

func TestAPartOfTheSuite(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), "registry", "audit")
	_, status := get(t, s.URL()+"/statusz")
	require.Contains(t, status, `"registry"`)
	require.NotContains(t, status, `"training"`)
	code, body := get(t, s.URL()+"/v1/runs")
	require.Equal(t, http.StatusNotFound, code)
	require.Contains(t, body, "/v1/runs is served by training, which does not run here: add it to --services")
	_, body = get(t, s.URL()+"/v1/parked/training")
	require.Contains(t, body, "/v1/parked/training is served by training, which does not run here: add it to --services")
	_, body = get(t, s.URL()+"/v1/parked/nobody")
	require.Contains(t, body, "nothing is served at /v1/parked/nobody")
	require.NoError(t, s.Stop(context.Background()))

	_, err := suite.Start(t.Context(), suite.Options{DataDir: dataDir(t), Auth: service.AuthNone, Listen: "127.0.0.1:0", Services: []string{"regstry"}})
	require.ErrorContains(t, err, `no service "regstry"`)
}

func TestRefusesWhatIsNotSafe(t *testing.T) {
	t.Parallel()
	_, err := suite.Start(t.Context(), suite.Options{DataDir: dataDir(t), Auth: service.AuthNone, Listen: "0.0.0.0:0"})
	require.ErrorContains(t, err, "refusing to listen")

	dir := dataDir(t)
	i, err := suite.StartInfrastructure(t.Context(), dir, logger(t))
	require.NoError(t, err)
	_, err = suite.Start(t.Context(), suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0"})
	require.ErrorContains(t, err, fmt.Sprintf("another freshet (process %d) runs on %s", os.Getpid(), dir))
	require.NoError(t, i.Stop(context.Background()))
}

// TestComesBackAfterAKill runs a suite in a process of its own and kills it.
func TestComesBackAfterAKill(t *testing.T) {
	if dir := os.Getenv("FRESHET_TEST_SUITE"); dir != "" {
		_, err := suite.Start(context.Background(), suite.Options{
			DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Services: []string{"registry", "audit"},
		})
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	t.Parallel()
	dir := dataDir(t)
	child := exec.Command(os.Args[0], "-test.run=^TestComesBackAfterAKill$")
	child.Env = append(os.Environ(), "FRESHET_TEST_SUITE="+dir)
	out, err := child.CombinedOutput()
	require.ErrorContains(t, err, "killed", "%s", out)
	s := start(t, dir, "registry", "audit")
	code, body := get(t, s.URL()+"/readyz")
	require.Equal(t, http.StatusOK, code, body)
	require.NoError(t, s.Stop(context.Background()))
}

func TestServicesInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "registry")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/freshet-io/freshet/services/registry/cmd/registry").CombinedOutput()
	require.NoError(t, err, "%s", out)
	i, err := suite.StartInfrastructure(t.Context(), dataDir(t), logger(t))
	require.NoError(t, err)
	g, err := suite.StartGateway(i, "127.0.0.1:0", service.AuthNone, logger(t))
	require.NoError(t, err)
	cmd := exec.Command("sh", "-c", `. "$0" && FRESHET_ATTESTED=false exec "$1"`, filepath.Join(g.Environments(), "registry.env"), binary)
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		code, _ := get(t, g.URL()+"/v1/models")
		return code == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	code, body := get(t, g.URL()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code, "the others do not run")
	require.Contains(t, body, `"registry":{}`)
	for _, path := range []string{"/v1/parked/registry", "/contracts/registry/v1/champion_changed.json"} {
		code, body = get(t, g.URL()+path)
		require.Equal(t, http.StatusOK, code, body)
	}

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	require.Eventually(t, func() bool {
		code, _ := get(t, g.URL()+"/v1/models")
		return code == http.StatusBadGateway
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, g.Stop(context.Background()))
	require.NoError(t, i.Stop(context.Background()))
}
