package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bugle-push/bugle/api"
)

const (
	// streamsOfSession is how many overviews one browser can follow. Over HTTP/1.1 it
	// has six connections for a host: some must be left for pages.
	streamsOfSession = 4
	// mostStreams bounds all of them.
	mostStreams = 100
	// streamWriteTimeout is how long a browser may take to make room for what comes next.
	streamWriteTimeout = 10 * time.Second
)

// seats count the streams that are open.
type seats struct {
	mu   sync.Mutex
	all  int
	of   map[[sha256.Size]byte]int
	most int
	each int
}

func newSeats() *seats {
	return &seats{of: map[[sha256.Size]byte]int{}, most: mostStreams, each: streamsOfSession}
}

// take takes a seat for a session until leave is called; ok is false when there is none.
func (s *seats) take(secret string) (leave func(), ok bool) {
	id := sha256.Sum256([]byte(secret))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.of[id] >= s.each {
		return nil, false
	}
	s.all++
	s.of[id]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[id]--; s.of[id] == 0 {
			delete(s.of, id)
		}
	}), true
}

// stream tells a browser what changes on its overview, as server-sent events,
// until its session ends, it leaves, or the service stops.
func (c *Console) stream(w http.ResponseWriter, r *http.Request) {
	v, err := c.admit(w, r)
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	leave, ok := c.seats.take(v.secret)
	if !ok {
		http.Error(w, "too many overviews are followed: ask now and then", http.StatusTooManyRequests)
		return
	}
	defer leave()
	away, ok := c.watch.enter()
	if !ok {
		http.Error(w, "nothing is followed now", http.StatusServiceUnavailable)
		return
	}
	defer away()
	out := api.NewEventWriter(w, streamWriteTimeout)
	if out.Begin([]byte(":\n\n")) != nil {
		return // the browser has gone
	}
	beat := time.NewTicker(c.every)
	defer beat.Stop()
	var shown *picture
	for {
		newest, changed, running := c.watch.look()
		if !running || r.Context().Err() != nil {
			return
		}
		frame := []byte(":\n\n") // says that we are here
		if !c.lasts(v) {
			_ = out.Write([]byte("event: ended\ndata:\n\n")) // an error means that the browser has gone
			return
		}
		if newest != nil && newest != shown {
			frame = difference(shown, newest)
			shown = newest
		}
		// By what time is ago: the clock of who looks may be wrong.
		if out.Write(fmt.Appendf(nil, "event: now\ndata: %d\n\n%s", time.Now().UnixMilli(), frame)) != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
		}
	}
}

// lasts tells whether a session still lasts, and its token is still good.
func (c *Console) lasts(v *visit) bool {
	now := time.Now()
	hash, _, ok := c.sessions.find(v.secret, now, false)
	if !ok {
		return false
	}
	if _, err := c.Tokens.Still(hash, now); err != nil {
		c.sessions.end(v.secret)
		return false
	}
	return true
}

// difference is the event that leads from one picture to the next: what has
// changed, or all when that is not in the same places.
func difference(before, after *picture) []byte {
	name, parts := "parts", after.parts
	if before != nil && slices.EqualFunc(before.parts, after.parts, func(a, b livePart) bool { return a.ID == b.ID && a.Class == b.Class }) {
		parts = nil
		for i, p := range after.parts {
			if p.same != before.parts[i].same {
				parts = append(parts, p)
			}
		}
		if parts == nil {
			return []byte(":\n\n")
		}
	} else {
		name = "all"
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data) // ends with a line break, and has none within
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(parts) // strings alone
	return fmt.Appendf(nil, "event: %s\ndata: %s\n", name, data.Bytes())
}
