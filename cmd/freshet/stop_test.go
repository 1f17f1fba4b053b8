package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cleanStop is what a stop may take, whatever is the matter.
const cleanStop = 30 * time.Second

// TestPromise12CleanStop sends SIGTERM to a suite in every phase of its life. It
// ends in time, leaves no process behind, and has everything that it acknowledged
// when it comes back.
func TestPromise12CleanStop(t *testing.T) {
	t.Parallel()
	// What a start makes, in its order: the signal comes as soon as it is there.
	for _, made := range []string{"lock", "postgres/password", "postgres/data/postmaster.pid", "nats/jetstream", "services/audit"} {
		t.Run("starting, at "+made, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			cmd, lines := freshet(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0")
			go drain(lines)
			require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, made)); return err == nil }, time.Minute, time.Millisecond)
			require.NoError(t, terminate(t, cmd, dir))
		})
	}
	t.Run("recording, with effects running", func(t *testing.T) {
		t.Parallel()
		dir := directory(t)
		r := up(t, dir)
		load := r.load(t)
		require.NoError(t, terminate(t, r.cmd, dir))
		acknowledged := load()
		require.NotEmpty(t, acknowledged)

		r = up(t, dir)
		r.settled(t, 2*time.Minute)
		log := string(bytes.Join(r.log(t), nil))
		for _, id := range acknowledged {
			require.Contains(t, log, id, "an acknowledged event is lost")
		}
		require.NoError(t, terminate(t, r.cmd, dir))

		// And while it rebuilds what a service's schema held.
		cmd, lines := freshet(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0")
		go drain(lines)
		require.Eventually(t, func() bool { return postmaster(dir) > 0 }, time.Minute, time.Millisecond)
		require.NoError(t, terminate(t, cmd, dir))
	})
	t.Run("PostgreSQL was killed", func(t *testing.T) {
		t.Parallel()
		dir := directory(t)
		r := up(t, dir)
		require.NoError(t, syscall.Kill(postmaster(dir), syscall.SIGKILL))
		_ = terminate(t, r.cmd, dir) // that it could not end in order is said
	})
	t.Run("PostgreSQL stands still", func(t *testing.T) {
		t.Parallel()
		dir := directory(t)
		r := up(t, dir)
		load := r.load(t)
		require.NoError(t, syscall.Kill(postmaster(dir), syscall.SIGSTOP))
		_ = terminate(t, r.cmd, dir)
		acknowledged := load()

		r = up(t, dir)
		r.settled(t, 2*time.Minute)
		log := string(bytes.Join(r.log(t), nil))
		for _, id := range acknowledged {
			require.Contains(t, log, id, "an acknowledged event is lost")
		}
		require.NoError(t, terminate(t, r.cmd, dir))
	})
}

// directory is one that PostgreSQL's user can enter, also as root.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-stop-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func drain(lines *bufio.Scanner) {
	for lines.Scan() {
		continue
	}
}

func postmaster(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	return pid
}

// terminate asks a suite to end, and sees that nothing of it is left.
func terminate(t *testing.T, cmd *exec.Cmd, dir string) error {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), cleanStop)
	defer cancel()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		t.Fatalf("it did not end within %s", cleanStop)
	}
	// A killed postmaster's children see that it is gone and end by themselves.
	require.Eventually(t, func() bool { return len(processes(dir)) == 0 }, time.Minute, 20*time.Millisecond, "left behind: %v", processes(dir))
	return err
}

// processes are those that work in a directory or are told of it.
func processes(dir string) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		cwd, _ := os.Readlink("/proc/" + e.Name() + "/cwd")
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.HasPrefix(cwd, dir) || bytes.Contains(line, []byte(dir)) {
			found = append(found, e.Name()+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// load announces files, each to be looked at by an effect, until it cannot any
// more, and returns once some were taken. What it returns gives the events that
// were acknowledged.
func (r running) load(t *testing.T) func() []string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, r.url+"/v1/files", strings.NewReader("no Parquet"))
	require.NoError(t, err)
	res, err := r.http.Do(req)
	require.NoError(t, err)
	var ref struct{ URI string }
	require.NoError(t, json.NewDecoder(res.Body).Decode(&ref))
	require.NoError(t, res.Body.Close())

	const enough = 20
	var mu sync.Mutex
	var acknowledged []string
	some, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		client := &http.Client{Timeout: cleanStop, Transport: r.http.Transport}
		for n := 0; ; n++ {
			body := fmt.Sprintf(`{"specversion":"1.0","id":"file-%d","source":"/tests/stop","type":"com.example.arrived","datacontenttype":"application/json",
				"data":{"dataset":"flights","files":[{"uri":%q,"format":"parquet","name":"file-%d"}]}}`, n, ref.URI, n)
			res, err := client.Post(r.url+"/v1/arrivals", "application/cloudevents+json", strings.NewReader(body))
			if err != nil {
				return
			}
			var answer struct{ ID string }
			err = json.NewDecoder(res.Body).Decode(&answer)
			_ = res.Body.Close()
			if err != nil || res.StatusCode/100 != 2 {
				return
			}
			mu.Lock()
			acknowledged = append(acknowledged, answer.ID)
			if len(acknowledged) == enough {
				close(some)
			}
			mu.Unlock()
		}
	}()
	select {
	case <-some:
	case <-ended:
		t.Fatal("arrivals are not taken")
	}
	return func() []string {
		<-ended
		mu.Lock()
		defer mu.Unlock()
		return acknowledged
	}
}
