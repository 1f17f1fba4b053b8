package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/services/training"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the freshet of the scripts, and the training jobs of
// the suite that they talk to.
func TestMain(m *testing.M) {
	if training.RunBuiltin() {
		return
	}
	testscript.Main(m, map[string]func(){"freshet": func() { os.Exit(Main()) }})
}

// The scripts hold what people and programs see: help, tables, JSON, exit codes, errors
// and completion. A directory of them shares one suite; each that changes something does
// so in a namespace of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	s := populated(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FRESHET_URL", s.url)
			e.Setenv("FRESHET_TOKEN", s.token)
			e.Setenv("HOME", e.WorkDir)
			return errors.Join(writeModel(t.Context(), filepath.Join(e.WorkDir, "model")),
				writeModel(t.Context(), filepath.Join(e.WorkDir, "strict"), "candidate.log_loss < 100.0", "candidate.log_loss < 0.0"),
				writeModel(t.Context(), filepath.Join(e.WorkDir, "gradual"), "production: {approve: approver}",
					"production: {approve: approver, rollout: {canary: [10], step: {requests: 300, at_least: 1h, at_most: 36h}}}"),
				os.WriteFile(filepath.Join(e.WorkDir, "trips.csv"), trips(), 0o600))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "shortid": shortID},
	})
}

// exits runs freshet and checks its exit code: exits 3 freshet models show none.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		code = failed.ExitCode()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%s exited with %d instead of %s", strings.Join(args[1:], " "), code, args[0])
	}
}

var anID = regexp.MustCompile(`(?m)\b[0-9a-f]{8}\b`)

// shortID sets ID to the first short id of the table that was printed last, or with -last
// to the last one.
func shortID(ts *testscript.TestScript, _ bool, args []string) {
	found := anID.FindAllString(ts.ReadFile("stdout"), -1)
	if len(found) == 0 {
		ts.Fatalf("no short id was printed")
	}
	id := found[0]
	if len(args) == 1 && args[0] == "-last" {
		id = found[len(found)-1]
	}
	ts.Setenv("ID", id)
}

// A served suite has trained one version of late-trips, which waits for a person.
type served struct{ url, token string }

func populated(t *testing.T) served {
	t.Helper()
	// Not t.TempDir: only its owner may enter that, and PostgreSQL has a user of its own.
	dir, err := os.MkdirTemp("", "freshet-cli-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	ran, err := suite.Start(t.Context(), suite.Options{DataDir: filepath.Join(dir, "suite"), Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, ran.Stop(ctx))
	})
	token, err := suite.ReadToken(filepath.Join(dir, "suite", suite.TokenFile))
	require.NoError(t, err)
	s := served{ran.URL(), token}
	require.NoError(t, writeModel(t.Context(), filepath.Join(dir, "model")))
	file := filepath.Join(dir, "trips.csv")
	require.NoError(t, os.WriteFile(file, trips(), 0o600))
	s.freshet(t, "repos", "add", filepath.Join(dir, "model"), "--wait")
	require.Contains(t, s.freshet(t, "data", "publish", file, "--dataset", "trips", "--wait"), "waiting: v1 waits for a person for production")
	return s
}

// freshet runs a command of the served suite in a process of its own, as a person does.
func (s served) freshet(t *testing.T, args ...string) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	bin := filepath.Join(t.TempDir(), "freshet") // by this name the test binary is freshet
	require.NoError(t, os.Symlink(exe, bin))
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "FRESHET_URL="+s.url, "FRESHET_TOKEN="+s.token)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s%s", args, out, complaints.String())
	return string(out)
}

// writeModel makes a model's repository, with some of its definition replaced.
func writeModel(ctx context.Context, dir string, replaced ...string) error {
	if err := os.CopyFS(dir, os.DirFS("testdata/model")); err != nil {
		return err
	}
	spec := filepath.Join(dir, "freshet.yaml")
	b, err := os.ReadFile(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(spec, []byte(strings.NewReplacer(replaced...).Replace(string(b))), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"},
		{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "Say which trips will be late"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// trips are six days of them, of which every third is late.
func trips() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("trip,date,delay,distance,station\n")
	start := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := range 6 {
		for n := range 100 {
			delay := r.IntN(15)
			if n%3 == 0 {
				delay += 20
			}
			at := start.AddDate(0, 0, day).Add(time.Duration(n) * 14 * time.Minute)
			fmt.Fprintf(&b, "t-%d-%d,%s,%d,%d,%c\n", day, n, at.Format("2006-01-02 15:04:05"), delay, 100+r.IntN(900), 'A'+rune(r.IntN(4)))
		}
	}
	return []byte(b.String())
}
