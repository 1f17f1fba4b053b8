package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/freshet-io/freshet/services/training/internal/job"
)

// A launchSpec is what the launcher of a job reads: the command, its limits and its isolation.
type launchSpec struct {
	Command     []string `json:"command,omitempty"`
	Builtin     string   `json:"builtin,omitempty"`
	Directory   string   `json:"directory"`
	Environment []string `json:"environment"`
	Limits      limits   `json:"limits"`
	First       bool     `json:"first"`    // of namespaces of its own
	Required    bool     `json:"required"` // not to run unconfined
	Hide        []string `json:"hide,omitempty"`
	Keep        []string `json:"keep,omitempty"`
}

type limits struct {
	AddressSpace int64 `json:"address_space"`
	CPUSeconds   int64 `json:"cpu_seconds"`
	FileBytes    int64 `json:"file_bytes"`
	Processes    int64 `json:"processes"` // 0: no limit
}

// A Builtin is a trainer inside the suite's binary.
type Builtin func(m *job.Manifest, out io.Writer) error

// exit codes of the launcher itself, as shells have them
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// requires begins the error of a job that must not run unconfined.
const requires = "FRESHET_TRAINING_ISOLATION is required"

// Launch makes the process a job, if it was started to be one: it does not return
// then. Otherwise it returns false at once.
func Launch(builtins map[string]Builtin) (handled bool) {
	path := os.Getenv(job.LaunchVariable)
	if path == "" {
		return false
	}
	code, err := launch(path, builtins)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "freshet:", err)
	}
	os.Exit(code)
	return true
}

func launch(path string, builtins map[string]Builtin) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return exitCannotRun, err
	}
	var spec launchSpec
	if err := json.Unmarshal(b, &spec); err != nil {
		return exitCannotRun, err
	}
	if spec.First {
		if err := confine(spec.Hide, spec.Keep); err != nil {
			if spec.Required {
				return exitCannotRun, fmt.Errorf("%s, and the suite's files cannot be hidden from this job: %w", requires, err)
			}
			fmt.Println("freshet: the suite's files are not hidden from this job:", err)
		}
	}
	if spec.Required && !spec.First {
		return exitCannotRun, fmt.Errorf("%s, and this job has no namespaces of its own", requires)
	}
	if err := spec.Limits.set(); err != nil {
		return exitCannotRun, fmt.Errorf("the limits: %w", err)
	}
	os.Clearenv()
	for _, kv := range spec.Environment {
		for i := range kv {
			if kv[i] == '=' {
				if err := os.Setenv(kv[:i], kv[i+1:]); err != nil {
					return exitCannotRun, err
				}
				break
			}
		}
	}
	if err := os.Chdir(spec.Directory); err != nil {
		return exitCannotRun, err
	}
	if spec.Builtin != "" {
		return runBuiltin(builtins[spec.Builtin], spec.Builtin)
	}
	if len(spec.Command) == 0 {
		return exitCannotRun, errors.New("there is no command")
	}
	program, err := exec.LookPath(spec.Command[0])
	if err != nil {
		return exitNotFound, err
	}
	if !spec.First {
		return exitCannotRun, syscall.Exec(program, spec.Command, os.Environ())
	}
	return first(program, spec.Command)
}

func runBuiltin(train Builtin, name string) (int, error) {
	if train == nil {
		return exitNotFound, fmt.Errorf("this program has no builtin %q", name)
	}
	// As first process of a namespace it would not be ended by a signal it does not handle.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	m, err := job.Read()
	if err != nil {
		return 1, err
	}
	if err := train(m, os.Stdout); err != nil {
		return 1, err
	}
	return job.ExitDone, nil
}

// first is the first process of a namespace: it starts the job, reaps the processes that
// the job leaves behind, and ends with it, which ends everything in the namespace. Signals
// come to the whole group, so it only has to survive them.
func first(program string, command []string) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// Privileges are a thread's, and a child has those of the thread that starts it.
	runtime.LockOSThread()
	if err := dropPrivileges(); err != nil {
		return exitCannotRun, fmt.Errorf("dropping privileges: %w", err)
	}
	p, err := os.StartProcess(program, command, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return exitCannotRun, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return exitCannotRun, err
		case pid == p.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == p.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		}
	}
}
