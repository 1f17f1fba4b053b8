package suite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Restoring is a file in a data directory that is not restored whole: nothing is to
// use it.
const Restoring = "restoring"

// A dirLock is released when the process ends, however it ends, or by Close.
type dirLock struct{ file *os.File }

// Close releases the lock by name: closing the file alone would leave it to a child that
// was forked and has not become another program yet.
func (l dirLock) Close() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}

// lockDir makes this process the only one that uses a data directory.
func lockDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, readErr := io.ReadAll(f)
		err = errors.Join(readErr, f.Close())
		return nil, errors.Join(fmt.Errorf("another freshet (process %s) runs on %s: stop it, or use another --data-dir",
			strings.TrimSpace(string(holder)), dir), err)
	}
	if _, err := os.Lstat(filepath.Join(dir, Restoring)); err == nil {
		err := fmt.Errorf("a restore into %s was interrupted, and the directory is incomplete: empty it, and restore again", dir)
		return nil, errors.Join(err, dirLock{f}.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the data directory: %w", err), dirLock{f}.Close())
	}
	return dirLock{f}, nil
}

// Lock keeps a data directory from every suite until it is closed.
func Lock(dir string) (io.Closer, error) { return lockDir(dir) }
