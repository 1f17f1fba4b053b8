//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// dataDir is a directory that the server's user can enter, also as root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-pg-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func start(t *testing.T, dir string) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(t.Context(), postgres.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func exec1(t *testing.T, s *postgres.Server, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.Background()) //nolint:errcheck // only the statement matters
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func TestKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, dir)
	require.NoError(t, exec1(t, s, "CREATE TABLE kept AS SELECT 1 AS one"))

	// Killed outright, it comes back by itself.
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	require.Eventually(t, func() bool { return exec1(t, s, "SELECT one FROM kept") == nil }, time.Minute, 20*time.Millisecond)

	pid := s.PID()
	require.NoError(t, s.Stop(t.Context()))
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	s = start(t, dir)
	require.NoError(t, exec1(t, s, "SELECT one FROM kept"))
}

func TestListensOnAGuardedSocketOnly(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t))
	require.NotContains(t, s.URL(), "127.0.0.1")
	at := strings.Index(s.URL(), "@")
	wrong := "postgres://freshet:guess" + s.URL()[at:]
	_, err := pgx.Connect(t.Context(), wrong)
	require.ErrorContains(t, err, "password authentication failed")
}

func TestLeavesAForeignProcessAlone(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, dir)
	require.NoError(t, s.Stop(t.Context()))

	other := exec.Command("sleep", "60")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	stale := fmt.Sprintf("%d\n%s\n1\n5432\n/nowhere\n\n0 0\nready\n", other.Process.Pid, filepath.Join(dir, "postgres", "data"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"), []byte(stale), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "run", ".s.PGSQL.5432.lock"), []byte(stale), 0o600))

	s = start(t, dir)
	require.NoError(t, exec1(t, s, "SELECT 1"))
	require.NoError(t, syscall.Kill(other.Process.Pid, 0), "the other process lives")
}

// TestTakesOverWhatAKilledProcessLeft starts a server in a process of its own,
// kills that process, and starts on the same directory.
func TestTakesOverWhatAKilledProcessLeft(t *testing.T) {
	if dir := os.Getenv("FRESHET_TEST_LEAVE"); dir != "" {
		s, err := postgres.Start(context.Background(), postgres.Options{DataDir: dir})
		require.NoError(t, err)
		require.NoError(t, exec1(t, s, "CREATE TABLE kept AS SELECT 1 AS one"))
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	t.Parallel()
	dir := dataDir(t)
	child := exec.Command(os.Args[0], "-test.run=^TestTakesOverWhatAKilledProcessLeft$")
	child.Env = append(os.Environ(), "FRESHET_TEST_LEAVE="+dir)
	out, err := child.CombinedOutput()
	require.ErrorContains(t, err, "killed", "%s", out)
	s := start(t, dir)
	require.NoError(t, exec1(t, s, "SELECT one FROM kept"))
}

func TestAnInterruptedInitialisationIsDoneAgain(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, dir)
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, "postgres", "initialised")))
	require.NoError(t, os.Remove(filepath.Join(dir, "postgres", "data", "global", "pg_control")))
	s = start(t, dir)
	require.NoError(t, exec1(t, s, "SELECT 1"))
}

func TestAGivenServerIsUsedAndLeftRunning(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t))
	given, err := postgres.Start(t.Context(), postgres.Options{URL: s.URL()})
	require.NoError(t, err)
	require.NoError(t, given.Stop(t.Context()))
	require.NoError(t, exec1(t, s, "SELECT 1"))
	_, err = postgres.Start(t.Context(), postgres.Options{URL: "postgres://nobody@127.0.0.1:1/none"})
	require.ErrorContains(t, err, "FRESHET_POSTGRES_URL")
}
