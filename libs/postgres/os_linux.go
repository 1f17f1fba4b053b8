package postgres

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// endWithParent lets the kernel stop the server when this process is killed.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

// lockThread keeps the calling goroutine's thread for as long as it runs.
func lockThread() { runtime.LockOSThread() }

// syncTree makes everything on the directory's file system durable.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(d.Fd()))
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
