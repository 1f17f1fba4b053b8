package apachekafka

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// endWithParent has a broker end with this process, however that ends.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stayWithParent has this thread's process end with its parent also after another thread
// than its first one has made it another program.
func stayWithParent() error { return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) }
