package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/tools/services"
	"github.com/stretchr/testify/require"
)

const repository = "../../.."

// waitLimit is what a suite may take to start or to stop where the machine is busy.
const waitLimit = 3 * time.Minute

// A copy is a tree of the repository's files with one service more.
type copied struct {
	t    *testing.T
	root string
	name string // of the service
}

// elsewhere are not the repository's files: what is built, fetched and kept.
var elsewhere = []string{".git", ".cache", "bin", "tilt-settings.yaml"}

func copyTree(t *testing.T) *copied {
	t.Helper()
	root, err := os.MkdirTemp("", "freshet-copy-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	require.NoError(t, os.Chmod(root, 0o755)) // PostgreSQL's user enters it
	require.NoError(t, filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		if slices.Contains(elsewhere, rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(root, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, rel), b, info.Mode().Perm())
	}))
	c := &copied{t: t, root: root}
	list, err := services.Read(root)
	require.NoError(t, err)
	for _, c.name = range []string{"pricing", "price-list", "prices"} {
		if services.CheckName(c.name, list) == nil {
			break
		}
	}
	return c
}

// run runs a program in the copy and returns what it prints.
func (c *copied) run(dir string, env []string, name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(dir, env, name, args...)
	require.NoError(c.t, err, "%s %s in %s\n%s", name, strings.Join(args, " "), dir, out)
	return out
}

func (c *copied) try(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = filepath.Join(c.root, dir), append(environment(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// environment is the developer's: in the workspace, which this module is not in, and of no
// make that runs this.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "GOWORK=") || strings.HasPrefix(s, "MAKE") || strings.HasPrefix(s, "MFLAGS=")
	})
}

var alone = []string{"GOWORK=off"}

// tree is the content of every file.
func (c *copied) tree() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	require.NoError(c.t, fs.WalkDir(os.DirFS(c.root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(c.root, path))
		all[path] = string(b)
		return err
	}))
	return all
}

// A contributor adds a service and an event: it builds alone, its tests pass, and it runs
// beside the others, on a directory that is older than it is.
func TestAServiceIsAdded(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the suite and runs it")
	}
	t.Parallel()
	c := copyTree(t)
	said := c.run(".", nil, "make", "new-service", "NAME="+c.name, "OWNER=@team")
	require.Contains(t, said, "services/"+c.name)
	event := strings.ReplaceAll(c.name, "-", "_") + "_seen"
	said = c.run(".", nil, "make", "new-event", "SERVICE="+c.name, "NAME="+event, "KIND=fact")
	require.Contains(t, said, event+".json")
	before := c.tree()
	for _, path := range []string{".golangci.yml", "CODEOWNERS", "go.work", "cmd/freshet/go.mod", "services/README.md", "contracts/asyncapi.yaml"} {
		require.Contains(t, before[path], c.name, path)
	}

	out, err := c.try(".", nil, "make", "new-service", "NAME="+c.name, "OWNER=@team")
	require.Error(t, err)
	require.Contains(t, out, "is there already")
	c.run(".", nil, "make", "generate")
	require.Equal(t, before, c.tree(), "what is generated is current")
	dir := "services/" + c.name
	for _, m := range []string{dir, "cmd/freshet"} {
		require.Empty(t, c.run(m, alone, "go", "mod", "tidy", "-diff"))
	}
	c.run(dir, alone, "go", "vet", "./...")
	c.run(dir, nil, "go", "test", "-count=1", "./...")
	c.run("events", nil, "go", "test", "-count=1", "-run", "Golden|Channel|Contract|Payload", ".")
	c.run("libs/tools", alone, "go", "run", "./purity", "-root", "../..")

	c.run(".", nil, "make", "build")
	older := c.up("--services=audit,ingestion")
	c.run(".", nil, "git", "init", "-q", "-b", "main", "repository")
	c.run("repository", nil, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "first")
	older.post("/v1/repositories", fmt.Sprintf(`{"name":"empty","url":%q,"branch":"main"}`, filepath.Join(c.root, "repository")))
	older.stop()
	s := c.up()
	defer s.stop()
	ready := s.get("/readyz", http.StatusOK)
	require.Contains(t, ready, `"`+c.name+`"`)
	require.Eventually(t, func() bool {
		var status struct {
			Services map[string]struct{ Position uint64 }
		}
		return json.Unmarshal([]byte(s.get("/statusz", http.StatusOK)), &status) == nil && status.Services[c.name].Position > 0
	}, waitLimit, 20*time.Millisecond, "it reads the log from before its time")
	require.Contains(t, s.get("/v1/events?limit=1000", http.StatusOK), "io.freshet."+c.name+".v1.service_activated")
	s.post("/v1/"+c.name+"/requests", `{"item":"first"}`)
	require.Eventually(t, func() bool {
		return strings.Contains(s.get("/v1/"+c.name+"/requests", http.StatusOK), `"status":"done"`)
	}, waitLimit, 20*time.Millisecond)
}

// A suite that runs.
type running struct {
	t     *testing.T
	url   string
	cmd   *exec.Cmd
	ended chan error
	log   *output
}

var readyAt = regexp.MustCompile(`ready in \d+ ms, (http://\S+)`)

// up starts the suite in the copy's one data directory.
func (c *copied) up(flags ...string) *running {
	c.t.Helper()
	s := &running{t: c.t, ended: make(chan error, 1), log: &output{changed: make(chan struct{}, 1)}}
	args := append([]string{"up", "--data-dir", filepath.Join(c.root, "data"), "--listen", "127.0.0.1:0"}, flags...)
	s.cmd = exec.Command(filepath.Join(c.root, "bin", "freshet"), args...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = c.root, environment(), s.log, s.log
	require.NoError(c.t, s.cmd.Start())
	go func() { s.ended <- s.cmd.Wait() }()
	deadline := time.After(waitLimit)
	for s.url == "" {
		select {
		case <-s.log.changed:
			if found := readyAt.FindStringSubmatch(s.log.String()); found != nil {
				s.url = found[1]
			}
		case err := <-s.ended:
			c.t.Fatalf("the suite ended: %v\n%s", err, s.log)
		case <-deadline:
			_ = s.cmd.Process.Kill()
			c.t.Fatalf("the suite is not ready within %s:\n%s", waitLimit, s.log)
		}
	}
	return s
}

// send sends a request with the suite's token.
func (s *running) send(method, path, body string) *http.Response {
	s.t.Helper()
	token, err := os.ReadFile(filepath.Join(s.cmd.Dir, "data", "token"))
	require.NoError(s.t, err)
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	return res
}

func (s *running) get(path string, code int) string {
	s.t.Helper()
	res := s.send(http.MethodGet, path, "")
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, code, res.StatusCode, "%s: %s", path, b)
	return string(b)
}

func (s *running) post(path, body string) {
	s.t.Helper()
	res := s.send(http.MethodPost, path, body)
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, 2, res.StatusCode/100, "%s: %s", path, b)
}

func (s *running) stop() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		require.NoError(s.t, err, "%s", s.log)
	case <-time.After(waitLimit):
		_ = s.cmd.Process.Kill()
		s.t.Fatalf("the suite does not stop:\n%s", s.log)
	}
}

// output collects what a process writes while others read it.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
