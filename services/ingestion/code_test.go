package ingestion_test

import (
	"archive/tar"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

func TestARevisionDeclaresItsModels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := definitions()
	files["train.py"] = "print('hello')\n"
	files["run.sh"] = "#!/bin/sh\n"
	first := b.commit("First model\n\nHypothesis: airports spread delays\n  to each other\nReviewed-by: B", files)
	b.connect()

	c := parse[events.CodeCommitted](t, b.AwaitType(events.TypeCodeCommitted, 1))
	require.Equal(t, first, c.Revision)
	require.Equal(t, []string{"flight-delays"}, c.Models)
	require.Len(t, c.Views, 1)
	require.Len(t, c.Datasets, 1)
	text, err := b.Objects.Get(t.Context(), c.Hypothesis.Digest, 1000)
	require.NoError(t, err)
	require.Equal(t, "airports spread delays to each other", string(text))
	raw, err := b.Objects.Get(t.Context(), c.Archive.Digest, 1<<20)
	require.NoError(t, err)
	require.Equal(t, []string{"datasets/flights.yaml", "features/origin_delays.yaml", "freshet.yaml", "run.sh", "train.py"}, names(t, raw))
	m := parse[events.ModelDeclared](t, b.AwaitType(events.TypeModelDeclared, 1))
	require.True(t, m.TrainingChanged)
	require.Equal(t, first, m.Code.Revision)

	// Rules and prose change no training; parameters and views do. A builtin does
	// not depend on the repository's files.
	changed := func(n int, message string, files map[string]string) bool {
		b.commit(message, files)
		return parse[events.ModelDeclared](t, b.AwaitType(events.TypeModelDeclared, n)).TrainingChanged
	}
	require.False(t, changed(2, "gate", map[string]string{"freshet.yaml": strings.Replace(modelYAML, "0.05", "0.04", 1)}))
	require.False(t, changed(3, "script", map[string]string{"train.py": "print('bye')\n"}))
	require.True(t, changed(4, "parameter", map[string]string{"freshet.yaml": strings.Replace(modelYAML, "l2: 0.01", "l2: 0.02", 1)}))
	require.True(t, changed(5, "view", map[string]string{"features/origin_delays.yaml": strings.Replace(viewYAML, "3h", "6h", 1)}))
	command := strings.Replace(modelYAML, "{builtin: logistic-regression, params: {l2: 0.01}}", "{command: [python, train.py]}", 1)
	require.True(t, changed(6, "command", map[string]string{"freshet.yaml": command}))
	require.True(t, changed(7, "code", map[string]string{"train.py": "print('third')\n"}))
	require.False(t, changed(8, "prose", map[string]string{"README.md": "# Delays\n"}))

	// A mistake is a rejection with its place; what was committed before stays.
	b.commit("slip", map[string]string{"freshet.yaml": strings.Replace(command, "gates:", "gtes:", 1)})
	r := parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 1))
	require.Equal(t, "invalid", r.Reason)
	require.Equal(t, "freshet.yaml", r.Problems[0].File)
	require.EqualValues(t, 7, r.Problems[0].Line)
	require.Equal(t, `write "gates" instead`, r.Problems[0].Fix)
	_, body := b.do("GET", "/v1/repositories", "", "")
	require.Contains(t, body, `"status":"rejected"`)

	// A model that is no longer declared is withdrawn.
	b.commit("no model", map[string]string{"freshet.yaml": ""})
	w := parse[events.ModelWithdrawn](t, b.AwaitType(events.TypeModelWithdrawn, 1))
	require.Equal(t, "flight-delays", w.Model)
	b.Settle(t.Context())
	require.EqualValues(t, 0, b.Log.Status(t.Context()).Parked)
}

func names(t *testing.T, archive []byte) (out []string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, h.Name)
		if h.Name == "run.sh" {
			require.EqualValues(t, 0o644, h.Mode)
		}
	}
}

func TestLinksAndSubmodulesAreNotFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit("first", definitions())
	require.NoError(t, os.Symlink("freshet.yaml", filepath.Join(b.repo, "same.yaml")))
	b.git("update-index", "--add", "--cacheinfo", "160000,1111111111111111111111111111111111111111,sub\rmodule")
	b.git("add", "same.yaml")
	b.git("commit", "-q", "-m", "a link inside and a submodule with a carriage return")
	b.connect()
	r := parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 1))
	require.Equal(t, "unsafe_path", r.Reason)

	b.git("rm", "-q", "--cached", "sub\rmodule")
	b.git("commit", "-q", "-m", "without the submodule")
	c := parse[events.CodeCommitted](t, b.AwaitType(events.TypeCodeCommitted, 1))
	require.NotEmpty(t, c.Archive.Digest)

	require.NoError(t, os.Symlink("/etc", filepath.Join(b.repo, "etc")))
	b.git("add", "etc")
	b.git("commit", "-q", "-m", "a link out")
	r = parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 2))
	require.Equal(t, "unsafe_path", r.Reason)

	b.git("rm", "-q", "etc")
	b.git("rm", "-q", "freshet.yaml")
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(b.repo, "datasets", "x.yaml")))
	require.NoError(t, os.Symlink("same.yaml", filepath.Join(b.repo, "freshet.yaml")))
	require.NoError(t, os.Remove(filepath.Join(b.repo, "datasets", "x.yaml")))
	b.git("add", "-A")
	b.git("commit", "-q", "-m", "definitions behind a link")
	r = parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 3))
	require.Equal(t, "invalid", r.Reason)
	require.Contains(t, r.Problems[0].Message, "symbolic link")
}

