package apachekafka

import (
	"os/exec"
	"runtime"
)

// process is a program that was started; ended is closed when it has ended, and
// how says how, only then.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	how   error
}

// launch starts a program from a thread that lives as long as the program does:
// the kernel's promise to end it with its parent is bound to that thread.
func launch(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = bound()
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go p.hold(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) hold(started chan<- error) {
	defer close(p.ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.how = p.cmd.Wait()
	}
}
