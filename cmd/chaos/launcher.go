package main

import (
	"os/exec"
	"runtime"
)

// launcher starts processes from one thread that lives as long as it does: the
// kernel's promise to end a process with its parent is bound to the thread that
// started it, and Go may end a thread of its own.
type launcher struct {
	jobs chan launch
	done chan struct{}
}

type launch struct {
	cmd    *exec.Cmd
	result chan error
}

func newLauncher() *launcher {
	l := &launcher{jobs: make(chan launch), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for j := range l.jobs {
			j.result <- j.cmd.Start()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	j := launch{cmd, make(chan error)}
	l.jobs <- j
	return <-j.result
}

// close ends the thread's work, after the last start has returned.
func (l *launcher) close() {
	close(l.jobs)
	<-l.done
}
