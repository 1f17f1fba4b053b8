//go:build !linux

package apachekafka

import "syscall"

// endWithParent has a broker end with this process; elsewhere than on Linux only
// where that ends by itself.
func endWithParent() *syscall.SysProcAttr { return nil }

func stayWithParent() error { return nil }
