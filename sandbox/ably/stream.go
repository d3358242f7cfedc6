package ably

import (
	"bytes"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stream is a request that is answered with events for as long as the client
// stays: GET /sse and GET /event-stream. Source: Ably, "SSE and Raw HTTP
// Streaming API".
type stream struct {
	s    *Server
	who  *principal
	asks streamOptions
	wake chan struct{}
	cut  func()        // breaks the connection
	gone chan struct{} // closed by cut

	out []frame    // guarded by s.mu
	end *errorInfo // guarded by s.mu: say this after what is queued, and end
}

// streamOptions is what a client asks for.
type streamOptions struct {
	lines      bool // JSON lines instead of server-sent events
	bare       bool // the data of messages without an envelope
	heartbeats bool
	last       string // id of the last event seen
	rewind     string
}

// send queues a frame. s.mu must be held.
func (st *stream) send(f frame) {
	if st.end != nil {
		return
	}
	st.out = append(st.out, f)
	if len(st.out) > maxQueued {
		st.cut()
	}
	st.rouse()
}

func (st *stream) rouse() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// fail ends the stream with an error. s.mu must be held.
func (st *stream) fail(e *errorInfo) {
	if st.end == nil {
		st.end = e
	}
	st.rouse()
}

// openStream answers a request with events until the client goes.
func (x *request) openStream(lines bool) *answer {
	s := x.s
	channels, e := x.streamChannels()
	if e != nil {
		return refuse(e)
	}
	gone := make(chan struct{})
	cut := sync.OnceFunc(func() { close(gone) })
	st := &stream{s: s, who: x.who, wake: make(chan struct{}, 1), cut: cut, gone: gone, asks: streamOptions{
		lines: lines, bare: x.q.Get("enveloped") == "false", heartbeats: x.q.Get("heartbeats") == "true",
		last: orDefault(x.q.Get("lastEvent"), x.r.Header.Get("Last-Event-ID")), rewind: x.q.Get("rewind"),
	}}
	// EventSource's own reconnection has the newer place in the header.
	if h := x.r.Header.Get("Last-Event-ID"); h != "" {
		st.asks.last = h
	}
	s.mu.Lock()
	detach := st.attach(channels)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		detach()
		s.mu.Unlock()
	}()
	x.done = true
	h := x.w.Header()
	s.common(h)
	h.Set("Content-Type", "text/event-stream")
	if lines {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Cache-Control", "no-cache")
	x.w.WriteHeader(http.StatusOK)
	if x.emit(nil) == nil && !st.run(x) {
		x.reset()
	}
	return nil
}

// streamChannels reads which channels are asked for, with their parameters.
func (x *request) streamChannels() ([]string, *errorInfo) {
	text := orDefault(x.q.Get("channels"), x.q.Get("channel"))
	if text == "" {
		return nil, fail(codeBadParam, "channels are missing")
	}
	if x.q.Get("v") == "" && x.r.Header.Get("X-Ably-Version") == "" {
		return nil, fail(codeBadParam, "v is missing")
	}
	names := strings.Split(text, orDefault(x.q.Get("separator"), ","))
	if len(names) > maxAttached {
		return nil, fail(codeTooManyChannels, "maximum number of channels per connection exceeded")
	}
	for _, wireName := range names {
		name, _ := splitChannel(wireName)
		if e := checkChannelName(name); e != nil {
			return nil, e
		}
		if !x.who.may(opSubscribe, name) {
			return nil, denied(opSubscribe, "the channel")
		}
	}
	return names, nil
}

// attach ties the stream to its channels and queues what it missed or asks for.
// s.mu must be held.
func (st *stream) attach(channels []string) (detach func()) {
	s := st.s
	now := s.cfg.Now()
	var backlog []frame
	gap := false
	from, resumes := s.parseSerial(st.asks.last)
	var ties []*attachment
	for _, wireName := range channels {
		name, params := splitChannel(wireName)
		ch := s.channel(name)
		ch.prune(now, s.cfg)
		a := &attachment{ch: ch, name: name, modes: modeSubscribe | modePresenceSubscribe, to: st}
		ch.attached[a] = struct{}{}
		ties = append(ties, a)
		var msgs []*message
		if st.asks.last == "" {
			msgs = rewind(ch, orDefault(params["rewind"], st.asks.rewind), now)
		} else if resumes && from <= s.serial {
			msgs = ch.after(from)
			gap = gap || from < ch.floor
		} else {
			gap = true
		}
		for _, m := range msgs {
			f := m.frame(s)
			f.Channel = name
			backlog = append(backlog, f)
		}
	}
	// One id stands for the place in all channels.
	slices.SortStableFunc(backlog, func(a, b frame) int { return strings.Compare(a.ChannelSerial, b.ChannelSerial) })
	if gap {
		// What the service does is not documented. Here the client learns that
		// it has to ask for the history, and gets what is kept.
		st.send(frame{Action: actionError, Error: fail(codeResumeFailed, "unable to resume: lastEvent is unknown or not kept any more")})
	}
	for _, f := range backlog {
		st.send(f)
	}
	s.streams[st] = struct{}{}
	return func() {
		delete(s.streams, st)
		for _, a := range ties {
			delete(a.ch.attached, a)
		}
	}
}

// run writes events until the client goes or the stream has said its last. It
// reports whether the end was in good order.
func (st *stream) run(x *request) bool {
	s := st.s
	idle := time.NewTicker(s.cfg.MaxIdle)
	defer idle.Stop()
	life := func() time.Duration {
		if st.who.expires.IsZero() {
			return MaxTokenLifetime
		}
		return st.who.expires.Sub(s.cfg.Now())
	}
	expiry := time.NewTimer(life())
	defer expiry.Stop()
	for {
		var b []byte
		s.mu.Lock()
		frames, end := st.out, st.end
		st.out = nil
		s.mu.Unlock()
		for _, f := range frames {
			b = st.events(b, f)
		}
		if end != nil {
			b = st.event(b, "", "error", s.wire.encode(inJSON, end))
		}
		if x.emit(b) != nil || end != nil {
			return true
		}
		select {
		case <-x.r.Context().Done():
			return true
		case <-st.gone:
			return false
		case <-s.stop:
			return false
		case <-st.wake:
		case <-idle.C:
			if x.emit(st.keepalive()) != nil {
				return true
			}
		case <-expiry.C:
			if d := life(); d > 0 { // the clock is not the real one
				expiry.Reset(d)
				continue
			}
			s.mu.Lock()
			st.fail(fail(codeTokenExpired, "token expired"))
			s.mu.Unlock()
		}
	}
}

// emit writes a part of a streaming answer.
func (x *request) emit(b []byte) error {
	c := http.NewResponseController(x.w)
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second)) // else the server's own holds, which is longer
	if _, err := x.w.Write(b); err != nil {
		return err //nolint:wrapcheck // nobody reads it
	}
	return c.Flush() //nolint:wrapcheck // nobody reads it
}

