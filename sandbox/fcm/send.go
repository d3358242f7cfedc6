package fcm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serveSend is POST /v1/projects/{project}/messages:send.
//
// The order: credentials, project, quota, JSON (front end), faults, the
// message's own rules, its target, acceptance, faults after acceptance.
func (s *Server) serveSend(w http.ResponseWriter, r *http.Request, project string) {
	x := &send{s: s, w: w, r: r}
	s.mu.Lock()
	s.stats.Sends++
	s.mu.Unlock()

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBodyBytes))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		x.answer(errorAnswer("front_end", http.StatusBadRequest,
			fmt.Sprintf("Request payload size exceeds the limit: %d bytes.", tooBig.Limit)))
		return
	} else if err != nil {
		s.count("client_gone", "")
		return
	}
	a := s.authorize(r)
	if a == nil && project != s.cfg.ProjectID && project != s.cfg.ProjectNumber {
		a = permissionDenied(project)
	}
	if a == nil {
		a = s.takeQuota()
	}
	if a != nil {
		x.answer(a)
		return
	}
	req, a := s.frontEnd(r, body)
	if a != nil {
		x.answer(a)
		return
	}
	x.serve(req, body)
}

// frontEnd does what the API front end does before the service sees a
// request.
func (s *Server) frontEnd(r *http.Request, body []byte) (fields, *answer) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errorAnswer("front_end", http.StatusBadRequest, "Request contains an invalid argument.")
	}
	for name := range query {
		switch name {
		case "alt", "$alt", "prettyPrint", "$prettyPrint", "$.xgafv", "fields", "key", "quotaUser",
			"access_token", "oauth_token", "callback", "uploadType", "upload_protocol":
		default:
			return nil, cannotBind(name)
		}
	}
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); ct != "" && !strings.EqualFold(strings.TrimSpace(ct), "application/json") {
		// A body of another type is taken for a form.
		name, _, _ := strings.Cut(string(body[:min(len(body), 64)]), "=")
		return nil, cannotBind(strings.ToValidUTF8(name, "?"))
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return fields{}, nil
	}
	v, a := parseJSON(body)
	if a != nil {
		return nil, a
	}
	return s.rules.decode(v)
}

func cannotBind(name string) *answer {
	return frontEnd(violation{Description: fmt.Sprintf(
		"Invalid JSON payload received. Unknown name %q: Cannot bind query parameter. Field '%s' could not be found in request message.", name, name)})
}

func (s *Server) takeQuota() *answer {
	if s.cfg.ProjectQuota < 0 {
		return nil
	}
	now := s.cfg.Now()
	s.mu.Lock()
	ok, wait := s.quota.take(now, s.cfg.ProjectQuota)
	s.mu.Unlock()
	if ok {
		return nil
	}
	a := overProjectQuota(s.cfg.ProjectNumber)
	if s.cfg.QuotaRetryAfter {
		a = a.after(wait + time.Second - 1) // rounded up to seconds when written
	}
	return a
}

// send is one request on its way through the service.
type send struct {
	s       *Server
	w       http.ResponseWriter
	r       *http.Request
	closing bool
}

// answer writes a and counts it.
func (x *send) answer(a *answer) {
	a.closing = a.closing || x.closing
	x.s.count(a.outcome, "")
	_ = a.write(x.w, x.r) // nothing was accepted: a client that is gone loses nothing
}

// count notes an outcome and, unless empty, the fault behind it.
func (s *Server) count(outcome string, k Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if outcome != "" {
		s.stats.Outcomes[outcome]++
	}
	if k != "" {
		s.stats.Faults[k]++
	}
}

func (x *send) serve(req fields, body []byte) {
	s, msg := x.s, req.sub("message")
	dry, _ := req["validate_only"].(bool)
	platform, refused := s.platformOfTarget(msg)
	nid := nidOf(msg, platform)
	target := msg.str("token") + msg.str("fid") + msg.str("topic") + msg.str("condition")
	key := keyOf(nid, target)

	s.mu.Lock()
	st := s.ledger.state(key)
	if !dry {
		st.attempts++
	}
	attempt := st.attempts
	p := s.draw(key, st)
	s.mu.Unlock()

	if !x.sleep(p.before) {
		s.refund(st, p.fault)
		s.count("client_gone", "")
		return
	}
	if p.fault.kind != "" && !p.fault.kind.AfterAccept() {
		if p.fault.kind != GoAway {
			x.fail(p.fault)
			return
		}
		x.closing = true
		s.count("", GoAway)
	}
	a := s.rules.check(msg, platform)
	if a == nil {
		a = refused
	}
	if a == nil && !dry && platform == Android && !s.takeDevice(target) {
		a = overQuota("quota_device", "device", "Device message rate exceeded.")
	}
	if a != nil || dry {
		s.refund(st, p.fault)
		if a == nil {
			a = x.success("fake_message_id")
			a.outcome = "validated"
		}
		x.answer(a)
		return
	}
	rec := describe(msg, platform, s.cfg.Now())
	rec.Attempt = attempt
	if s.cfg.KeepMessages {
		rec.Message = body
	}
	x.accept(rec, st, p)
}

