//go:build !linux

package executor

import (
	"errors"
	"syscall"
)

// Elsewhere the wall time and the group's end are the only limits; the job's log
// says that it is not isolated.
func (l limits) set() error { return nil }

func isolated(*syscall.SysProcAttr) {}

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func denied(error) bool { return true }

func confine(_, _ []string) error { return errors.New("only Linux can") }

func dropPrivileges() error { return nil }
