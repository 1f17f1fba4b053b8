package executor

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (l limits) set() error {
	for _, x := range []struct {
		resource int
		value    int64
	}{
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_CPU, l.CPUSeconds}, {unix.RLIMIT_FSIZE, l.FileBytes},
		{unix.RLIMIT_NPROC, l.Processes}, {unix.RLIMIT_AS, l.AddressSpace},
	} {
		if x.value <= 0 && x.resource != unix.RLIMIT_CORE {
			continue
		}
		var have unix.Rlimit
		if err := unix.Getrlimit(x.resource, &have); err != nil {
			return err
		}
		most := min(uint64(x.value), have.Max) // a limit that is already lower stays
		if err := unix.Setrlimit(x.resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return nil
}

// isolated gives a child namespaces of its own: of users (it keeps no privilege
// over ours), mounts, processes, network (none) and shared memory.
func isolated(attr *syscall.SysProcAttr) {
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// attributes of every child: a process group of its own, gone when the suite is.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// denied reports whether the kernel does not allow namespaces here.
func denied(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSPC, syscall.ENOSYS, syscall.EUSERS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
