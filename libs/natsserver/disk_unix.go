//go:build unix

package natsserver

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Free is the free space for this user on a directory's file system.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("the free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // sizes differ by system
}

// freeSpace is the free space, or an error where it is too little to work with.
func freeSpace(dir string) (int64, error) {
	free, err := Free(dir)
	if err == nil && free < reserve/4 {
		err = fmt.Errorf("%s has %d MB of free space: free some", dir, free>>20)
	}
	return free, err
}

// maxStore leaves a reserve of the disk: a full disk latches the server, its own
// limit is answered with a clean error. What the store holds already counts beside
// what is free.
func maxStore(dir string) (int64, error) {
	free, err := freeSpace(dir)
	if err != nil {
		return 0, err
	}
	var held int64
	err = filepath.WalkDir(filepath.Join(dir, "jetstream"), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			held += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("the store in %s: %w", dir, err)
	}
	return held + max(free-reserve, free/2), nil
}
