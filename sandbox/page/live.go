package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A stream says something at least this often, so that a dead connection shows.
const keepalive = 15 * time.Second

// live answers GET /live?key=…: the races, at once and whenever they change, and
// the pushes to the guest's phone, those before as well, from Last-Event-ID on.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	if !s.parlour.follow(key) {
		// An EventSource sees only that it was refused, and the page asks for a guest.
		http.Error(w, "nobody has this key, or too many use it", http.StatusForbidden)
		return
	}
	defer s.parlour.unfollow(key)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(keepalive)
	defer tick.Stop()
	seq, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // else from the beginning
	text, edition := []byte("retry: 1000\n\n"), ^uint64(0)
	for {
		// Races start by this clock, and that of who looks may be wrong.
		text = event(text, "now", "", time.Now().UnixMilli())
		n := s.parlour.since(key, edition, seq)
		if n.races != nil {
			text = event(text, "races", "", n.races)
		}
		for _, p := range n.pushes {
			text = event(text, "push", strconv.FormatUint(p.seq, 10), p.Push)
			seq = p.seq
		}
		edition = n.edition
		if len(text) > 0 {
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // else nobody would give up on a page that does not read
			if _, err := w.Write(text); err != nil || out.Flush() != nil {
				return
			}
		}
		text = text[:0]
		select {
		case <-n.changed:
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.stop:
			return
		}
	}
}

// event appends a server-sent event. JSON has no line breaks.
func event(to []byte, name, id string, v any) []byte {
	body, err := json.Marshal(v)
	if err != nil { // texts, numbers and times always encode
		return to
	}
	if id != "" {
		to = fmt.Appendf(to, "id: %s\n", id)
	}
	return fmt.Appendf(to, "event: %s\ndata: %s\n\n", name, body)
}
