package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/cmd/freshet/internal/whatif"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/training"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMain lets the test binary stand in for freshet: as the command itself, and
// as the training jobs that the command starts.
func TestMain(m *testing.M) {
	if training.RunBuiltin() {
		return
	}
	if os.Getenv("FRESHET_TEST_IS_COMMAND") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// freshet starts the command and returns its lines as they come.
func freshet(t *testing.T, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	// A command that says nothing must not delay the tests for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), "FRESHET_TEST_IS_COMMAND=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, bufio.NewScanner(out)
}

// until reads lines until one matches, and returns its groups.
func until(t *testing.T, lines *bufio.Scanner, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if m := re.FindStringSubmatch(lines.Text()); m != nil {
			return m
		}
	}
	t.Fatalf("no line matched %q in:\n%s", pattern, strings.Join(all, "\n"))
	return nil
}

// A running suite, and where it answers.
type running struct {
	cmd        *exec.Cmd
	url, kafka string
	http       *http.Client // with the suite's token
}

func up(t *testing.T, dir string) running {
	t.Helper()
	cmd, lines := freshet(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0")
	url := until(t, lines, `ready in \d+ ms, (http://\S+)`)[1]
	kafka := until(t, lines, `Kafka (127\.0\.0\.1:\d+)`)[1]
	go func() {
		for lines.Scan() { // so that it never waits for a reader
			continue
		}
	}()
	token, err := suite.ReadToken(filepath.Join(dir, suite.TokenFile))
	require.NoError(t, err)
	return running{cmd, url, kafka, &http.Client{Transport: web.Bearer{Token: web.Token(token)}}}
}

func (r running) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, r.cmd.Wait())
}

func (r running) get(t *testing.T, path string) []byte {
	t.Helper()
	res, err := r.http.Get(r.url + path)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", path, raw)
	return raw
}

// log is every event, byte for byte as recorded.
func (r running) log(t *testing.T) [][]byte {
	t.Helper()
	return bytes.Split(bytes.TrimSpace(r.get(t, "/v1/events/replay")), []byte("\n"))
}

func (r running) settled(t *testing.T, within time.Duration) {
	t.Helper()
	var last []byte
	require.Eventually(t, func() bool {
		last = r.get(t, "/statusz")
		var s struct{ Settled bool }
		return json.Unmarshal(last, &s) == nil && s.Settled
	}, within, 50*time.Millisecond, "not settled within %s: %s", within, last)
}

