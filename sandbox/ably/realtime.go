package ably

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"nhooyr.io/websocket"
)

const (
	maxFrameSize = 256 << 10 // as a real connection announces it
	maxQueued    = 10_000    // frames a client may lag behind
	maxAttached  = 200       // channels a connection. Source: Ably, "Platform limits"
	lingering    = time.Second
)

// connection is a realtime connection with its state, which outlives its
// transport: a client that comes back in time resumes it.
type connection struct {
	id, key    string
	who        *principal
	echo       bool
	lastSerial int64 // of the frames handled
	nacks      map[int64]*errorInfo
	attached   map[string]*attachment
	t          *transport
	lost       time.Time // zero while there is a transport
	left       bool      // its members were taken out of presence
}

// transport is one WebSocket.
type transport struct {
	s          *Server
	conn       *connection
	ws         *websocket.Conn
	cut        func() // closes the socket without a word
	format     format
	heartbeats bool
	wake       chan struct{}
	ended      chan struct{} // closed when the reader has ended
	pushes     []*item       // of the frame being handled
	out        []frame       // guarded by s.mu
	closing    bool          // guarded by s.mu: close after what is queued
}

// hijacker keeps hold of the socket that a WebSocket takes over: the library
// itself can only say good-bye and wait for an answer.
type hijacker struct {
	http.ResponseWriter
	socket net.Conn
}

// Hijack implements [http.Hijacker].
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.socket = conn
	return conn, rw, err //nolint:wrapcheck // the library is the caller
}

// send queues a frame. s.mu must be held.
func (t *transport) send(f frame) {
	if t.closing {
		return
	}
	t.out = append(t.out, f)
	if len(t.out) > maxQueued {
		t.cut()
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// finish queues a last frame and closes the transport after it. s.mu must be
// held.
func (t *transport) finish(f frame) {
	t.send(f)
	t.closing = true
}

// serveRealtime upgrades a request and serves the WebSocket until it ends. Bad
// credentials are told inside the WebSocket: a refused upgrade would look like
// a broken network.
func (s *Server) serveRealtime(w http.ResponseWriter, r *http.Request) {
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // browsers of any origin may connect, as to the real service
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(maxFrameSize)
	q := r.URL.Query()
	t := &transport{
		s: s, ws: ws, cut: func() { _ = h.socket.Close() }, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		heartbeats: q.Get("heartbeats") != "false",
	}
	if q.Get("format") == "msgpack" {
		t.format = inMsgpack
	}
	// The library closes a connection for good when a read fails, not when a
	// context ends: the socket is cut, and the reader always runs to its end.
	ctx := context.WithoutCancel(r.Context())
	who, e := s.byQuery(q)
	if e == nil && s.connect(t, who, q.Get("resume")+q.Get("recover"), q.Get("echo") != "false") {
		written := make(chan struct{})
		go func() {
			defer close(written)
			defer t.cut() // ends the reader
			t.writeAll(ctx)
		}()
		t.readAll(ctx)
		close(t.ended)
		<-written
		s.disconnect(t)
		return
	}
	if e != nil {
		_ = t.write(ctx, s.wire.encode(t.format, frame{Action: actionError, Error: e})) // the client may be gone
	}
	t.bye()
}

// connect makes or resumes a connection and greets the client.
func (s *Server) connect(t *transport, who *principal, key string, echo bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	var e *errorInfo
	id, _, _ := strings.Cut(key, "!")
	c, known := s.conns[id]
	switch {
	case key == "":
	case !known:
		e = fail(codeResumeFailed, "unable to recover connection: the connection has expired or never was")
	case c.key != key:
		e, known = fail(codeBadConnectionKey, "invalid connection key"), false
	case c.who.clientID != who.clientID:
		e, known = fail(codeIncompatible, "clientId differs from that of the connection"), false
	}
	s.stats.Connections++
	if key == "" || !known {
		c = &connection{id: s.newID(8), lastSerial: -1, nacks: map[int64]*errorInfo{}, attached: map[string]*attachment{}}
		s.conns[c.id] = c
	} else {
		s.stats.Resumed++
		if c.t != nil { // the client gave the old one up first
			c.t.cut()
			s.detachAll(c)
		}
	}
	c.who, c.echo, c.t, c.lost, c.left = who, echo, t, time.Time{}, false
	c.key = c.id + "!" + s.newID(12)
	t.conn = c
	t.send(frame{Action: actionConnected, ConnectionID: c.id, ConnectionDetails: s.details(c), Error: e})
	return true
}

func (s *Server) details(c *connection) *connectionDetails {
	return &connectionDetails{
		ClientID: c.who.clientID, ConnectionKey: c.key, MaxMessageSize: int64(s.cfg.MaxMessageSize), MaxFrameSize: maxFrameSize,
		MaxInboundRate: 50, ConnectionStateTTL: s.cfg.ConnectionTTL.Milliseconds(),
		MaxIdleInterval: s.cfg.MaxIdle.Milliseconds(), ServerID: "stand-in",
	}
}

// disconnect notes that a transport has ended. The state of the connection
// stays for a while, unless it was closed.
func (s *Server) disconnect(t *transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := t.conn
	if c.t != t {
		return // resumed by another
	}
	c.t, c.lost = nil, s.cfg.Now()
	s.detachAll(c)
}

// detachAll takes a connection's attachments off their channels. s.mu must be
// held.
func (s *Server) detachAll(c *connection) {
	for name, a := range c.attached {
		delete(a.ch.attached, a)
		delete(c.attached, name)
	}
}

// sweepConnections lets members leave whose connection was lost, and forgets
// connections nobody resumed. s.mu must be held.
func (s *Server) sweepConnections(now time.Time) {
	for id, c := range s.conns {
		if c.lost.IsZero() {
			continue
		}
		if !c.left && now.Sub(c.lost) >= s.cfg.PresenceGrace {
			s.leaveAll(c)
			c.left = true
		}
		if now.Sub(c.lost) >= s.cfg.ConnectionTTL {
			delete(s.conns, id)
		}
	}
}

// DropConnections cuts every realtime connection and every stream of events
// without a word, as a network does. Their state is kept for resuming.
func (s *Server) DropConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAll()
}

// cutAll cuts the transports and streams. s.mu must be held.
func (s *Server) cutAll() {
	for st := range s.streams {
		st.cut()
	}
	for _, c := range s.conns {
		if c.t != nil {
			c.t.cut()
		}
	}
}

// ForgetConnections makes the service forget the state of all realtime
// connections and cuts them: clients get a new connection, cannot resume, and
// have to ask for the history.
func (s *Server) ForgetConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAll()
	for id, c := range s.conns {
		s.detachAll(c)
		s.leaveAll(c)
		delete(s.conns, id)
	}
	s.serial++
	for _, ch := range s.channels {
		ch.floor, ch.last = s.serial, s.serial // no attachment is resumed from before
	}
}

