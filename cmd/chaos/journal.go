package main

import (
	"fmt"
	"sync"
	"time"
)

// incident is a fault as it came about.
type incident struct {
	kind    faultKind
	round   int
	what    string // for people: "kill of replica 2.1"
	began   time.Time
	ended   time.Time
	outage  bool                       // nothing could be sent meanwhile
	flights map[string]map[pair]bool   // what each owner had in flight when it began
	bets    map[string]map[string]bool // the bets that each owner had claimed, by id
}

// inFlight counts what was in flight when it began.
func (i incident) inFlight() int {
	n := 0
	for _, f := range i.flights {
		n += len(f)
	}
	return n
}

// String returns one line of a history.
func (i incident) String() string {
	return fmt.Sprintf("%s–%s round %d: %s, %d in flight, %d bets", clock(i.began), clock(i.ended), i.round+1, i.what, i.inFlight(), i.betsInFlight())
}

// clock formats a time for people who read logs.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// journal keeps the incidents of processes and of the database, and counts every
// kind of fault. It is safe for concurrent use.
type journal struct {
	mu        sync.Mutex
	incidents []*incident
	counts    map[faultKind]int
}

func newJournal() *journal { return &journal{counts: map[faultKind]int{}} }

// add writes an incident down when it begins; over says when it has ended.
func (j *journal) add(i incident) (over func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := &i
	j.incidents = append(j.incidents, kept)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		kept.ended = time.Now()
	}
}

// count counts a fault of a kind.
func (j *journal) count(k faultKind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[k]++
}

// read returns a copy of what has been written down. What is not over yet ends now.
func (j *journal) read() []incident {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]incident, len(j.incidents))
	for n, i := range j.incidents {
		if out[n] = *i; out[n].ended.IsZero() {
			out[n].ended = time.Now()
		}
	}
	return out
}
