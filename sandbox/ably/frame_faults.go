package ably

import (
	"cmp"
	"strconv"
	"time"
)

// draw decides which fault strikes a frame, and counts it. s.mu must be held.
func (t *transport) draw(f object, serial int64) Kind {
	s := t.s
	id := t.conn.id + ":" + strconv.FormatInt(serial, 10)
	if msgs := f.list("messages"); len(msgs) > 0 {
		m, _ := asObject(msgs[0])
		id = cmp.Or(m.str("id"), id)
	}
	p := s.drawFrom(s.faults.FrameRules, &s.injectedFrames, []messageKey{keyOf(id, f.str("channel"))}, func(Kind) bool { return false })
	if p.kind != "" {
		s.stats.Faults[p.kind]++
	}
	return p.kind
}

// interrupt ends the transport before a frame was accepted. What the client has
// sent after that frame is not looked at: it will come again after it. s.mu
// must be held.
func (t *transport) interrupt(k Kind) {
	if k == TokenExpired {
		t.finish(frame{Action: actionDisconnected, Error: fail(codeTokenExpired, "token expired")})
		return
	}
	t.cut()
}

// answer sends an ACK or NACK, or keeps it back for a fault. ACKs go out in the
// order of their frames, so one that is kept back keeps back those after it.
// s.mu must be held.
func (t *transport) answer(a frame, k Kind) {
	switch k {
	case ResetAfterAccept:
		t.cut()
		return
	case AckWithheld:
		t.hold(t.cut, t.s.cfg.HangLimit)
	case AckDelayed:
		t.hold(t.release, orDefault(t.s.faults.AckDelay, time.Second))
	}
	if t.holding {
		t.held = append(t.held, a)
		return
	}
	t.send(a)
}

// hold keeps ACKs back and does something about it later. s.mu must be held.
func (t *transport) hold(then func(), after time.Duration) {
	s := t.s
	if t.holding || s.closed {
		return
	}
	t.holding = true
	s.inflight.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.mu.Lock()
			then()
			s.mu.Unlock()
		case <-t.ended:
		case <-s.stop:
		}
	})
}

// release sends the ACKs that were kept back. s.mu must be held.
func (t *transport) release() {
	t.holding = false
	for _, a := range t.held {
		t.send(a)
	}
	t.held = nil
}

// DetachChannel takes a channel away from every realtime connection attached to
// it, with an error, as the service does when it moves channels. Clients attach
// again by themselves, and learn whether they missed something.
func (s *Server) DetachChannel(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, known := s.channels[name]
	if !known {
		return
	}
	for a := range ch.attached {
		if a.conn == nil {
			continue
		}
		a.send(frame{Action: actionDetached, Error: fail(codeChannelFailed, "channel detached by the service")})
		delete(ch.attached, a)
		delete(a.conn.attached, a.name)
		s.leave(ch, a.conn)
	}
}
