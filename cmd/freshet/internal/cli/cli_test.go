package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

// run executes one command line.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := Root()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// suiteOf answers GET requests with fixed documents, and keeps what was sent.
func suiteOf(t *testing.T, answers map[string]string) (url string, sent *[]string) {
	t.Helper()
	sent = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*sent = append(*sent, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			web.Problem(w, http.StatusNotFound, "Not found", "nothing is served at "+r.URL.Path)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, sent
}

func TestTablesForPeopleAndJSONForPrograms(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{
		"GET /v1/models/m/versions": `{"items":[{"version":3,"status":"passed","metrics":{"candidate":{"auc":0.65712345},"naive":{"auc":0.5}},
			"gates":[{"name":"useful","passed":true},{"name":"better","passed":false}],"registered_at":"2001-01-19T00:00:00Z"}]}`,
	})
	out, err := run(t, "versions", "list", "--model", "m", "--url", url, "-n", "team")
	require.NoError(t, err)
	require.Equal(t, "VERSION  STATUS  AUC     NAIVE AUC  GATES            REGISTERED\n"+
		"3        passed  0.6571  0.5        refused: better  2001-01-19 00:00:00\n", out)
	require.Contains(t, (*sent)[0], "namespace=team")

	out, err = run(t, "versions", "list", "--model", "m", "--url", url, "-o", "json")
	require.NoError(t, err)
	var parsed map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &parsed))
	require.Len(t, parsed["items"], 1)

	out, err = run(t, "versions", "list", "--model", "m", "--url", url, "-o", "yaml")
	require.NoError(t, err)
	require.Contains(t, out, "items:\n  - version: 3\n    status: passed\n")
	_, err = run(t, "versions", "list", "--model", "m", "--url", url, "-o", "xml")
	require.EqualError(t, err, `-o "xml" is no format: write table, wide, json or yaml`)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := run(t, "models", "list", "--url", "http://127.0.0.1:1")
	require.EqualError(t, err, "no suite answers at http://127.0.0.1:1: start one with freshet up, or name another with --url")
	url, _ := suiteOf(t, nil)
	_, err = run(t, "models", "show", "m", "--url", url)
	require.EqualError(t, err, "nothing is served at /v1/models/m")
	_, err = run(t, "why", "production/flight-delays", "--picture", "why.png", "--url", url)
	require.ErrorContains(t, err, "name a file that ends in .svg")
	_, err = run(t, "approvals", "give", "m@0", "production", "--url", url)
	require.ErrorContains(t, err, "versions are numbered from 1")
	_, err = run(t, "data", "publish", "x.csv", "--url", url)
	require.ErrorContains(t, err, "dataset")
}

func TestMistakesOnTheCommandLineAreNamed(t *testing.T) {
	t.Parallel()
	_, err := run(t, "models", "list", "--url", "foo")
	require.EqualError(t, err, `--url "foo" is not a suite's address: write one such as http://127.0.0.1:8080`)
	_, err = run(t, "rollouts", "promote", "m")
	require.ErrorContains(t, err, "usage: freshet rollouts promote MODEL@VERSION ENVIRONMENT")
	url, sent := suiteOf(t, map[string]string{"PUT /v1/files": `{}`})
	for _, to := range []string{"2", "m", "m@0", "m@-1", "@1", "other@1"} {
		_, err = run(t, "rollouts", "rollback", "m", "production", "--to", to, "--url", url)
		require.Equal(t, exitUsage, exitCode(err), to)
		require.ErrorContains(t, err, "version", to)
	}
	_, err = run(t, "data", "publish", t.TempDir(), "--dataset", "d", "--url", url)
	require.ErrorContains(t, err, "is a directory")
	require.Empty(t, *sent)
}

