package api

import (
	"errors"
	"net/http"
	"time"
)

// EventStream is the media type of server-sent events.
const EventStream = "text/event-stream"

// EventWriter writes server-sent events to one client, each write within a
// deadline of its own: the server's would end every stream.
type EventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// NewEventWriter returns a writer whose every write may take as long as timeout
// once the buffers of the connection are full.
func NewEventWriter(w http.ResponseWriter, timeout time.Duration) EventWriter {
	return EventWriter{w: w, control: http.NewResponseController(w), timeout: timeout}
}

// Begin sends the headers and the first frame.
func (e EventWriter) Begin(frame []byte) error {
	// A writer that has no deadlines (in tests) is as good without.
	if err := e.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h := e.w.Header()
	h.Set("Content-Type", EventStream)
	h.Set("X-Accel-Buffering", "no") // nginx would keep updates back until it has a buffer full of them
	e.w.WriteHeader(http.StatusOK)
	return e.Write(frame)
}

// Write sends a frame, which ends with an empty line. It returns
// os.ErrDeadlineExceeded when the client is too slow.
func (e EventWriter) Write(frame []byte) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := e.w.Write(frame); err != nil {
		return err
	}
	return e.control.Flush()
}