// takeDevice counts one message to a device.
func (s *Server) takeDevice(target string) bool {
	if s.cfg.DeviceQuota < 0 {
		return true
	}
	key, now := keyOf("", target), s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.perMin.take(now, key, s.cfg.DeviceQuota)
}

// refund gives a fault that did not strike back to its message's bounds.
func (s *Server) refund(st *messageState, f fault) {
	if !f.counted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.faults--
	if f.bare() {
		st.bareFaults--
	}
}

// fail carries out a fault before acceptance.
func (x *send) fail(f fault) {
	x.s.count("", f.kind)
	switch f.kind {
	case Reset:
		x.s.count(string(f.kind), "")
		x.reset()
	case Hang:
		x.s.count(string(f.kind), "")
		x.hang()
	default:
		if f.kind == QuotaProject || f.kind == QuotaFCM || f.kind == QuotaBare {
			x.s.returnQuota() // a 429 uses no quota
		}
		x.answer(faultAnswer(f.kind, x.s.cfg.ProjectNumber).after(f.retryAfter))
	}
}

func (s *Server) returnQuota() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota.used = max(0, s.quota.used-1)
}

// accept enters the message into the ledger and tells the client, or not.
func (x *send) accept(rec Accepted, st *messageState, p plan) {
	s := x.s
	if p.fault.kind.AfterAccept() {
		rec.Fault, rec.AnswerLost = p.fault.kind, true
	}
	id := s.messageID(rec)
	rec.Name = "projects/" + s.cfg.ProjectID + "/messages/" + id

	s.mu.Lock()
	st.accepts++
	rec.Acceptance = st.accepts
	rec.AnsweredBefore = st.answered > 0
	s.stats.Forgotten += s.ledger.add(&rec)
	s.stats.Accepted++
	if rec.Acceptance > 1 {
		s.stats.Repeats++
	}
	if rec.AnswerLost {
		s.stats.AfterAccept++
		s.stats.Faults[rec.Fault]++
		s.stats.Outcomes[string(rec.Fault)]++
	} else {
		s.stats.Outcomes["accepted"]++
	}
	if d := s.devices[rec.Target()]; d != nil {
		d.unregistered = d.unregistered || d.lastSend
		if d.offline {
			d.store(rec, collapse(rec))
		}
	}
	s.mu.Unlock()
	if s.cfg.OnAccept != nil {
		s.cfg.OnAccept(rec)
	}

	here := x.sleep(p.after)
	switch rec.Fault {
	case ResetAfterAccept:
		x.reset()
	case HangAfterAccept:
		x.hang()
	case UnavailableAfterAccept:
		_ = faultAnswer(rec.Fault, s.cfg.ProjectNumber).after(p.fault.retryAfter).write(x.w, x.r)
	default:
		if !here {
			s.lost(rec)
			return
		}
		a := x.success(id)
		a.closing = x.closing
		// Counted before the write: who reads the answer may send again before
		// this goroutine goes on.
		s.answered(st, 1)
		if err := a.write(x.w, x.r); err != nil || x.r.Context().Err() != nil {
			s.answered(st, -1)
			s.lost(rec)
		}
	}
}

func (s *Server) answered(st *messageState, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.answered += n
}

// lost corrects a record whose client went away before the answer.
func (s *Server) lost(rec Accepted) {
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

func (x *send) success(id string) *answer {
	return &answer{
		outcome: "accepted", status: http.StatusOK,
		body: map[string]string{"name": "projects/" + x.s.cfg.ProjectID + "/messages/" + id},
	}
}

// messageID makes an id as the service does: "0:", microseconds, "%" and 16
// hexadecimal digits for one target, plain digits for topics and conditions.
func (s *Server) messageID(rec Accepted) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], s.cfg.Seed)
	binary.BigEndian.PutUint64(b[8:], s.ids.Add(1))
	sum := sha256.Sum256(b[:])
	if rec.Topic != "" || rec.Condition != "" {
		return fmt.Sprintf("%d", binary.BigEndian.Uint64(sum[:8])>>1)
	}
	return fmt.Sprintf("0:%016d%%%s", rec.At.UnixMicro(), hexOf(sum[:8]))
}

// sleep waits and reports whether the client is still there.
func (x *send) sleep(d time.Duration) bool {
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
func (x *send) hang() {
	t := time.NewTimer(x.s.cfg.HangLimit)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.s.stop:
	case <-x.r.Context().Done():
	}
	x.reset()
}

// reset breaks the connection without an answer: a TCP RST on clear-text
// HTTP/1.1, a closed connection over TLS, RST_STREAM on HTTP/2.
func (x *send) reset() {
	if x.r.ProtoMajor == 1 {
		conn, _, err := http.NewResponseController(x.w).Hijack()
		if err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // best effort: without it the client sees EOF
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}
