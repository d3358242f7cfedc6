package apachekafka

import "syscall"

// bound ends the process with the thread that started it, and so with this
// process, however that ends. A process group of its own keeps Ctrl-C from it.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
