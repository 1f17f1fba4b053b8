package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/backup"
	"github.com/freshet-io/freshet/cmd/freshet/internal/cli"
	"github.com/freshet-io/freshet/cmd/freshet/internal/demo"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/training"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if training.RunBuiltin() { // this process is a training job
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "why" { // the demo asks the binary that it is part of
		if err := cli.Root().Execute(); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const days = 4

var (
	made = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	end  = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC).AddDate(0, 0, days)
)

// place is a directory that PostgreSQL's user can enter, also as root.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-backup-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func up(t *testing.T, dir string) *suite.Suite {
	t.Helper()
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Clock: clock.NewDriven(end),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	require.NoError(t, err)
	return s
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", url, b)
	return string(b)
}

// all is what an installation says of itself.
func all(t *testing.T, url string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, path := range []string{"/v1/events?limit=1000", "/v1/models", "/v1/models/flight-delays/versions", "/v1/runs", "/v1/rollouts", "/v1/environments",
		"/v1/datasets", "/v1/views", "/v1/alerts", "/v1/windows", "/v1/ripples"} {
		out[path] = get(t, url+path)
	}
	return out
}

func settled(t *testing.T, url string) {
	t.Helper()
	var last string
	require.Eventually(t, func() bool {
		last = get(t, url+"/statusz")
		var st suite.Status
		return json.Unmarshal([]byte(last), &st) == nil && st.Settled
	}, time.Minute, 50*time.Millisecond, "%s", last)
}

func TestAnInstallationIsBackedUpAndComesBackElsewhere(t *testing.T) {
	t.Parallel()
	base := place(t)
	dir, to := filepath.Join(base, "suite"), filepath.Join(base, "backup")
	require.NoError(t, demo.Run(t.Context(), demo.Options{Days: days, DataDir: dir, Listen: "127.0.0.1:0", Kept: true, Out: t.Output(),
		Logger: slog.New(slog.DiscardHandler)}))

	s := up(t, dir)
	settled(t, s.URL())
	before := all(t, s.URL())
	_, err := backup.Take(t.Context(), dir, to, "v1", made)
	require.ErrorContains(t, err, "a backup is taken of a suite that is stopped: another freshet")
	require.NoDirExists(t, to)
	require.NoError(t, s.Stop(context.Background()))

	_, err = backup.Take(t.Context(), dir, filepath.Join(dir, "backup"), "v1", made)
	require.ErrorContains(t, err, "is in the installation that it would hold")
	_, err = backup.Take(t.Context(), base, to, "v1", made)
	require.ErrorContains(t, err, "there is no installation in "+base)
	taken, err := backup.Take(t.Context(), dir, to, "v1", made)
	require.NoError(t, err)
	_, err = backup.Take(t.Context(), dir, to, "v1", made)
	require.ErrorContains(t, err, to+" is not empty")
	_, err = backup.Check(t.Context(), to)
	require.NoError(t, err)

	// To a place that PostgreSQL's own user cannot enter: its files go elsewhere.
	hidden := filepath.Join(base, "hidden")
	require.NoError(t, os.Mkdir(hidden, 0o700))
	back := filepath.Join(hidden, "suite")
	_, err = backup.Restore(t.Context(), to, base)
	require.ErrorContains(t, err, base+" is not empty")
	_, err = backup.Restore(t.Context(), to, back)
	require.NoError(t, err)
	if home, err := filepath.EvalSymlinks(filepath.Join(back, "postgres")); err == nil && !strings.HasPrefix(home, base) {
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
	}
	// What was restored can be backed up again, and is the same.
	second, err := backup.Take(t.Context(), back, filepath.Join(base, "second"), "v1", made)
	require.NoError(t, err)
	require.Equal(t, taken.Files, second.Files)
	require.Equal(t, taken.Links, second.Links)

	s = up(t, back)
	settled(t, s.URL())
	require.Equal(t, before, all(t, s.URL()))
	require.Contains(t, get(t, s.URL()+"/readyz"), `"ready":true`)
	answer := infer(t, s.URL())
	require.Contains(t, answer, `"late"`)
	log, archive := copies(t, s)
	require.NotEmpty(t, log)
	require.Equal(t, log, archive, "the archive is the log")
	require.NoError(t, s.Stop(context.Background()))
}

func infer(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Post(url+"/v2/models/flight-delays/infer", "application/json", strings.NewReader(
		`{"inputs":[{"name":"flight_id","shape":[1],"datatype":"BYTES","data":["x"]},{"name":"date","shape":[1],"datatype":"BYTES","data":["2001-01-10T20:00:00Z"]},
		{"name":"origin","shape":[1],"datatype":"BYTES","data":["ATL"]},{"name":"destination","shape":[1],"datatype":"BYTES","data":["DTW"]},
		{"name":"distance","shape":[1],"datatype":"INT64","data":[594]}]}`))
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", b)
	return string(b)
}

