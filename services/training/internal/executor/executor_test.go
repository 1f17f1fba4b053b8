package executor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/freshet-io/freshet/services/training/internal/job"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if executor.Launch(map[string]executor.Builtin{
		"greet": func(m *job.Manifest, out io.Writer) error {
			_, err := fmt.Fprintln(out, "run", m.Run)
			return err
		},
		"wait": func(_ *job.Manifest, out io.Writer) error {
			_, _ = fmt.Fprintln(out, "waiting")
			select {}
		},
	}) {
		return
	}
	if d := os.Getenv(suiteVariable); d != "" { // a suite that is going to be killed
		program, err := os.Executable()
		if err == nil {
			x := &executor.Executor{Program: program, Grace: time.Minute, Logger: slog.New(slog.DiscardHandler)}
			err = x.Run(context.Background(), executor.Job{Directory: d, Work: d, Timeout: time.Hour,
				Command: []string{"/bin/sh", "-c", "setsid sh -c 'while :; do echo tick >> ticks; sleep 0.05; done' & wait"}}, executor.NewOutput(1024))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const suiteVariable = "FRESHET_TEST_SUITE"

func TestAJobDiesWithItsSuite(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux")
	}
	if out, err := run(t, newExecutor(t), shell(t, "true")); err != nil || strings.Contains(out, "not isolated") {
		t.Skip("without namespaces only the job's first process dies with the suite:", out)
	}
	program, err := os.Executable()
	require.NoError(t, err)
	d := t.TempDir()
	suite := exec.Command(program)
	suite.Env = append(os.Environ(), suiteVariable+"="+d)
	require.NoError(t, suite.Start())
	ticks := filepath.Join(d, "ticks")
	require.Eventually(t, func() bool {
		_, err := os.Stat(ticks)
		return err == nil
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, suite.Process.Kill())
	require.Error(t, suite.Wait())
	size := func() int64 {
		info, err := os.Stat(ticks)
		require.NoError(t, err)
		return info.Size()
	}
	// It ends soon: for a while longer than a tick nothing is written.
	require.Eventually(t, func() bool {
		before, still := size(), time.NewTimer(400*time.Millisecond)
		<-still.C
		return size() == before
	}, time.Minute, 10*time.Millisecond)
}

func newExecutor(t *testing.T) *executor.Executor {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	return &executor.Executor{Program: program, Grace: 200 * time.Millisecond, DiskBytes: 64 << 20, Processes: 64, Logger: slog.New(slog.DiscardHandler)}
}

func shell(t *testing.T, script string) executor.Job {
	t.Helper()
	d := t.TempDir()
	for _, sub := range []string{"code", "home", "tmp", "output"} {
		require.NoError(t, os.Mkdir(filepath.Join(d, sub), 0o700))
	}
	manifest := filepath.Join(d, "job.json")
	require.NoError(t, os.WriteFile(manifest, []byte(`{"version":1,"run":"r-7"}`), 0o600))
	return executor.Job{Directory: d, Work: filepath.Join(d, "code"), Manifest: manifest, Command: []string{"/bin/sh", "-c", script},
		CPU: 1, MemoryBytes: 512 << 20, Timeout: time.Minute}
}

func run(t *testing.T, x *executor.Executor, j executor.Job) (string, error) {
	t.Helper()
	out := executor.NewOutput(1 << 16)
	err := x.Run(t.Context(), j, out)
	return string(out.Bytes()), err
}

func failure(t *testing.T, err error) *executor.Failure {
	t.Helper()
	var f *executor.Failure
	require.ErrorAs(t, err, &f)
	return f
}

func TestAJobRunsInItsDirectoryAndEndsWell(t *testing.T) {
	t.Parallel()
	j := shell(t, `pwd; echo to stderr >&2; cat "$FRESHET_JOB"; echo done > ../output/model.onnx`)
	out, err := run(t, newExecutor(t), j)
	require.NoError(t, err, out)
	require.Contains(t, out, j.Work)
	require.Contains(t, out, "to stderr")
	require.Contains(t, out, `"run":"r-7"`)
	require.FileExists(t, filepath.Join(j.Directory, "output", "model.onnx"))
}

func TestABuiltinIsAJobLikeAnyOther(t *testing.T) {
	t.Parallel()
	j := shell(t, "")
	j.Command, j.Builtin = nil, "greet"
	out, err := run(t, newExecutor(t), j)
	require.NoError(t, err, out)
	require.Contains(t, out, "run r-7")

	j = shell(t, "")
	j.Command, j.Builtin = nil, "wait"
	x := newExecutor(t)
	x.Grace = time.Minute
	f := cancelled(t, x, j, func(out string) bool { return strings.Contains(out, "waiting") })
	require.Equal(t, 128+int(syscall.SIGTERM), f.Code, "it ends when it is asked to")
}

// cancelled runs a job until it is ready, then cancels it.
func cancelled(t *testing.T, x *executor.Executor, j executor.Job, ready func(out string) bool) *executor.Failure {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, out := make(chan error, 1), executor.NewOutput(1<<16)
	go func() { done <- x.Run(ctx, j, out) }()
	require.Eventually(t, func() bool { return ready(string(out.Bytes())) }, time.Minute, 5*time.Millisecond)
	cancel()
	f := failure(t, <-done)
	require.Equal(t, executor.Cancelled, f.Reason)
	return f
}

func TestWallTimeIsLimited(t *testing.T) {
	t.Parallel()
	j := shell(t, "trap '' TERM; while :; do sleep 0.05; done")
	j.Timeout = 300 * time.Millisecond
	out, err := run(t, newExecutor(t), j)
	require.Equal(t, executor.Timeout, failure(t, err).Reason)
	require.Contains(t, out, "longer than 300ms")
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	_, err := run(t, newExecutor(t), shell(t, "exit 3"))
	require.Equal(t, 3, failure(t, err).Code)
	require.False(t, failure(t, err).Again)
	_, err = run(t, newExecutor(t), shell(t, "exit 75"))
	require.True(t, failure(t, err).Again)
	out, err := run(t, newExecutor(t), func() executor.Job { j := shell(t, ""); j.Command = []string{"no-such-program"}; return j }())
	require.Equal(t, 127, failure(t, err).Code)
	require.Contains(t, out, "no-such-program")
}

func TestTheEnvironmentIsNotTheSuites(t *testing.T) {
	t.Setenv("FRESHET_POSTGRES_URL", "postgres://secret")
	out, err := run(t, newExecutor(t), shell(t, `env; echo; for p in /proc/[0-9]*; do tr '\0' '\n' < $p/environ; done 2>/dev/null; true`))
	require.NoError(t, err)
	if strings.Contains(out, "not isolated") {
		out, _, _ = strings.Cut(out, "\n\n") // the suite's own processes can be read then
	}
	require.NotContains(t, out, "secret")
}

func TestAJobThatIgnoresSIGTERMIsKilledWithAllItStarted(t *testing.T) {
	t.Parallel()
	// A grandchild in a session of its own, which outlives its parents if it can.
	j := shell(t, `trap '' TERM; setsid sh -c 'trap "" TERM; echo $$ > ../output/orphan; while :; do sleep 0.05; echo tick >> ../output/ticks; done' &
		while :; do sleep 0.05; done`)
	ticks := filepath.Join(j.Directory, "output", "ticks")
	f := cancelled(t, newExecutor(t), j, func(string) bool {
		_, err := os.Stat(ticks)
		return err == nil
	})
	require.Equal(t, 128+int(syscall.SIGKILL), f.Code)
	before, err := os.Stat(ticks)
	require.NoError(t, err)
	require.Never(t, func() bool {
		after, err := os.Stat(ticks)
		return err != nil || after.Size() != before.Size()
	}, 300*time.Millisecond, 20*time.Millisecond, "the orphan still writes")
}

func TestSIGTERMLeavesTimeForACheckpoint(t *testing.T) {
	t.Parallel()
	j := shell(t, `trap 'echo saved > ../output/checkpoint; exit 0' TERM; echo ready > ../output/ready; while :; do sleep 0.02; done`)
	x := newExecutor(t)
	x.Grace = time.Minute
	f := cancelled(t, x, j, func(string) bool {
		_, err := os.Stat(filepath.Join(j.Directory, "output", "ready"))
		return err == nil
	})
	require.NotEqual(t, 128+int(syscall.SIGKILL), f.Code)
	require.FileExists(t, filepath.Join(j.Directory, "output", "checkpoint"))
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	python(t)
	j := shell(t, `exec python3 -c 'b = bytearray(400 << 20)
for i in range(0, len(b), 4096): b[i] = 1
import time; time.sleep(60)'`)
	j.MemoryBytes = 128 << 20
	_, err := run(t, newExecutor(t), j)
	require.Equal(t, executor.Memory, failure(t, err).Reason, "%v", err)

	j = shell(t, `exec python3 -c 'bytearray(100 << 30)'`)
	_, err = run(t, newExecutor(t), j)
	require.Equal(t, executor.Memory, failure(t, err).Reason, "%v", err)
}

func python(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	j := shell(t, "exec python3 -c pass")
	if out, err := run(t, newExecutor(t), j); err != nil {
		t.Skip("needs python3:", out)
	}
}

func TestProcessesAreLimited(t *testing.T) {
	t.Parallel()
	out, err := run(t, newExecutor(t), shell(t, `i=0; while [ $i -lt 150 ]; do sleep 60 & i=$((i+1)); done; wait`))
	require.Equal(t, executor.Exit, failure(t, err).Reason, out)
}

func TestDiskIsLimited(t *testing.T) {
	t.Parallel()
	out, err := run(t, newExecutor(t), shell(t, `i=0; while [ $i -lt 40 ]; do head -c 4000000 /dev/zero > ../output/f$i || exit 9; i=$((i+1)); done; sleep 60`))
	require.Equal(t, executor.Exit, failure(t, err).Reason, out)
	require.Contains(t, out, "on disk")
	_, err = run(t, newExecutor(t), shell(t, `head -c 200000000 /dev/zero > ../output/one`))
	require.Error(t, err, "one file above the bound")
}

func TestThereIsNoNetworkWhereTheKernelAllowsThat(t *testing.T) {
	t.Parallel()
	python(t)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(server.Addr().String())
	require.NoError(t, err)
	out, err := run(t, newExecutor(t), shell(t, `exec python3 -c 'import socket; socket.create_connection(("127.0.0.1", `+port+`), 5); print("connected")'`))
	if strings.Contains(out, "not isolated") {
		t.Skip("namespaces are not allowed here")
	}
	require.Error(t, err, out)
	require.NotContains(t, out, "connected")
}

func TestTheSuitesFilesAreHidden(t *testing.T) {
	t.Parallel()
	suite := t.TempDir()
	secret, socket := filepath.Join(suite, "postgres", "password"), filepath.Join(suite, "s")
	require.NoError(t, os.Mkdir(filepath.Dir(secret), 0o700))
	require.NoError(t, os.WriteFile(secret, []byte("hunter2"), 0o600))
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("hunter3"), 0o600))
	server, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })

	// The job's own directory lies within what is hidden, and is kept.
	j := shell(t, `echo here > ../output/result; cat `+secret+`; cat `+token+`; test -e `+socket+` && echo socket
		umount `+suite+` && cat `+secret+`; unshare -Urm sh -c 'umount `+suite+`; cat `+secret+`'; grep Cap /proc/self/status; true`)
	inside := filepath.Join(suite, "tmp", "job")
	require.NoError(t, os.MkdirAll(filepath.Dir(inside), 0o700))
	require.NoError(t, os.Rename(j.Directory, inside))
	j.Directory, j.Work, j.Manifest = inside, filepath.Join(inside, "code"), filepath.Join(inside, "job.json")
	x := newExecutor(t)
	x.Hide = []string{suite, token, filepath.Join(suite, "not there")}
	out, err := run(t, x, j)
	require.NoError(t, err, out)
	if strings.Contains(out, "not isolated") || strings.Contains(out, "not hidden") {
		t.Skip("namespaces are not allowed here")
	}
	require.NotContains(t, out, "hunter")
	require.NotContains(t, out, "socket")
	require.Contains(t, out, "CapEff:\t0000000000000000")
	require.FileExists(t, filepath.Join(inside, "output", "result"))
}

