//go:build unix

package pgcluster

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// PostgreSQL refuses to run as root. Where we are root, its programs run as the user of the
// installation or, without one, as nobody.
func servant() (uid, gid int, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{superuser, "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if errors.Join(uidErr, gidErr) == nil {
			return uid, gid, true
		}
	}
	return 0, 0, false
}

// unprivileged is how a program of the server is started. It is in a process group of its own, so
// that an interrupt from the keyboard does not end it before those that use it.
func unprivileged() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if uid, gid, ok := servant(); ok {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return attr
}

// handOver gives a folder to the user that the server runs as.
func handOver(dir string) error {
	uid, gid, ok := servant()
	if !ok {
		return nil
	}
	return os.Chown(dir, uid, gid)
}