// write sends one frame.
func (t *transport) write(ctx context.Context, b []byte) error {
	kind := websocket.MessageText
	if t.format == inMsgpack {
		kind = websocket.MessageBinary
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return t.ws.Write(ctx, kind, b) //nolint:wrapcheck // nobody reads it
}

// writeAll writes what is queued, and heartbeats, until the transport ends.
func (t *transport) writeAll(ctx context.Context) {
	idle := time.NewTicker(t.s.cfg.MaxIdle * 2 / 3)
	defer idle.Stop()
	expiry := time.NewTimer(t.life())
	defer expiry.Stop()
	for {
		select {
		case <-t.ended:
			return
		case <-t.wake:
		case <-idle.C:
			if !t.heartbeats {
				pingCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := t.ws.Ping(pingCtx)
				cancel()
				if err != nil {
					return
				}
				continue
			}
			t.s.mu.Lock()
			t.send(frame{Action: actionHeartbeat})
			t.s.mu.Unlock()
		case <-expiry.C:
			if d := t.life(); d > 0 { // renewed meanwhile
				expiry.Reset(d)
				continue
			}
			t.s.mu.Lock()
			t.finish(frame{Action: actionDisconnected, Error: fail(codeTokenExpired, "token expired")})
			t.s.mu.Unlock()
		}
		t.s.mu.Lock()
		frames, closing := t.out, t.closing
		t.out = nil
		t.s.mu.Unlock()
		for _, f := range frames {
			if err := t.write(ctx, t.s.wire.encode(t.format, f.in(t.format))); err != nil {
				return
			}
		}
		if closing {
			t.bye()
			return
		}
	}
}

// bye closes the WebSocket in good order, and cuts it if the client does not
// answer soon.
func (t *transport) bye() {
	giveUp := time.AfterFunc(lingering, t.cut)
	defer giveUp.Stop()
	_ = t.ws.Close(websocket.StatusNormalClosure, "") // it ends one way or the other
}

// life is how long the credentials are good for.
func (t *transport) life() time.Duration {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.conn.who.expires.IsZero() {
		return MaxTokenLifetime
	}
	return t.conn.who.expires.Sub(t.s.cfg.Now())
}

// readAll handles the client's frames until the transport ends.
func (t *transport) readAll(ctx context.Context) {
	for {
		_, b, err := t.ws.Read(ctx)
		if err != nil {
			return
		}
		v, err := t.s.wire.decode(t.format, b)
		f, isObject := asObject(v)
		t.s.mu.Lock()
		if err != nil || !isObject {
			t.finish(frame{Action: actionError, Error: fail(codeBadBody, "frame is not a protocol message")})
		} else {
			t.handle(f)
		}
		t.s.mu.Unlock()
		t.s.announce(t.s.accept(t.pushes, false, ""))
		t.pushes = nil
	}
}
