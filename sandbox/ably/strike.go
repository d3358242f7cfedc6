package ably

import (
	"net"
	"net/http"
	"time"
)

// strike draws a fault for the messages and carries it out if it comes before
// acceptance. done says that the request is over.
func (x *request) strike(keys []messageKey) (p plan, done bool) {
	s := x.s
	s.mu.Lock()
	p = s.draw(keys, x.strange)
	s.mu.Unlock()
	if !x.sleep(p.before) {
		s.mu.Lock()
		p.refund()
		s.mu.Unlock()
		s.count("client_gone", "")
		x.done = true
		return p, true
	}
	if p.kind == "" || p.kind.AfterAccept() {
		return p, false
	}
	if p.kind == GoAway {
		s.count("", GoAway)
		return p, false
	}
	s.count(string(p.kind), p.kind)
	x.done = true
	switch p.kind {
	case Reset:
		x.reset()
	case Hang:
		x.hang()
	default:
		_ = s.write(x.w, x.r, faultAnswer(p.kind)) // nothing was accepted
	}
	return p, true
}

// strange reports whether a fault does not exist for this request.
func (x *request) strange(k Kind) bool {
	switch k {
	case RateChannel:
		return x.publishes != ViaREST
	case RateMessages:
		return x.publishes == ""
	}
	return false
}

// conclude answers after acceptance, or withholds the answer.
func (x *request) conclude(p plan, a *answer, recs []Accepted) *answer {
	s := x.s
	x.done = true
	here := x.sleep(p.after)
	switch p.kind {
	case ResetAfterAccept, HangAfterAccept, UnavailableAfterAccept:
		s.count(string(p.kind), p.kind)
		switch p.kind {
		case ResetAfterAccept:
			x.reset()
		case HangAfterAccept:
			x.hang()
		default:
			_ = s.write(x.w, x.r, faultAnswer(p.kind))
		}
		return nil
	}
	if !here {
		s.count("client_gone", "")
		s.lost(recs)
		return nil
	}
	if a.err != nil {
		s.count("refused", "")
	} else {
		s.count("accepted", "")
	}
	a.closing = p.kind == GoAway
	// Counted before the write: who reads the answer may send again before
	// this goroutine goes on.
	s.answered(recs, 1)
	s.receipted(x.receipts, true)
	if err := s.write(x.w, x.r, a); err != nil || x.r.Context().Err() != nil {
		s.answered(recs, -1)
		s.receipted(x.receipts, false)
		s.lost(recs)
	}
	return nil
}

func (s *Server) answered(recs []Accepted, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rec := range recs {
		s.ledger.state(keyOf(rec.NID, rec.Target())).answered += n
	}
}

// receipted notes whether the publishers of messages were told.
func (s *Server) receipted(rs []*receipt, told bool) {
	if len(rs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		r.answered = told
	}
}

// lost corrects records whose client went away before the answer.
func (s *Server) lost(recs []Accepted) {
	for _, rec := range recs {
		s.mu.Lock()
		s.stats.ClientLost++
		if kept := s.ledger.bySeq(rec.Seq); kept != nil {
			kept.AnswerLost = true
		}
		s.mu.Unlock()
		rec.AnswerLost = true
		if s.cfg.OnAnswerLost != nil {
			s.cfg.OnAnswerLost(rec)
		}
	}
}

// sleep waits and reports whether the client is still there.
func (x *request) sleep(d time.Duration) bool {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-x.s.stop:
		case <-x.r.Context().Done():
		}
	}
	return x.r.Context().Err() == nil
}

// hang answers nothing, and breaks the connection in the end.
func (x *request) hang() {
	x.sleep(x.s.cfg.HangLimit)
	x.reset()
}

// reset breaks the connection without an answer, by a TCP RST.
func (x *request) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0) // best effort: without it the client sees EOF
	}
	_ = conn.Close()
}
