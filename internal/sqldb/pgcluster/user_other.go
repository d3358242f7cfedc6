//go:build !unix

package pgcluster

import "syscall"

func unprivileged() *syscall.SysProcAttr { return nil }

func handOver(string) error { return nil }
