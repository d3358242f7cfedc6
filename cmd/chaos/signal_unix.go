//go:build unix

package main

import "syscall"

// The signals that a replica meets.
const (
	signalFreeze = syscall.SIGSTOP
	signalThaw   = syscall.SIGCONT
	signalStop   = syscall.SIGTERM
)
