package tiltcheck

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/tools/services"
	"github.com/stretchr/testify/require"
)

const root = "../../.."

// names of the suite's services.
func names(t *testing.T) []string {
	t.Helper()
	list, err := services.Read(root)
	require.NoError(t, err)
	var all []string
	for _, s := range list {
		all = append(all, s.Name)
	}
	return all
}

func byName(t *testing.T, settings map[string]any) map[string]Resource {
	t.Helper()
	list, err := Evaluate(root, settings)
	require.NoError(t, err)
	found := map[string]Resource{}
	for _, r := range list {
		found[r.Name] = r
	}
	return found
}

func TestTiltfileDeclaresEveryService(t *testing.T) {
	t.Parallel()
	all, found := names(t), byName(t, map[string]any{})
	require.Len(t, found, len(all)+1)
	infra := found["infrastructure"]
	require.Empty(t, infra.ResourceDeps)
	require.Equal(t, Probe{Port: 8080, Host: "127.0.0.1", Path: "/healthz"}, infra.Probe)
	ports := map[int]bool{infra.Probe.Port: true}
	for _, name := range all {
		r := found[name]
		require.Equal(t, name, r.Name)
		if name == "audit" {
			require.Equal(t, []string{"infrastructure"}, r.ResourceDeps)
		} else {
			require.Equal(t, []string{"infrastructure", "audit"}, r.ResourceDeps, "audit attests the log first")
		}
		require.Equal(t, "/readyz", r.Probe.Path)
		require.False(t, ports[r.Probe.Port], "%s shares a port", name)
		ports[r.Probe.Port] = true
		require.Contains(t, r.Deps, "services/"+name)
		for _, other := range all {
			require.Equal(t, other == name, slices.Contains(r.Deps, "services/"+other), "%s watches %s", name, other)
		}
		for _, dep := range r.Deps {
			_, err := os.Stat(filepath.Join(root, dep))
			require.NoError(t, err, "%s watches what is not there", name)
		}
		require.NotEmpty(t, r.Links)
	}
}

func TestTiltfileHonoursSettings(t *testing.T) {
	t.Parallel()
	found := byName(t, map[string]any{"services": []string{"registry"}, "port": 9000, "data_dir": "/somewhere"})
	require.Len(t, found, 2)
	require.Equal(t, 9000, found["infrastructure"].Probe.Port)
	require.Contains(t, found["infrastructure"].ServeCmd, `--data-dir "/somewhere"`)
	require.Contains(t, found["registry"].ServeCmd, "/somewhere/env/registry.env")
	require.Equal(t, []string{"infrastructure"}, found["registry"].ResourceDeps)
	require.Contains(t, found["registry"].ServeCmd, "FRESHET_ATTESTED=false", "there is no audit to wait for")
	_, err := Evaluate(root, map[string]any{"services": []string{"kitchen"}})
	require.ErrorContains(t, err, "kitchen")
}

// The commands behind the resources work: the infrastructure starts, services
// start beside it as their own processes, and all become ready as Tilt would see.
func TestResourcesRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	t.Parallel()
	dir, err := os.MkdirTemp("", "freshet-tilt-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	port := freePorts(t, len(names(t))+1)
	found := byName(t, map[string]any{"port": port, "data_dir": filepath.Join(dir, "data"), "services": []string{"audit", "registry"}})
	infra := found["infrastructure"]
	build(t, infra)
	start(t, infra)
	for _, name := range []string{"audit", "registry"} {
		build(t, found[name])
	}
	for _, name := range []string{"audit", "registry"} { // as their dependencies ask
		start(t, found[name])
	}
	token, err := os.ReadFile(filepath.Join(dir, "data", "token"))
	require.NoError(t, err)
	// The one listener serves the routes of both.
	for _, path := range []string{"/v1/models", "/v1/events"} {
		url := fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
		require.Eventually(t, func() bool { return answers(url, string(token)) }, time.Minute, 100*time.Millisecond, path)
	}
}

// freePorts finds n ports in a row that nothing listens on, below 32768, where the
// kernel takes none for a connection that somebody opens.
func freePorts(t *testing.T, n int) int {
	t.Helper()
next:
	for base := 20000 + os.Getpid()%12000; base+n <= 32768; base += n {
		for p := base; p < base+n; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				continue next
			}
			require.NoError(t, l.Close())
		}
		return base
	}
	t.Fatal("no ports are free")
	return 0
}

// environment is the developer's: in the workspace, which this module is not in.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GOWORK=") })
}

func build(t *testing.T, r Resource) {
	t.Helper()
	cmd := exec.Command("sh", "-c", r.Cmd)
	cmd.Dir, cmd.Env = root, environment()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s\n%s", r.Name, r.Cmd, out)
}

// start runs a resource's serve_cmd until the test ends and waits until it is ready.
func start(t *testing.T, r Resource) {
	t.Helper()
	var log output
	cmd := exec.Command("sh", "-c", r.ServeCmd)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = root, environment(), &log, &log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	var exit error
	go func() { exit = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("%s does not stop:\n%s", r.Name, log.String())
		}
		if exit != nil && !t.Failed() {
			t.Errorf("%s: %v\n%s", r.Name, exit, log.String())
		}
	})
	url := fmt.Sprintf("http://%s:%d%s", r.Probe.Host, r.Probe.Port, r.Probe.Path)
	deadline := time.After(5 * time.Minute)
	for !answers(url, "") {
		select {
		case <-ended:
			t.Fatalf("%s ended: %v\n%s", r.Name, exit, log.String())
		case <-deadline:
			t.Fatalf("%s is not ready at %s:\n%s", r.Name, url, log.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func answers(url, token string) bool {
	client := http.Client{Timeout: 10 * time.Second}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	}
	res, err := client.Do(r)
	if err != nil {
		return false
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode < 400
}

// output collects what a process writes while others read it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
