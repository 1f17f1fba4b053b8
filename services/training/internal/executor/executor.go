package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/services/training/internal/job"
)

// Why a job did not succeed.
const (
	Exit      = "exit"
	Timeout   = "timeout"
	Memory    = "memory"
	Cancelled = "cancelled"
)

// A Failure is a job that ended badly. Again means it asked to be tried again.
type Failure struct {
	Reason string
	Code   int
	Again  bool
	Detail string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("the job failed (%s, exit code %d): %s", f.Reason, f.Code, f.Detail)
}

// A Job is what to run.
type Job struct {
	Directory   string // of the job; holds its manifest, work, results
	Work        string // where it starts
	Manifest    string // path
	Command     []string
	Builtin     string
	Environment []string // beside the minimal one
	Keep        []string // directories, beside its own, that it may see and write
	CPU         float64
	MemoryBytes int64
	Timeout     time.Duration
}

// An Executor runs jobs.
type Executor struct {
	Program   string        // launches jobs; the suite's own binary
	Grace     time.Duration // from SIGTERM to SIGKILL
	DiskBytes int64         // that a job may fill
	Processes int64         // that a job may be at once
	Hide      []string      // files and directories that no job is to see
	Required  bool          // a job that cannot be isolated does not run
	Logger    *slog.Logger

	plain atomic.Bool // namespaces were denied
}

const (
	watchEvery = 200 * time.Millisecond
	// Virtual memory is not resident memory: runtimes reserve far more than they
	// touch. The watcher counts what is resident; this stops a single allocation
	// of all the machine has.
	addressSlack = 4 << 30
)

// Run runs a job to its end. The context's end is the job's: SIGTERM, grace,
// SIGKILL. A job that ends badly gives a *Failure.
func (x *Executor) Run(ctx context.Context, j Job, out *Output) error {
	// The kernel ends the child when the thread that started it ends, which must
	// not be before us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := x.start(j, out)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var waited error
	go func() { waited = cmd.Wait(); close(done) }()

	tree := newTree(cmd.Process.Pid)
	defer tree.kill() // orphans, if any
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	deadline := time.NewTimer(j.Timeout)
	defer deadline.Stop()
	for ticks := 0; ; ticks++ {
		select {
		case <-done:
			return x.verdict(cmd, waited, out)
		case <-ctx.Done():
			x.end(cmd, tree, done, x.Grace)
			return &Failure{Reason: Cancelled, Code: code(cmd), Detail: context.Cause(ctx).Error()}
		case <-deadline.C:
			_, _ = fmt.Fprintf(out, "\nfreshet: the job took longer than %s; it is ended\n", j.Timeout)
			x.end(cmd, tree, done, x.Grace)
			return &Failure{Reason: Timeout, Code: code(cmd), Detail: fmt.Sprintf("longer than %s", j.Timeout)}
		case <-watch.C:
			why, detail := x.excess(j, tree, ticks)
			if why == "" {
				continue
			}
			_, _ = fmt.Fprintf(out, "\nfreshet: %s; the job is killed\n", detail)
			x.end(cmd, tree, done, 0)
			return &Failure{Reason: why, Code: code(cmd), Detail: detail}
		}
	}
}

// excess looks at what the kernel does not limit for a tree of processes.
func (x *Executor) excess(j Job, tree *tree, ticks int) (reason, detail string) {
	resident, processes := tree.measure()
	switch {
	case j.MemoryBytes > 0 && resident > j.MemoryBytes:
		return Memory, fmt.Sprintf("%d bytes resident, %d allowed", resident, j.MemoryBytes)
	case x.Processes > 0 && processes > x.Processes:
		return Exit, fmt.Sprintf("%d processes, %d allowed", processes, x.Processes)
	case x.DiskBytes > 0 && ticks%5 == 4:
		if used := diskUse(j.Directory); used > x.DiskBytes {
			return Exit, fmt.Sprintf("%d bytes on disk, %d allowed", used, x.DiskBytes)
		}
	}
	return "", ""
}

