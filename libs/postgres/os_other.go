//go:build unix && !linux

package postgres

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// endWithParent: only Linux ends a child with its parent; what stays is taken
// over at the next start.
func endWithParent(*syscall.SysProcAttr) {}

func lockThread() {}

// syncTree makes every file and directory of a tree durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // the server removes temporary files
		}
		if err != nil || (!e.IsDir() && !e.Type().IsRegular()) {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
