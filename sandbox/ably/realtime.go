package ably

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"nhooyr.io/websocket"
)

const (
	maxFrameSize = 256 << 10 // as a real connection announces it
	maxQueued    = 10_000    // frames a client may lag behind
	maxAttached  = 200       // channels a connection. Source: Ably, "Platform limits"
	maxInFlight  = 1000      // frames that a client may send again
	lingering    = time.Second
	// renewBefore is how long before its end a client is asked to renew its
	// token. Source: Ably, client library specification, RTN22.
	renewBefore = 30 * time.Second
)

// connection is a realtime connection with its state, which outlives its
// transport: a client that comes back in time resumes it.
type connection struct {
	id, key    string
	before     string // the key before, until the client is known to have the new one
	who        *principal
	echo       bool
	lastSerial int64              // of the frames handled
	done       map[int64]*outcome // of the newest of them
	inbound    window
	attached   map[string]*attachment
	t          *transport
	lost       time.Time // zero while there is a transport
	left       bool      // its members were taken out of presence
}

// outcome is what became of a frame.
type outcome struct {
	err     *errorInfo
	serials []string
	receipt *receipt // nil for presence
}

// transport is one WebSocket.
type transport struct {
	s          *Server
	conn       *connection
	ws         *websocket.Conn
	socket     func() net.Conn // under the WebSocket
	broken     atomic.Bool     // nothing is said or listened to any more
	format     format
	heartbeats bool
	wake       chan struct{}
	ended      chan struct{} // closed when the reader has ended
	pushes     []*item       // guarded by s.mu: of the frames handled
	resumed    bool
	early      map[int64]object // guarded by s.mu: frames that wait for those before them
	answered   map[int64]bool   // guarded by s.mu: serials of frames
	out        []frame          // guarded by s.mu
	held       []frame          // guarded by s.mu: ACKs behind one that waits, with it
	holding    bool             // guarded by s.mu
	closing    bool             // guarded by s.mu: close after what is queued
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

// cut breaks the connection off without a word. Its own direction ends at once,
// the other when the client has noticed, or soon: ably-go 1.2 hangs for ever when
// a write fails while it handles what it has read, and no test is about that.
func (t *transport) cut() {
	if t.broken.Swap(true) {
		return
	}
	if tcp, isTCP := t.socket().(*net.TCPConn); isTCP && tcp.CloseWrite() == nil {
		time.AfterFunc(lingering, t.kill)
	} else {
		t.kill()
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// kill closes the socket.
func (t *transport) kill() { _ = t.socket().Close() }

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
		s: s, ws: ws, socket: func() net.Conn { return h.socket }, wake: make(chan struct{}, 1), ended: make(chan struct{}), early: map[int64]object{}, answered: map[int64]bool{},
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
			defer t.kill() // ends the reader
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
	case c.key != key && c.before != key:
		e, known = fail(codeBadConnectionKey, "invalid connection key"), false
	case c.who.clientID != who.clientID:
		e, known = fail(codeIncompatible, "clientId differs from that of the connection"), false
	}
	s.stats.Connections++
	if key == "" || !known {
		c = &connection{id: s.newID(8), lastSerial: -1, done: map[int64]*outcome{}, attached: map[string]*attachment{}}
		s.conns[c.id] = c
	} else {
		s.stats.Resumed++
		t.resumed = true
		if c.t != nil { // the client gave the old one up first
			c.t.cut()
			s.detachAll(c)
		}
	}
	c.who, c.echo, c.t, c.lost, c.left = who, echo, t, time.Time{}, false
	c.before, c.key = key, c.id+"!"+s.newID(12)
	t.conn = c
	t.send(frame{Action: actionConnected, ConnectionID: c.id, ConnectionDetails: s.details(c), Error: e})
	return true
}

func (s *Server) details(c *connection) *connectionDetails {
	return &connectionDetails{
		ClientID: c.who.clientID, ConnectionKey: c.key, MaxMessageSize: int64(s.cfg.MaxMessageSize), MaxFrameSize: maxFrameSize,
		MaxInboundRate: int64(orDefault(s.cfg.InboundRate, 50)), ConnectionStateTTL: s.cfg.ConnectionTTL.Milliseconds(),
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
	renew := time.NewTimer(t.life() - renewBefore)
	defer renew.Stop()
	expiry := time.NewTimer(t.life())
	defer expiry.Stop()
	for {
		select {
		case <-t.ended:
			return
		case <-t.wake:
			if t.broken.Load() {
				<-t.ended // the client closes its side, or is cut off soon
				return
			}
		case <-idle.C:
			t.s.mu.Lock()
			t.handleEarly()
			t.s.mu.Unlock()
			t.handedOver()
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
		case <-renew.C:
			// A token that was too short from the start is not renewed early.
			if d := t.life(); d > renewBefore { // the clock is not the real one
				renew.Reset(d - renewBefore)
			} else if d > renewBefore-time.Second {
				t.s.mu.Lock()
				t.send(frame{Action: actionAuth})
				t.s.mu.Unlock()
			}
		case <-expiry.C:
			if d := t.life(); d > 0 { // renewed meanwhile
				expiry.Reset(d)
				renew.Reset(d - renewBefore)
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
		// Before the write: who reads the ACK may publish again before this
		// goroutine goes on.
		t.s.receipted(receiptsOf(frames), true)
		for i, f := range frames {
			if err := t.write(ctx, t.s.wire.encode(t.format, f.in(t.format))); err != nil {
				t.s.receipted(receiptsOf(frames[i:]), false)
				return
			}
		}
		if closing {
			t.bye()
			return
		}
	}
}

// handedOver does what frames leave to be done without a lock held.
func (t *transport) handedOver() {
	t.s.mu.Lock()
	pushes := t.pushes
	t.pushes = nil
	t.s.mu.Unlock()
	t.s.announce(t.s.accept(pushes, false, ""))
}

// receiptsOf are the receipts that frames tell of.
func receiptsOf(frames []frame) []*receipt {
	var out []*receipt
	for _, f := range frames {
		if f.receipt != nil {
			out = append(out, f.receipt)
		}
	}
	return out
}

// bye closes the WebSocket in good order, and cuts it if the client does not
// answer soon.
func (t *transport) bye() {
	giveUp := time.AfterFunc(lingering, t.kill)
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
		switch {
		case t.closing || t.conn.t != t || t.broken.Load():
			// What comes after the end, or when another transport has taken
			// over, counts as never received: the client sends it again.
		case err != nil || !isObject:
			t.finish(frame{Action: actionError, Error: fail(codeBadBody, "frame is not a protocol message")})
		default:
			t.conn.before = ""
			t.handle(f)
		}
		t.s.mu.Unlock()
		t.handedOver()
	}
}