func TestAddressesThatGitMustNotSee(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mark := filepath.Join(t.TempDir(), "mark")
	for _, url := range []string{
		"--upload-pack=touch " + mark, "-h", "ext::sh -c 'touch " + mark + "'", "ssh://-oProxyCommand=touch%20" + mark + "/x",
		"https://user:password@example.com/x.git", "http://example.com/x.git", "git://example.com/x", "file:///etc", "https://example.com/x?y=1",
		"relative/path", "/tmp/../etc", "fd::17/foo", "https://example.com/--upload-pack=x", "https://exa mple.com/x", "https://example.com/a\nb", "",
	} {
		status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"x","url":%q}`, url))
		require.Equal(t, http.StatusBadRequest, status, "%q: %s", url, body)
		require.NotContains(t, body, "password")
	}
	for _, branch := range []string{"-h", "--output=" + mark, "a..b", "a b", "refs/../x", "x.lock", "a/-b\n", "@{u}", "a/"} {
		status, _ := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"x","url":"/srv/x","branch":%q}`, branch))
		require.Equal(t, http.StatusBadRequest, status, branch)
	}
	_, err := os.Stat(mark)
	require.ErrorIs(t, err, os.ErrNotExist)
	b.Settle(t.Context())
	for _, e := range b.Events() {
		require.NotEqual(t, events.TypeRepositoryConnected, e.Type())
	}
}

func TestSignedHooks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	body := fmt.Sprintf(`{"ref":"refs/heads/main","before":"%040d","after":%q}`, 0, strings.Repeat("ab", 20))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	post := func(path, body string, headers ...string) int {
		status, _ := b.do("POST", path, "application/json", body, headers...)
		return status
	}
	headers := []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", "d-1"}
	sign := func(s string) []string { return append([]string{"X-Hub-Signature-256", s}, headers...) }
	require.Equal(t, http.StatusUnauthorized, post("/hooks/github/delays", body, headers...), "no signature")
	require.Equal(t, http.StatusUnauthorized, post("/hooks/github/delays", body, sign("sha256="+strings.Repeat("0", 64))...), "a wrong one")
	require.Equal(t, http.StatusUnauthorized, post("/hooks/github/delays", body, sign("sha1=00")...))
	require.Equal(t, http.StatusUnauthorized, post("/hooks/github/delays", strings.Replace(body, ",", ", ", 1), sign(signature)...),
		"the same JSON in other bytes")
	require.Equal(t, http.StatusUnauthorized, post("/hooks/github/nobody", body, headers...), "who does not sign learns nothing")
	require.Equal(t, http.StatusNotFound, post("/hooks/github/nobody", body, sign(signature)...))

	require.Equal(t, http.StatusAccepted, post("/hooks/github/delays", body, sign(signature)...))
	require.Equal(t, http.StatusAccepted, post("/hooks/github/delays", body, sign(signature)...), "a replay is the same delivery")
	pushed := parse[events.CodePushed](t, b.AwaitType(events.TypeCodePushed, 2))
	require.Equal(t, "github", pushed.Via)
	require.Equal(t, b.repo, pushed.URL, "what is fetched is what was registered")
	// The branch never pointed there, or no longer does: nothing is read.
	require.Equal(t, "superseded", parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 1)).Reason)

	res, err := http.DefaultClient.Do(func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "POST", b.URL+"/hooks/github/delays", io.LimitReader(zeros{}, 6<<20))
		require.NoError(t, err)
		r.ContentLength = 6 << 20
		return r
	}())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, "bounded before it is hashed")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAPathThatIsNoRepositoryIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	empty := t.TempDir()
	b.commit("first", definitions())
	for _, url := range []string{empty, filepath.Join(empty, "nope"), filepath.Join(b.repo, "datasets")} {
		status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"x","url":%q}`, url))
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, "is not a Git repository")
	}
	bare := filepath.Join(empty, "bare.git")
	b.git("clone", "-q", "--bare", b.repo, bare)
	ask := fmt.Sprintf(`{"name":"bare","url":%q}`, bare)
	status, body := b.do("POST", "/v1/repositories", "application/json", ask, "Freshet-Actor", "ada@example.com")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "write an opaque id")
	status, body = b.do("POST", "/v1/repositories", "application/json", ask, "Freshet-Actor", "u-17")
	require.Equal(t, http.StatusCreated, status, body)
	require.Equal(t, "u-17", eventlog.Actor(b.AwaitType(events.TypeRepositoryConnected, 1)))
}

func TestABranchThatIsNotThereIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit("first", definitions())
	status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"x","url":%q,"branch":"trunk"}`, b.repo))
	require.Equal(t, http.StatusCreated, status, body)
	listed := func() string {
		_, body := b.do("GET", "/v1/repositories", "", "")
		return body
	}
	require.Eventually(t, func() bool { return strings.Contains(listed(), `"status":"unreachable"`) }, time.Minute, 10*time.Millisecond)
	require.Contains(t, listed(), `it has no branch \"trunk\"`)
	b.git("branch", "trunk")
	require.Eventually(t, func() bool { return !strings.Contains(listed(), `unreachable`) }, time.Minute, 10*time.Millisecond)
}

func TestARevisionThatCouldNotBeFetchedIsFetchedAgainWhenAsked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit("first", definitions())
	id := b.git("rev-parse", "HEAD:freshet.yaml")
	object := filepath.Join(b.repo, ".git", "objects", id[:2], id[2:])
	require.NoError(t, os.Rename(object, object+".away"))
	b.connect()
	r := parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 1))
	require.Equal(t, "fetch_failed", r.Reason)
	require.NoError(t, os.Rename(object+".away", object))
	b.Settle(t.Context())
	status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":"delays","url":%q,"branch":"main"}`, b.repo))
	require.Equal(t, http.StatusOK, status, body)
	b.AwaitType(events.TypeModelDeclared, 1)
}
