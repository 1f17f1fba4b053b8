package brokers

import "syscall"

// endWithParent has a broker end with the test process, however that ends.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