func TestAJobThatCannotBeConfinedRunsOnlyIfThatIsAllowed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	x := newExecutor(t)
	x.Hide = []string{filepath.Join(file, "below")} // nothing can be mounted there
	out, err := run(t, x, shell(t, "echo the job ran"))
	require.NoError(t, err, out)
	require.Contains(t, out, "the job ran")

	x.Required = true
	out, err = run(t, x, shell(t, "echo the job ran"))
	require.Equal(t, 126, failure(t, err).Code, out)
	require.NotContains(t, out, "the job ran")
	require.Contains(t, out, "FRESHET_TRAINING_ISOLATION")
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	require.Contains(t, executor.Secrets("/var/freshet/services/training", ""), "/var/freshet")
	require.Contains(t, executor.Secrets("/data", ""), "/data")
	require.Contains(t, executor.Secrets("/services/training", ""), "/services/training", "never the root")
	hide := executor.Secrets("/data", "/etc/freshet:relative:/:/run/secrets/")
	require.Contains(t, hide, "/etc/freshet")
	require.Contains(t, hide, "/run/secrets")
	require.NotContains(t, hide, "/")
	require.NotContains(t, hide, "relative")
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	o := executor.NewOutput(100)
	for i := range 1000 {
		_, _ = fmt.Fprintf(o, "line %03d\n", i)
	}
	b := string(o.Bytes())
	require.True(t, strings.HasPrefix(b, "line 000\nline 001"), b)
	require.True(t, strings.HasSuffix(b, "line 998\nline 999\n"), b)
	require.Contains(t, b, "8900 bytes left out")
	require.Less(t, len(b), 200)
	_, err := run(t, newExecutor(t), shell(t, `head -c 3000000 /dev/zero`))
	require.NoError(t, err)
}

func TestAnEndedContextIsNoSuccess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the suite stops"))
	err := newExecutor(t).Run(ctx, shell(t, "sleep 60"), executor.NewOutput(1024))
	require.ErrorContains(t, err, "the suite stops")
}
