//go:build !unix

package main

import "syscall"

// The signals that a replica meets. Without them no process can be stopped and
// continued: sending one is an error, with which a run ends.
const (
	signalFreeze = syscall.Signal(-1)
	signalThaw   = syscall.Signal(-1)
	signalStop   = syscall.SIGTERM
)
