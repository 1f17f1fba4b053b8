// Package disk mounts file systems of their own that can be filled and freed. It
// needs root, and a mount namespace of its own so that nothing stays mounted.
package disk

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// options give a size that is only a limit: what is not used takes no memory.
const options = "size=4g,mode=0755"

// Disk is a file system in memory.
type Disk struct{ path string }

// Mount mounts an empty disk on a directory.
func Mount(path string) (*Disk, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		return nil, fmt.Errorf("mounting a disk on %s: %w", path, err)
	}
	return &Disk{path}, nil
}

// Fill leaves no room on the disk.
func (d *Disk) Fill() error {
	for tries := 0; ; tries++ {
		var st unix.Statfs_t
		if err := unix.Statfs(d.path, &st); err != nil {
			return err
		}
		used := (st.Blocks - st.Bfree) * uint64(st.Bsize) //nolint:gosec // a size
		err := unix.Mount("tmpfs", d.path, "tmpfs", unix.MS_REMOUNT, "size="+strconv.FormatUint(max(used, 4096), 10)+",mode=0755")
		if !errors.Is(err, unix.EINVAL) || tries == 100 { // EINVAL: more is used meanwhile
			return err
		}
	}
}

// Free makes room again.
func (d *Disk) Free() error { return unix.Mount("tmpfs", d.path, "tmpfs", unix.MS_REMOUNT, options) }

// Unmount takes the disk away, with what it holds.
func (d *Disk) Unmount() error { return unix.Unmount(d.path, unix.MNT_DETACH) }
