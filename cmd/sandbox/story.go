package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// story tells what happens, a line at a time, with the time since the start. It
// is safe for concurrent use.
type story struct {
	start time.Time

	mu  sync.Mutex
	out io.Writer
}

func newStory(out io.Writer) *story { return &story{start: time.Now(), out: out} }

// tell writes one line about what happened now.
func (s *story) tell(line string) {
	d := time.Since(s.start).Truncate(time.Second)
	s.print(fmt.Sprintf("%02d:%02d  %s\n", int(d.Minutes()), int(d.Seconds())%60, line))
}

// print writes text as it is. Nobody is there to hear of a story that cannot
// be written.
func (s *story) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.out, text)
}