// TestAKilledDemoGoesOn kills the whole suite with kill -9 in the middle of the
// demo, and brings it back twice: everything is there, open ripples end, the log
// keeps its promises, and every service's state is what the log makes of it.
func TestAKilledDemoGoesOn(t *testing.T) {
	t.Parallel()
	// Not t.TempDir: only its owner may enter that, and PostgreSQL has a user of its own.
	base, err := os.MkdirTemp("", "freshet-killed-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	require.NoError(t, os.Chmod(base, 0o755))
	dir := filepath.Join(base, "suite")
	cmd, lines := freshet(t, "demo", "--days", "9", "--data-dir", dir, "--listen", "127.0.0.1:0", "--exit")
	until(t, lines, `v1 passed`)
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()

	first := up(t, dir)
	first.settled(t, 2*time.Minute)
	events := first.log(t)
	require.NotEmpty(t, events)
	checkCauses(t, events)
	require.NotEmpty(t, first.get(t, "/v1/models/flight-delays/versions/1"))
	checkOutcomes(t, first)
	require.Equal(t, asStrings(events), archiveByKafkaGo(t, first.kafka, len(events)))
	require.Equal(t, asStrings(events), archiveByFranz(t, first.kafka, len(events)))
	first.stop(t)

	second := up(t, dir)
	second.settled(t, 2*time.Minute)
	again := second.log(t)
	require.Equal(t, asStrings(events), asStrings(again)[:len(events)], "a restart changed the log")
	checkWhatIf(t, second, base, len(again))
	require.Equal(t, asStrings(again), asStrings(second.log(t)), "asking what if changed the log")
	checkReplay(t, second)
	second.stop(t)
}

// checkWhatIf replays the demo under rules that are the same, from and to anywhere, and
// under a gate that nothing passes.
func checkWhatIf(t *testing.T, r running, dir string, end int) {
	t.Helper()
	rules, err := os.ReadFile("../../examples/flight-delays/model/freshet.yaml")
	require.NoError(t, err)
	ask := func(rules string, flags ...string) whatif.Report {
		file := filepath.Join(dir, "changed.yaml")
		require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
		cmd, lines := freshet(t, append([]string{"replay", "what-if", "--url", r.url, "--model", "flight-delays", "--spec", file, "-o", "json"}, flags...)...)
		var out strings.Builder
		for lines.Scan() {
			out.WriteString(lines.Text())
		}
		require.NoError(t, cmd.Wait())
		var report whatif.Report
		require.NoError(t, json.Unmarshal([]byte(out.String()), &report), out.String())
		return report
	}
	for _, flags := range [][]string{
		nil,
		{"--from", "1"},
		{"--from", "2001-01-12"},
		{"--from", strconv.Itoa(end / 2), "--to", strconv.Itoa(end - 7)},
		{"--from", "2001-01-09T00:00", "--to", "2001-01-12T09:00"},
		{"--from", strconv.Itoa(end)},
	} {
		same := ask(string(rules), flags...)
		require.Empty(t, same.Branches, "the same rules lead to the same decisions: %s", flags)
		require.Zero(t, same.Dropped+same.Unknown+same.Alike)
		if flags == nil {
			require.NotZero(t, same.Compared)
		}
	}
	strict := ask(strings.Replace(string(rules), "naive.auc + 0.05", "naive.auc + 0.5", 1))
	require.NotEmpty(t, strict.Branches)
	first := strict.Branches[0].First
	require.Equal(t, "registry", first.Service)
	require.Equal(t, events.TypeCandidateMeasured, first.On.Type)
	require.Equal(t, events.TypeCandidatePassed, first.Then[0].Type)
	require.Equal(t, events.TypeCandidateRefused, first.Instead[0].Type)
	require.NotZero(t, strict.Branches[0].Dropped, "what followed does not happen")
	for _, later := range strict.Branches[1:] {
		require.Nil(t, later.First, "nothing serves, so that nothing of it drifts, and no candidate is measured against it")
	}
}

// checkCauses checks that every event's cause is in the log before it and that
// each source's sequence has no gap.
func checkCauses(t *testing.T, log [][]byte) {
	t.Helper()
	seen := map[string]bool{}
	last := map[string]uint64{}
	for _, raw := range log {
		e, err := events.Codec{}.Decode(raw)
		require.NoError(t, err)
		if cause, ok := e.Extensions()["causationid"]; ok {
			require.True(t, seen[cause.(string)], "%s %s has a cause that is not in the log", e.Type(), e.ID())
		} else {
			require.Equal(t, e.ID(), e.Extensions()["correlationid"], "a root is its own ripple")
		}
		seen[e.ID()] = true
		sequence, err := strconv.ParseUint(e.Extensions()["sequence"].(string), 10, 64)
		require.NoError(t, err)
		require.Equal(t, last[e.Source()]+1, sequence, "%s", e.Source())
		last[e.Source()] = sequence
	}
}

// checkOutcomes checks that no ripple waits for anything but a person or traffic.
func checkOutcomes(t *testing.T, r running) {
	t.Helper()
	var ripples struct {
		Items []struct {
			ID, Outcome string
		}
	}
	require.NoError(t, json.Unmarshal(r.get(t, "/v1/ripples"), &ripples))
	require.NotEmpty(t, ripples.Items)
	for _, one := range ripples.Items {
		require.NotContains(t, []string{"running", "training", "checking"}, one.Outcome, one.ID)
	}
}

func asStrings(log [][]byte) []string {
	out := make([]string, len(log))
	for i, raw := range log {
		out[i] = string(raw)
	}
	return out
}

func archiveByKafkaGo(t *testing.T, addr string, n int) []string {
	t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, Topic: "freshet.events", Partition: 0})
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out []string
	for len(out) < n {
		m, err := r.ReadMessage(ctx)
		require.NoError(t, err, "%d of %d records", len(out), n)
		out = append(out, string(m.Value))
	}
	return out
}

func archiveByFranz(t *testing.T, addr string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("freshet.events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out []string
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err(), fmt.Sprintf("%d of %d records", len(out), n))
		fetches.EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	return out
}
