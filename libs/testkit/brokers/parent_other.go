//go:build !linux

package brokers

import "syscall"

// endWithParent has a broker end with the test process; elsewhere than on Linux only
// where the test ends by itself.
func endWithParent() *syscall.SysProcAttr { return nil }