// copies are the log and its archive, event by event.
func copies(t *testing.T, s *suite.Suite) (log, archive []string) {
	t.Helper()
	res, err := http.Get(s.URL() + "/v1/events/replay")
	require.NoError(t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	log = strings.Split(strings.TrimSpace(string(raw)), "\n")
	client := kafka.New(s.KafkaAddr())
	defer client.Close()
	_, ends, err := client.Bounds(t.Context(), "freshet.events")
	require.NoError(t, err)
	for next := int64(0); next < ends[0]; {
		var records []kafka.Record
		records, next, err = client.Fetch(t.Context(), "freshet.events", 0, next, time.Second)
		require.NoError(t, err)
		for _, r := range records {
			archive = append(archive, string(r.Value))
		}
	}
	return log, archive
}

// small is a backup of what looks like an installation.
func small(t *testing.T) (base, dir string) {
	t.Helper()
	base = place(t)
	from := filepath.Join(base, "suite")
	for name, content := range map[string]string{
		"nats/a.blk": "the log", "kafka/00.log": "the archive", "objects/ab/cd": "bytes", "postgres/initialised": "", "postgres/password": "secret\n",
		"postgres/data/PG_VERSION": "15\n", "services/audit/key": "a key", "tmp/x": "left out", "lock": "1", "postgres/postgres.log": "left out",
	} {
		path := filepath.Join(from, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o640))
	}
	require.NoError(t, os.Symlink("../objects/ab/cd", filepath.Join(from, "services/link")))
	require.NoError(t, os.Chmod(filepath.Join(from, "postgres/data"), 0o700))
	dir = filepath.Join(base, "backup")
	m, err := backup.Take(t.Context(), from, dir, "v1", made)
	require.NoError(t, err)
	require.Len(t, m.Files, 7)
	return base, dir
}

func TestABackupKeepsModesAndLinks(t *testing.T) {
	t.Parallel()
	base, dir := small(t)
	back := filepath.Join(base, "back")
	require.NoError(t, os.Mkdir(back, 0o711))
	_, err := backup.Restore(t.Context(), dir, back)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(back, "postgres/data"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(back, "services/audit/key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	target, err := os.Readlink(filepath.Join(back, "services/link"))
	require.NoError(t, err)
	require.Equal(t, "../objects/ab/cd", target)
	require.NoDirExists(t, filepath.Join(back, "tmp"))
}

func TestAFileThatIsNotOfTheBackupIsNamed(t *testing.T) {
	t.Parallel()
	_, dir := small(t)
	m, err := backup.Check(t.Context(), dir)
	require.NoError(t, err)
	foreign, err := m.Foreign(dir)
	require.NoError(t, err)
	require.Empty(t, foreign)
	for _, name := range []string{"note.txt", "data/objects/ab/more"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("more"), 0o600))
	}
	foreign, err = m.Foreign(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"data/objects/ab/more", "note.txt"}, foreign)
}

func TestADamagedBackupIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	manifest := func(dir string) string { return filepath.Join(dir, "manifest.json") }
	edit := func(path string, change func([]byte) []byte) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(b), 0o600)
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"a byte changed": {func(d string) error {
			return edit(d+"/data/objects/ab/cd", func(b []byte) []byte { b[2] ^= 1; return b })
		}, "objects/ab/cd is not what was backed up"},
		"a file cut":  {func(d string) error { return os.Truncate(d+"/data/nats/a.blk", 3) }, "nats/a.blk"},
		"a file gone": {func(d string) error { return os.Remove(d + "/data/services/audit/key") }, "services/audit/key is missing"},
		"a manifest changed": {func(d string) error {
			return edit(manifest(d), func(b []byte) []byte { return bytes.Replace(b, []byte("nats/a.blk"), []byte("nats/b.blk"), 1) })
		}, "manifest.json is not what was written"},
		"a digest gone": {func(d string) error { return os.Remove(manifest(d) + ".sha256") }, "its manifest's digest"},
		"a newer format": {func(d string) error {
			return edit(manifest(d), func(b []byte) []byte { return bytes.Replace(b, []byte(`"format": 1`), []byte(`"format": 2`), 1) })
		}, "has format 2, made by v1; this version reads up to format 1"},
		"interrupted": {func(d string) error { return os.Remove(manifest(d)) }, "is no backup, or one that was interrupted"},
		"no backup":   {os.RemoveAll, "there is no backup in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, dir := small(t)
			require.NoError(t, c.damage(dir))
			_, err := backup.Check(t.Context(), dir)
			require.ErrorContains(t, err, c.says)
			_, err = backup.Restore(t.Context(), dir, filepath.Join(base, "back"))
			require.ErrorContains(t, err, c.says)
			require.NoDirExists(t, filepath.Join(base, "back"), "a restore that fails leaves nothing")
		})
	}
}

// What a killed restore leaves is used by nobody.
func TestAnInterruptedRestoreIsRefused(t *testing.T) {
	t.Parallel()
	base, dir := small(t)
	back := filepath.Join(base, "back")
	_, err := backup.Restore(t.Context(), dir, back)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(back, suite.Restoring))
	require.NoError(t, os.WriteFile(filepath.Join(back, suite.Restoring), nil, 0o600))
	_, err = suite.Start(t.Context(), suite.Options{DataDir: back, Auth: service.AuthNone, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "was interrupted, and the directory is incomplete: empty it, and restore again")
	_, err = backup.Take(t.Context(), back, filepath.Join(base, "again"), "v1", made)
	require.ErrorContains(t, err, "was interrupted")
}

// A manifest is not believed about where its files go.
func TestABackupStaysInItsPlace(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"../outside", "/etc/passwd", "a/../../b"} {
		dir := t.TempDir()
		b := fmt.Appendf(nil, `{"format":1,"freshet":"v1","made":"2026-02-03T04:05:06Z","from":"/x","directories":[],"links":[],
			"files":[{"path":%q,"mode":384,"size":0,"sha256":""}]}`, path)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), b, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json.sha256"), []byte(digest(b)), 0o600))
		_, err := backup.Open(dir)
		require.ErrorContains(t, err, "outside of an installation")
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