func TestWhatCannotBeAnsweredSaysWhatCan(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{"GET /healthz": `{"services":["registry","training"]}`})
	for _, how := range []string{"retry", "discard"} {
		_, err := run(t, "events", how, "nope", "e1", "--url", url)
		require.EqualError(t, err, `no service "nope" runs there: choose from registry, training`)
	}
	for _, limit := range []string{"0", "-3", "2001"} {
		_, err := run(t, "impact", "flights#7", "--limit", limit, "--url", url)
		require.EqualError(t, err, "--limit "+limit+": 1 to 2000 is allowed")
	}
	require.Len(t, *sent, 2, "and nothing else was asked")
	dir := t.TempDir()
	_, err := run(t, "audit", "verify", dir, "--kafka", "127.0.0.1:1")
	require.EqualError(t, err, dir+" and --kafka 127.0.0.1:1 are both named: choose one")
	for _, args := range [][]string{{"audit", "verify"}, {"audit", "dump", filepath.Join(dir, "copy")}} {
		_, err = run(t, append(args, "--kafka", "127.0.0.1:1")...)
		require.ErrorContains(t, err, "no Kafka answers at 127.0.0.1:1: start the suite, or name its Kafka with --kafka (freshet up prints it)")
	}
	_, err = run(t, "audit", "verify", "--kafka", testkit.KafkaAddr(t))
	require.ErrorContains(t, err, "has no topic freshet.events: name a suite's with --kafka")
}

func TestAnEventIsProvenByItsSequence(t *testing.T) {
	t.Parallel()
	url, _ := suiteOf(t, map[string]string{"GET /v1/events": `{"items":[{"id":"e44","sequence":44}]}`, "GET /v1/events/e44/proof": "a proof\n"})
	for _, name := range []string{"44", "e44"} {
		out, err := run(t, "audit", "prove", name, "--url", url)
		require.NoError(t, err)
		require.Equal(t, "a proof\n", out)
	}
}

func TestARepositoryIsAddedToOneNamespace(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{"POST /v1/repositories": `{"id":"e1"}`})
	_, err := run(t, "repos", "add", "https://example.com/Flights.git", "--url", url, "-n", "team")
	require.NoError(t, err)
	require.Contains(t, (*sent)[0], "POST /v1/repositories?namespace=team {")
	require.Contains(t, (*sent)[0], `"name":"flights"`)
}

func TestAnEventIsShownByItsSequence(t *testing.T) {
	t.Parallel()
	url, _ := suiteOf(t, map[string]string{
		"GET /v1/events":      `{"items":[{"id":"e7","sequence":7},{"id":"e8","sequence":8}]}`,
		"GET /v1/events/e7":   `{"id":"e7"}`,
		"GET /v1/events/0123": `{"id":"0123"}`,
	})
	for name, want := range map[string]string{"7": "e7", "e7": "e7", "0123": "0123"} {
		out, err := run(t, "events", "show", name, "--url", url)
		require.NoError(t, err)
		require.Contains(t, out, want)
	}
}

func TestAnApprovalSaysWhoAndWhat(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{"POST /v1/approvals": `{"id":"e1","existing":false}`})
	out, err := run(t, "approvals", "give", "m@3", "production", "--note", "looks good", "--url", url)
	require.NoError(t, err)
	require.Equal(t, "approved m@3 for production (event e1)\n", out)
	_, body, _ := strings.Cut((*sent)[0], " {")
	require.JSONEq(t, `{"namespace":"default","model":"m","version":3,"environment":"production","verdict":"approve","note":"looks good"}`, "{"+body)
}

// Who acts goes with everything that a person does, from the flag or the environment.
func TestWhoActsIsSaid(t *testing.T) {
	var actors []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			actors = append(actors, r.Header.Get("Freshet-Actor"))
		}
		_, _ = io.WriteString(w, `{"id":"e1","services":["training"]}`)
	}))
	t.Cleanup(server.Close)
	acts := [][]string{{"approvals", "give", "m@3", "production"}, {"approvals", "deny", "m@3", "production"}, {"runs", "start", "m"},
		{"rollouts", "rollback", "m", "production"}, {"rollouts", "promote", "m@3", "production"},
		{"events", "retry", "training", "e1"}, {"events", "discard", "training", "e1"},
		{"repos", "add", "https://example.com/m.git"}}
	for _, act := range acts {
		t.Setenv("FRESHET_ACTOR", "")
		actors = nil
		_, err := run(t, append(act, "--url", server.URL)...)
		require.NoError(t, err, act)
		_, err = run(t, append(act, "--url", server.URL, "--actor", "u-17")...)
		require.NoError(t, err, act)
		t.Setenv("FRESHET_ACTOR", "ci:release")
		_, err = run(t, append(act, "--url", server.URL)...)
		require.NoError(t, err, act)
		_, err = run(t, append(act, "--url", server.URL, "--actor", "u-17")...)
		require.NoError(t, err, act)
		require.Equal(t, []string{"", "u-17", "ci:release", "u-17"}, actors, act)
		for _, bad := range []string{"Ada Lovelace", "ada@example.com", ""} {
			_, err = run(t, append(act, "--url", server.URL, "--actor", bad)...)
			require.ErrorContains(t, err, "is no actor: write an opaque id", act)
		}
		require.Len(t, actors, 4)
	}
}

