package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/progress"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// idleTimeout is how long nothing may move. It is short, as a binary that breaks a promise
// would be waited for.
const idleTimeout = 30 * time.Second

// A suite is `freshet up` as a process of its own.
type suite struct {
	t        *testing.T
	bin, dir string
	url      string
	process  *exec.Cmd
	stderr   bytes.Buffer
	arrivals int
}

// newSuite starts the binary under test in a directory of its own.
func newSuite(t *testing.T) *suite {
	t.Helper()
	bin := os.Getenv("FRESHET_BIN")
	if bin == "" {
		t.Skip("FRESHET_BIN names no binary: make fault-tests does")
	}
	dir, err := os.MkdirTemp("", "freshet-faults-") // short, as sockets are in it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // PostgreSQL's user passes through it
	s := &suite{t: t, bin: bin, dir: filepath.Join(dir, "data")}
	t.Cleanup(s.end)
	return s
}

// start starts it and waits until it says that it is ready. An end before that is an error
// with what it said.
func (s *suite) start() error {
	s.t.Helper()
	s.stderr.Reset()
	s.process = exec.Command(s.bin, "up", "--data-dir", s.dir, "--listen", "127.0.0.1:0", "--log-level", "error")
	s.process.Stderr = &s.stderr
	out, err := s.process.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.process.Start())
	late := time.AfterFunc(2*idleTimeout, func() { _ = s.process.Process.Signal(syscall.SIGTERM) }) // it says nothing before it is ready
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if before, url, ok := strings.Cut(lines.Text(), ", http"); ok && strings.HasPrefix(before, "ready in ") {
			s.url = "http" + url
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return nil
		}
	}
	err = s.process.Wait()
	return fmt.Errorf("freshet up ended before it was ready: %w: %s", err, s.stderr.String())
}

func (s *suite) mustStart() {
	s.t.Helper()
	require.NoError(s.t, s.start())
}

// stop ends it in order.
func (s *suite) stop() {
	s.t.Helper()
	require.NoError(s.t, s.process.Process.Signal(syscall.SIGTERM))
	require.NoError(s.t, s.process.Wait(), "%s", &s.stderr)
}

// end ends it, however it is; its PostgreSQL ends as well.
func (s *suite) end() {
	if s.process != nil && s.process.ProcessState == nil {
		_ = s.process.Process.Signal(syscall.SIGTERM)
		_ = s.process.Wait()
	}
}

// ask sends a request with the token, where there is one.
func (s *suite) ask(method, path, contentType, body string) (int, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if token, err := os.ReadFile(filepath.Join(s.dir, "token")); err == nil {
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, b
}

func (s *suite) get(path string) []byte {
	s.t.Helper()
	code, b := s.ask(http.MethodGet, path, "", "")
	require.Equal(s.t, http.StatusOK, code, "%s: %s", path, b)
	return b
}

// run runs a command against the suite, and returns what it printed and its exit code.
func (s *suite) run(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.Command(s.bin, append(args, "--url", s.url)...)
	cmd.Env = append(os.Environ(), "FRESHET_DATA_DIR="+s.dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// upload stores a file, and returns its URI.
func (s *suite) upload() string {
	s.t.Helper()
	code, b := s.ask(http.MethodPut, "/v1/files", "text/csv", "a\n1\n")
	require.Equal(s.t, http.StatusCreated, code, "%s", b)
	var file struct{ URI string }
	require.NoError(s.t, json.Unmarshal(b, &file))
	return file.URI
}

// record records facts: arrivals for datasets that nobody declared.
func (s *suite) record(n int) {
	s.t.Helper()
	uri := s.upload()
	for range n {
		s.arrivals++
		code, b := s.ask(http.MethodPost, "/v1/arrivals", "application/cloudevents+json", arrival(s.arrivals, uri))
		require.Equal(s.t, 2, code/100, "%s", b)
	}
}

func arrival(n int, uri string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"arrival-%d","source":"/producer","type":"com.example.arrived","datacontenttype":"application/json",
		"data":{"dataset":"dataset-%d","files":[{"uri":%q}]}}`, n, n, uri)
}

// settled waits until every service has applied the whole log and nothing waits.
func (s *suite) settled() {
	s.t.Helper()
	require.NoError(s.t, progress.Wait(s.t.Context(), idleTimeout, func(context.Context) (progress.Look, error) {
		_, status := s.ask(http.MethodGet, "/statusz", "", "")
		var told struct{ Settled bool }
		return progress.Look{Done: json.Unmarshal(status, &told) == nil && told.Settled, Seen: string(status)}, nil
	}))
}

// sound is all that is promised of a suite that had a fault: it is ready, it records, and
// what is live is what the log says.
func (s *suite) sound() {
	s.t.Helper()
	s.record(1)
	s.settled()
	require.NoError(s.t, progress.Wait(s.t.Context(), idleTimeout, func(context.Context) (progress.Look, error) {
		code, ready := s.ask(http.MethodGet, "/readyz", "", "")
		return progress.Look{Done: code == http.StatusOK, Seen: string(ready)}, nil
	}))
	out, code := s.run("replay", "verify")
	require.Zero(s.t, code, out)
}

// nats connects as a user of the log's server.
func (s *suite) nats(user string) *nats.Conn {
	s.t.Helper()
	var secrets map[string]string
	var ports struct{ NATS int }
	for name, into := range map[string]any{"nats/secrets.json": &secrets, "ports.json": &ports} {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		require.NoError(s.t, err)
		require.NoError(s.t, json.Unmarshal(b, into))
	}
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", ports.NATS), nats.UserInfo(user, secrets[user]))
	require.NoError(s.t, err)
	s.t.Cleanup(nc.Close)
	return nc
}
