package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Process is one of the suite's, kept running as an operator's supervisor
// would: when it ends without being told to, it is started again.
type Process struct {
	Name string
	path string
	args []string
	env  func() []string
	log  string

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{} // of cmd
	wanted  bool
	changed chan struct{} // closed when wanted changes
	done    chan struct{} // closed when the supervision has ended
	exits   []string      // by itself, with what it said last
}

const (
	restartFirst = 50 * time.Millisecond
	restartLast  = time.Second
)

func newProcess(name, logs, path string, env func() []string, args ...string) *Process {
	return &Process{Name: name, path: path, args: args, env: env, log: filepath.Join(logs, name+".log"), changed: make(chan struct{})}
}

// Up makes the process wanted, and starts its supervision the first time.
func (p *Process) Up() {
	p.want(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = make(chan struct{})
		go p.supervise(p.done)
	}
}

func (p *Process) want(wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted != wanted {
		p.wanted = wanted
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// supervise starts the process whenever it is wanted and does not run. Its thread is
// locked because Linux ends a child with the thread that started it.
func (p *Process) supervise(done chan struct{}) {
	runtime.LockOSThread()
	defer close(done)
	pause := restartFirst
	for {
		p.mu.Lock()
		wanted, changed := p.wanted, p.changed
		p.mu.Unlock()
		if !wanted {
			return
		}
		began := time.Now()
		if err := p.once(); err != nil {
			p.note("does not start: " + err.Error())
		}
		if time.Since(began) > 5*time.Second {
			pause = restartFirst
		}
		select {
		case <-time.After(pause):
		case <-changed:
		}
		pause = min(2*pause, restartLast)
	}
}

// once starts the process and returns when it has ended.
func (p *Process) once() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the child's; ours is only handed over
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env(), out, out
	cmd.SysProcAttr = endWithParent()
	p.mu.Lock()
	if !p.wanted {
		p.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		p.mu.Unlock()
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	p.mu.Unlock()
	err = cmd.Wait()
	p.mu.Lock()
	wanted := p.wanted
	p.cmd = nil
	p.mu.Unlock()
	close(ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && wanted {
		p.note(p.lastLine())
	}
	if crashed := p.crash(); crashed != "" {
		p.note(crashed)
	}
	return nil
}

func (p *Process) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exits = append(p.exits, what)
}

// Exits are what the process said when it ended by itself, since the last call.
func (p *Process) Exits() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.exits
	p.exits = nil
	return e
}

const crashMark = "crash: "

// crash finds what the Go runtime writes at the end of the log when a program crashes.
func (p *Process) crash() string {
	b := p.tail(64 << 10)
	for _, mark := range []string{"\npanic: ", "\nfatal error: ", "\nSIGSEGV"} {
		if i := bytes.LastIndex(b, []byte(mark)); i >= 0 && bytes.Contains(b[i:], []byte("goroutine ")) {
			end := min(len(b), i+1500)
			// Not again the next time.
			if err := os.Rename(p.log, p.log+fmt.Sprintf(".crash-%d", time.Now().UnixNano())); err != nil {
				return crashMark + err.Error()
			}
			return crashMark + string(b[i+1:end])
		}
	}
	return ""
}

func (p *Process) tail(n int64) []byte {
	f, err := os.Open(p.log)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b := make([]byte, min(n, info.Size()))
	if _, err := f.ReadAt(b, info.Size()-int64(len(b))); err != nil {
		return nil
	}
	return b
}

func (p *Process) lastLine() string {
	lines := bytes.Split(bytes.TrimSpace(p.tail(4<<10)), []byte("\n"))
	return string(lines[len(lines)-1])
}

// PID is 0 while it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal; where it does not run there is nobody to get it.
func (p *Process) Signal(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && p.cmd.Process.Signal(s) == nil
}

// Kill is kill -9; the supervision starts it again.
func (p *Process) Kill() bool { return p.Signal(syscall.SIGKILL) }

// A slowStop is a process that did not end in time. It is a finding.
type slowStop struct{ what string }

func (e *slowStop) Error() string { return e.what }

// Down ends the process with a signal, and keeps it from being started again. It
// reports how long that took.
func (p *Process) Down(s syscall.Signal, within time.Duration) (time.Duration, error) {
	p.want(false)
	p.mu.Lock()
	done, ended := p.done, p.ended
	runs := p.cmd != nil
	p.mu.Unlock()
	began := time.Now()
	var err error
	if runs {
		p.Signal(s)
		select {
		case <-ended:
		case <-time.After(within):
			err = &slowStop{fmt.Sprintf("%s does not end within %s of %s", p.Name, within, s)}
			p.Kill()
			<-ended
		}
	}
	took := time.Since(began)
	if done != nil {
		<-done
		p.mu.Lock()
		p.done = nil
		p.mu.Unlock()
	}
	return took, err
}