func TestPublishingTheSameFilesTwiceIsOneArrival(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{
		"PUT /v1/files":     `{"digest":"sha256:` + strings.Repeat("a", 64) + `","uri":"objects:` + strings.Repeat("a", 64) + `","size":3}`,
		"POST /v1/arrivals": `{"id":"e1","existing":false}`,
	})
	file := filepath.Join(t.TempDir(), "day.csv")
	require.NoError(t, os.WriteFile(file, []byte("a,b"), 0o600))
	for range 2 {
		_, err := run(t, "data", "publish", file, "--dataset", "flights", "--url", url)
		require.NoError(t, err)
	}
	require.Len(t, *sent, 4)
	require.Equal(t, (*sent)[1], (*sent)[3])
	require.Contains(t, (*sent)[1], `"dataset":"flights"`)
}

func TestParkedEventsOfAllServicesAreListedAndAnswered(t *testing.T) {
	t.Parallel()
	url, sent := suiteOf(t, map[string]string{
		"GET /healthz":                        `{"alive":true,"services":["registry","training"]}`,
		"GET /v1/parked/training":             `{"items":[{"id":"e1","type":"io.freshet.training.v1.run_completed","subject":"m","reason":"panic","behind":2}]}`,
		"POST /v1/parked/training/e1/discard": `{"id":"e2","existing":false}`,
	})
	out, err := run(t, "events", "parked", "--url", url)
	require.NoError(t, err)
	require.Contains(t, out, "not asked: registry: ")
	require.Contains(t, out, "training  e1     training run_completed  m        panic   2\n")
	out, err = run(t, "events", "discard", "training", "e1", "--url", url)
	require.NoError(t, err)
	require.Equal(t, "asked training to discard e1 (event e2)\n", out)
	require.Contains(t, (*sent)[len(*sent)-1], "POST /v1/parked/training/e1/discard")
}

func TestARippleIsATree(t *testing.T) {
	t.Parallel()
	url, _ := suiteOf(t, map[string]string{"GET /v1/ripples": `{"items":[{"id":"r"}]}`, "GET /v1/ripples/r": `{"id":"r","items":[
		{"id":"a","type":"io.freshet.ingestion.v1.data_arrived","subject":"flights","time":"2001-01-06T00:00:00Z"},
		{"id":"b","type":"io.freshet.ingestion.v1.data_checked","subject":"flights","cause":"a","time":"2001-01-06T00:00:00Z"},
		{"id":"c","type":"io.freshet.ingestion.v1.data_committed","subject":"flights","cause":"b","time":"2001-01-06T00:00:00Z","note":"bell\u0007"}]}`})
	out, err := run(t, "ripples", "show", "r", "--url", url)
	require.NoError(t, err)
	require.Equal(t, "ingestion data_arrived  flights  2001-01-06 00:00:00\n"+
		"└─ ingestion data_checked  flights  2001-01-06 00:00:00\n"+
		"   └─ ingestion data_committed  flights  bell   2001-01-06 00:00:00\n", out)
}

func TestHowEverythingStoodSaysWhatItLeftOut(t *testing.T) {
	t.Parallel()
	for truncated, says := range map[string]bool{`,"truncated":true`: true, "": false} {
		url, _ := suiteOf(t, map[string]string{"GET /v1/as-of/now": `{"position":9,"time":"2001-01-06T00:00:00Z","models":[{"model":"m"}]` + truncated + `}`})
		out, err := run(t, "as-of", "now", "--url", url)
		require.NoError(t, err)
		require.Contains(t, out, "Models\n")
		require.Equal(t, says, strings.Contains(out, "The answer is too long and is cut here"), out)
	}
}

func TestValidateNeedsNoSuite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "freshet.yaml"), []byte("model: m\nowner: someone@example.com\nfoo: bar\n"), 0o600))
	out, err := run(t, "validate", dir)
	require.ErrorContains(t, err, "mistake")
	require.Contains(t, out, "freshet.yaml:3: ")
	_, err = run(t, "validate", filepath.Join(dir, "missing"))
	require.Error(t, err)
}
