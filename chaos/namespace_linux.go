package chaos

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideMark is set in the environment of the process that works in namespaces.
const insideMark = "FRESHET_CHAOS_INSIDE"

func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// Isolate runs this program again in process and mount namespaces of its own, so
// that whatever happens to it takes all its processes and mounts along, and exits
// as that did. It returns where it is inside already, or where namespaces are not
// permitted; then as what adopts orphans, so that they are seen.
func Isolate() (inside bool, err error) {
	if os.Getenv(insideMark) != "" {
		return true, unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if os.Geteuid() == 0 {
		self, err := os.Executable()
		if err != nil {
			return false, err
		}
		cmd := exec.Command(self, os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), insideMark+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		if err := cmd.Start(); err == nil {
			go func() {
				for s := range signals {
					_ = cmd.Process.Signal(s)
				}
			}()
			var exit *exec.ExitError
			if err := cmd.Wait(); errors.As(err, &exit) {
				os.Exit(max(1, exit.ExitCode()))
			} else if err != nil {
				return false, err
			}
			os.Exit(0)
		}
		signal.Stop(signals)
	}
	return false, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// children are the direct children of this process, dead ones reaped.
func children() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(self) {
			continue
		}
		if fields[0] == "Z" {
			continue
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// reap collects orphans that have ended. The pids that are known belong to others
// who wait for them.
func reap(known map[int]bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || known[pid] {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == strconv.Itoa(os.Getpid()) {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

func commandLine(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}
