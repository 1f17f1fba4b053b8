package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// confine takes the suite's files out of the job's sight: an empty directory is
// mounted over each that is hidden, and what the job is to keep of it mounted back.
// It needs a mount namespace of its own, with power over it.
func confine(hide, keep []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	var kept []string // with a descriptor each, from before they are hidden
	var descriptors []int
	defer func() {
		for _, fd := range descriptors {
			_ = unix.Close(fd)
		}
	}()
	for _, path := range keep {
		if !below(path, hide) {
			continue
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		kept, descriptors = append(kept, path), append(descriptors, fd)
	}
	for _, path := range hide {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=0755")
		} else {
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hiding %s: %w", path, err)
		}
	}
	for i, path := range kept {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", descriptors[i]), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("keeping %s: %w", path, err)
		}
	}
	// Its own processes only; where a container masks parts of /proc the kernel
	// refuses this, and the others' names stay visible.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

func below(path string, directories []string) bool {
	for _, d := range directories {
		if rest, err := filepath.Rel(d, path); err == nil && rest != ".." && !strings.HasPrefix(rest, "../") {
			return true
		}
	}
	return false
}

// dropPrivileges gives up every privilege over the namespaces, for this thread and what
// it starts: a job could undo its confinement else.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); c < 64; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // there are no more
		} else if err != nil {
			return err
		}
	}
	var none [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
}
