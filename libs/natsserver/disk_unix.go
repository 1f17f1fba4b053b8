//go:build unix

package natsserver

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxStore leaves a reserve of the disk: a full disk latches the server, its own
// limit is answered with a clean error.
func maxStore(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("the space left in %s: %w", dir, err)
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:gosec,unconvert // sizes differ by system
	if free < reserve/4 {
		return 0, fmt.Errorf("only %d MB are left in %s: free some space", free>>20, dir)
	}
	return max(free-reserve, free/2), nil
}
