package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the process when the thread that started
// it ends, and so when this process does, however that comes. A process group of
// its own keeps Ctrl-C, which is for this process, from it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