// start starts the launcher, isolated where that is allowed. Where it is not and
// isolation is required, the job has failed.
func (x *Executor) start(j Job, out *Output) (*exec.Cmd, error) {
	isolate := !x.plain.Load()
	cmd, err := x.command(j, isolate, out)
	if err != nil {
		return nil, err
	}
	err = cmd.Start()
	if err != nil && x.Required && denied(err) {
		detail := fmt.Sprintf("%s, and the kernel denies namespaces: %s", requires, err)
		_, _ = fmt.Fprintln(out, "freshet:", detail)
		return nil, &Failure{Reason: Exit, Code: exitCannotRun, Detail: detail}
	}
	if err != nil && isolate && denied(err) {
		if !x.plain.Swap(true) {
			x.Logger.Warn("training jobs run without namespaces: the kernel denies them; jobs can reach the network", "error", err)
		}
		if cmd, err = x.command(j, false, out); err != nil {
			return nil, err
		}
		err = cmd.Start()
		isolate = false
	}
	if err == nil && !isolate {
		_, _ = fmt.Fprintln(out, "freshet: this job is not isolated: namespaces are not allowed here")
	}
	return cmd, err
}

func (x *Executor) command(j Job, isolate bool, out *Output) (*exec.Cmd, error) {
	spec := launchSpec{
		Command: j.Command, Builtin: j.Builtin, Directory: j.Work, First: isolate, Required: x.Required, Hide: x.Hide, Keep: append([]string{j.Directory}, j.Keep...),
		Environment: append(environment(j), j.Environment...),
		Limits: limits{
			CPUSeconds: int64(math.Ceil(math.Max(j.CPU, 1)*j.Timeout.Seconds())) + 60,
			FileBytes:  x.DiskBytes,
		},
	}
	if j.MemoryBytes > 0 {
		spec.Limits.AddressSpace = j.MemoryBytes + addressSlack
	}
	if isolate {
		// The count is of the namespace's user; outside of one it would be of all
		// that the suite's user runs.
		spec.Limits.Processes = x.Processes
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(j.Directory, "launch.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(x.Program)
	cmd.Env = []string{job.LaunchVariable + "=" + path}
	cmd.Dir = j.Directory
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 2 * time.Second // an orphan that holds the pipe must not hold us
	cmd.SysProcAttr = attributes()
	if isolate {
		isolated(cmd.SysProcAttr)
	}
	return cmd, nil
}

// environment is all that a job sees of ours.
func environment(j Job) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	threads := fmt.Sprint(int(math.Max(1, math.Ceil(j.CPU))))
	return []string{
		"PATH=" + path,
		"HOME=" + filepath.Join(j.Directory, "home"),
		"TMPDIR=" + filepath.Join(j.Directory, "tmp"),
		"LANG=C.UTF-8", "TZ=UTC", "PYTHONUNBUFFERED=1",
		"OMP_NUM_THREADS=" + threads, "GOMAXPROCS=" + threads,
		job.ManifestVariable + "=" + j.Manifest,
	}
}

// end asks the group to stop, then makes it.
func (x *Executor) end(cmd *exec.Cmd, tree *tree, done <-chan struct{}, grace time.Duration) {
	pid := cmd.Process.Pid
	if grace > 0 {
		_ = syscall.Kill(-pid, syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-done:
			tree.kill()
			return
		case <-timer.C:
		}
	}
	tree.measure() // learn of what it started meanwhile
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	tree.kill()
	<-done
}

func (x *Executor) verdict(cmd *exec.Cmd, err error, out *Output) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit):
		return err
	}
	f := &Failure{Reason: Exit, Code: code(cmd), Detail: exit.Error()}
	f.Again = f.Code == job.ExitAgain
	// Where an allocation was refused the job tells, in its runtime's words.
	end := out.end(4096)
	for _, sign := range []string{"MemoryError", "Cannot allocate memory", "out of memory", "std::bad_alloc", "OutOfMemoryError"} {
		if bytes.Contains(end, []byte(sign)) {
			f.Reason = Memory
		}
	}
	return f
}

// code is the exit code, 128 and the signal where one ended the job.
func code(cmd *exec.Cmd) int {
	if cmd.ProcessState == nil {
		return -1
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// diskUse counts what a job wrote, not following links.
func diskUse(directory string) (total int64) {
	_ = filepath.WalkDir(directory, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // it may be gone by now
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
