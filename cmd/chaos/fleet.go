package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fleet is the replicas, by slot, and those of former lives that have not ended.
type fleet struct {
	binary string
	dir    string
	// configure writes the configuration of a slot and returns the file's name.
	configure func(dir string) (string, error)
	say       func(line string)
	launcher  *launcher
	watching  sync.WaitGroup

	mu      sync.Mutex
	slots   []*replica
	lives   int
	all     []*replica
	closing bool
	crashes []crash
}

// crash is an end that nobody had asked for.
type crash struct {
	at      time.Time
	replica string
	err     error
	tail    string
}

func newFleet(binary, dir string, n int, configure func(string) (string, error), say func(string)) *fleet {
	return &fleet{binary: binary, dir: dir, configure: configure, say: say, slots: make([]*replica, n), launcher: newLauncher()}
}

// start puts a new life into a slot, in the place of a former one (nil for the
// first). It does nothing when another has taken that place already: a kill can
// come while a replica ends in order, and either would replace it.
func (f *fleet) start(slot int, former *replica) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing || f.slots[slot] != former {
		return nil
	}
	f.lives++
	r := &replica{slot: slot, life: f.lives, opened: make(chan struct{}), ended: make(chan struct{})}
	dir := filepath.Join(f.dir, fmt.Sprintf("replica-%d", slot+1))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of %s: %w", r, err)
	}
	config, err := f.configure(dir)
	if err != nil {
		return fmt.Errorf("configure %s: %w", r, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("log-%03d.jsonl", r.life)), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", r, err)
	}
	r.log = &logFile{file: file, line: r.listen}
	r.cmd = exec.Command(f.binary, "serve", "--config", config) //nolint:gosec,noctx // the binary under test, whose end is a matter of signals
	r.cmd.Env = environment(os.Environ())
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	dieWithParent(r.cmd)
	if err := f.launcher.start(r.cmd); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", r, err), file.Close())
	}
	f.slots[slot] = r
	f.all = append(f.all, r)
	f.watching.Go(func() { f.watch(r) })
	return nil
}

// environment leaves out the variables that would configure the service.
func environment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(v string) bool { return strings.HasPrefix(v, "BUGLE_") })
}

// watch waits for the end of a life. After one that nobody had asked for it
// starts the next, as every supervisor of services does.
func (f *fleet) watch(r *replica) {
	r.err = errors.Join(r.cmd.Wait(), r.log.file.Close())
	close(r.ended)
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if asked {
		return
	}
	f.mu.Lock()
	closing := f.closing
	f.crashes = append(f.crashes, crash{at: time.Now(), replica: r.String(), err: r.err, tail: r.tail()})
	f.mu.Unlock()
	if closing {
		return
	}
	f.say(fmt.Sprintf("%s ended by itself (%v); it is started again", r, r.err))
	time.Sleep(500 * time.Millisecond) // a supervisor's pause: what ended it may still be there
	if err := f.start(r.slot, r); err != nil {
		f.say(err.Error())
	}
}

// open waits until the slot's present life is open, and returns it.
func (f *fleet) open(ctx context.Context, slot int) (*replica, error) {
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f.mu.Lock()
		r := f.slots[slot]
		f.mu.Unlock()
		if r == nil {
			return nil, fmt.Errorf("open slot %d: nothing was started", slot+1)
		}
		if r.isOpen() {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("open %s: %w; its log ends: %s", r, ctx.Err(), r.tail())
		case <-r.opened:
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// running returns every process that has opened and not ended, those included
// that were asked to end.
func (f *fleet) running() []*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*replica
	for _, r := range f.all {
		if r.isOpen() {
			out = append(out, r)
		}
	}
	return out
}

// addresses returns where the replicas listen that have opened and not ended.
func (f *fleet) addresses() []string {
	var out []string
	for _, r := range f.running() {
		out = append(out, r.api)
	}
	return out
}

// settled waits until the processes that were asked to end have ended, and
// returns those that did so with an error.
func (f *fleet) settled(ctx context.Context) (unclean []*replica, err error) {
	f.mu.Lock()
	all := slices.Clone(f.all)
	f.mu.Unlock()
	for _, r := range all {
		r.mu.Lock()
		asked, killed := r.asked, r.killed
		r.mu.Unlock()
		if !asked {
			continue
		}
		if err := r.gone(ctx); err != nil {
			return nil, err
		}
		if !killed && r.err != nil {
			unclean = append(unclean, r)
		}
	}
	return unclean, nil
}

// ends returns the ends that nobody had asked for.
func (f *fleet) ends() []crash {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.crashes)
}

// close asks every process to end, and makes those that do not.
func (f *fleet) close(patience time.Duration) {
	f.mu.Lock()
	f.closing = true
	all := slices.Clone(f.all)
	f.mu.Unlock()
	for _, r := range all {
		_ = r.end(signalStop)    // what cannot be signalled is killed below
		_ = r.signal(signalThaw) // a stopped process does not hear
	}
	late, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, r := range all {
		select {
		case <-r.ended:
			continue
		case <-late.Done():
			_ = r.signal(syscall.SIGKILL) // what is gone needs none
		}
	}
	f.watching.Wait()
	f.launcher.close()
}