func (st *stream) keepalive() []byte {
	switch {
	case st.asks.heartbeats && st.asks.lines:
		return []byte(`{"event":"heartbeat"}` + "\n")
	case st.asks.heartbeats:
		return []byte("event: heartbeat\ndata: {}\n\n")
	case st.asks.lines:
		return []byte("\n")
	}
	return []byte(":keepalive\n\n")
}

// streamed is a message or presence message as an event has it.
type streamedMessage struct {
	message
	Channel string `json:"channel"`
}

type streamedPresence struct {
	presence
	Channel string `json:"channel"`
}

// events appends the events of a frame.
func (st *stream) events(b []byte, f frame) []byte {
	s := st.s
	if f.Error != nil {
		b = st.event(b, "", "error", s.wire.encode(inJSON, f.Error))
	}
	for _, m := range f.messages {
		wire := m.in(inJSON)
		data := s.wire.encode(inJSON, streamedMessage{wire, f.Channel})
		if st.asks.bare {
			data = bare(wire.Data)
		}
		b = st.event(b, s.serialText(m.pos), "message", data)
	}
	for _, p := range f.Presence {
		wire := p.in(inJSON)
		data := s.wire.encode(inJSON, streamedPresence{wire, f.Channel})
		if st.asks.bare {
			data = bare(wire.Data)
		}
		b = st.event(b, f.ChannelSerial, "presence", data)
	}
	return b
}

// bare is the payload of a message alone: in its JSON form it is text or
// nothing.
func bare(data any) []byte {
	text, _ := data.(string)
	return []byte(text)
}

// lineEvent is an event as a line of JSON.
type lineEvent struct {
	ID    string `json:"id,omitempty"`
	Event string `json:"event"`
	Data  any    `json:"data,omitempty"`
}

// event appends one event.
func (st *stream) event(b []byte, id, kind string, data []byte) []byte {
	if st.asks.lines {
		e := lineEvent{ID: id, Event: kind, Data: rawJSON(data)}
		if st.asks.bare && kind != "error" {
			e.Data = string(data)
		}
		return append(append(b, st.s.wire.encode(inJSON, e)...), '\n')
	}
	if id != "" {
		b = append(b, "id: "+id+"\n"...)
	}
	b = append(b, "event: "+kind+"\n"...)
	// A line break in the data begins a new field.
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	for line := range strings.SplitSeq(text, "\n") {
		b = append(b, "data: "+line+"\n"...)
	}
	return append(b, '\n')
}

// rawJSON is JSON that is encoded already.
type rawJSON []byte

// MarshalJSON implements [encoding/json.Marshaler].
func (r rawJSON) MarshalJSON() ([]byte, error) { return bytes.Clone(r), nil }

// wantsEvents reports whether a client of /event-stream asks for server-sent
// events.
func wantsEvents(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if kind, _, _ := mime.ParseMediaType(strings.TrimSpace(part)); kind == "text/event-stream" {
			return true
		}
	}
	return false
}

// rewind picks the last messages by number ("5") or by time ("15s", "2m").
func rewind(ch *channel, text string, now time.Time) []*message {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return ch.msgs[max(0, len(ch.msgs)-min(n, 100)):]
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		i := slices.IndexFunc(ch.msgs, func(m *message) bool { return now.Sub(time.UnixMilli(m.Timestamp)) <= d })
		if i >= 0 {
			return ch.msgs[max(i, len(ch.msgs)-100):]
		}
	}
	return nil
}
