//go:build !linux

package apachekafka

import "syscall"

// bound does nothing where the kernel offers nothing: a broker ends with Close,
// unless this process is killed before.
func bound() *syscall.SysProcAttr { return nil }
