package testkit

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/freshet-io/freshet/libs/testkit/disk"
)

// OwnMounts runs a test once more, alone, in a process with mounts of its own, which
// go with that process however it ends. There it returns true; in the process that
// it is called in it returns false when the other one has done the test. Where
// mounting is not possible the test is skipped.
func OwnMounts(t *testing.T) bool {
	t.Helper()
	const mark = "FRESHET_TEST_OWN_MOUNTS"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root may mount the file systems that this test fills")
	}
	runtime.LockOSThread() // Linux ends a child with the thread that started it
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0")
	child.Env = append(os.Environ(), mark+"="+t.Name())
	child.Stdout = io.MultiWriter(t.Output(), &out)
	child.Stderr = child.Stdout
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := child.Run()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("skipped: a mount namespace is not permitted here, and this test fills file systems of its own")
	case err != nil:
		t.Fatalf("in a process with mounts of its own: %v", err)
	case bytes.Contains(out.Bytes(), []byte("--- SKIP: "+t.Name()+" ")):
		t.Skip("skipped in the process with mounts of its own: see above")
	}
	return false
}

// Disk mounts an empty file system on a directory, until the test ends.
func Disk(t testing.TB, path string) *disk.Disk {
	t.Helper()
	d, err := disk.Mount(path)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("skipped: this test fills file systems of its own: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}
