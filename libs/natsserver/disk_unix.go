//go:build unix

package natsserver

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Free is the space left for this user where a directory is.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("the space left in %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // sizes differ by system
}

// room is what is free, or an error where that is too little to work with.
func room(dir string) (int64, error) {
	free, err := Free(dir)
	if err == nil && free < reserve/4 {
		err = fmt.Errorf("only %d MB are left in %s: free some space", free>>20, dir)
	}
	return free, err
}

// maxStore leaves a reserve of the disk: a full disk latches the server, its own
// limit is answered with a clean error. What the store holds already counts beside
// what is free.
func maxStore(dir string) (int64, error) {
	free, err := room(dir)
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
