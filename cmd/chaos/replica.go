package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// replica is one life of one process of `bugle serve`.
type replica struct {
	slot, life int
	cmd        *exec.Cmd
	log        *logFile
	// opened is closed when the service has said that it is open; owner, api, admin
	// and the number of its rules are known from then on.
	opened            chan struct{}
	owner, api, admin string
	rules             int
	// ended is closed when the process is gone; err is what it ended with.
	ended chan struct{}
	err   error

	mu     sync.Mutex
	frozen int  // how many faults hold it stopped
	asked  bool // it was asked, or made, to end
	killed bool // it was made to
}

// String names the life: "replica 2.1".
func (r *replica) String() string { return fmt.Sprintf("replica %d.%d", r.slot+1, r.life) }

// isOpen tells whether the service has opened and not ended.
func (r *replica) isOpen() bool {
	select {
	case <-r.ended:
		return false
	default:
	}
	select {
	case <-r.opened:
		return true
	default:
		return false
	}
}

// freeze stops the process, unless it is stopped already.
func (r *replica) freeze() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen++; r.frozen > 1 {
		return nil
	}
	return r.signal(signalFreeze)
}

// thaw continues the process when nobody else holds it stopped.
func (r *replica) thaw() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen--; r.frozen > 0 {
		return nil
	}
	return r.signal(signalThaw)
}

// end sends a signal of which the process is to end, and says that this is wanted.
func (r *replica) end(s os.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.killed = true, r.killed || s == os.Kill
	return r.signal(s)
}

// signal sends a signal; a process that is gone needs none.
func (r *replica) signal(s os.Signal) error {
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", r, err)
	}
	return nil
}

// logFile is where a replica's log goes. It reads along until the service says
// that it is open.
type logFile struct {
	file *os.File
	line func([]byte) bool // reports whether it has seen enough
	part []byte
}

// Write is called by one goroutine, that of exec.Cmd.
func (l *logFile) Write(p []byte) (int, error) {
	if l.line != nil {
		l.part = append(l.part, p...)
		for l.line != nil {
			line, rest, found := bytes.Cut(l.part, []byte("\n"))
			if !found {
				break
			}
			if l.part = rest; l.line(line) {
				l.line, l.part = nil, nil
			}
		}
	}
	return l.file.Write(p)
}

// listen reads one line of the log, and reports whether it was the one that says
// that the service is open.
func (r *replica) listen(line []byte) bool {
	var m struct {
		Message string `json:"message"`
		Owner   string `json:"owner"`
		API     string `json:"api"`
		Admin   string `json:"admin"`
		Rules   int    `json:"rules"`
	}
	if json.Unmarshal(line, &m) != nil || m.Message != "service opened" {
		return false
	}
	r.owner, r.api, r.admin, r.rules = m.Owner, m.API, m.Admin, m.Rules
	close(r.opened)
	return true
}

// tail returns the end of the log.
func (r *replica) tail() string {
	text, err := os.ReadFile(r.log.file.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// endsWithin is how long a process may take to end that was asked to: a send and
// its record have 20 s, and a database that is away holds the record up for as
// long as the lease lasts.
const endsWithin = 90 * time.Second

// gone waits for the end of a process that was asked to end.
func (r *replica) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w; its log ends: %s", r, ctx.Err(), r.tail())
	}
}
