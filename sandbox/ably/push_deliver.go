package ably

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// target is where one push goes.
type target struct {
	deviceID, clientID, platform string
	transport, address           string
	fields                       object // of the transport
	dev                          *device
}

// logEvent is one failure on its way to the push log.
type logEvent struct {
	err *errorInfo
	rec Accepted
	to  target
}

// resolve finds the targets of a recipient. s.mu must be held.
func (s *Server) resolve(r recipient) ([]target, *errorInfo) {
	switch {
	case r.DeviceID != "":
		d, known := s.devices[r.DeviceID]
		if !known {
			// Not documented for publishing; reading such a device is a 404.
			return nil, notFound("device")
		}
		return []target{d.target()}, nil
	case r.ClientID != "":
		var out []target
		for _, d := range sortedDevices(s.byClient[r.ClientID]) {
			out = append(out, d.target())
		}
		return out, nil
	}
	return []target{{transport: canonicalTransport(r.Transport), address: r.Token, fields: r.fields}}, nil
}

func canonicalTransport(t string) string {
	if t == transportGCM {
		return transportFCM
	}
	return t
}

// accept enters the items into the ledger: one record for each device. Items
// that fail get their error. It returns the records and what goes on the push
// log.
func (s *Server) accept(items []*item, batch bool, k Kind) (recs []Accepted, events []logEvent) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if it.err != nil {
			continue
		}
		if batch {
			if key := it.keys()[0]; s.drawItem(key, s.ledger.state(key)) {
				s.stats.Faults[ItemInternal]++
				it.err = fail(codeInternal, "internal error")
				continue
			}
		}
		for _, r := range it.to {
			targets, e := s.resolve(r)
			if e != nil && it.err == nil {
				it.err = e
			}
			if e == nil && len(targets) == 0 {
				s.stats.Unaddressed++
			}
			attempt := 0
			if it.channel == "" {
				attempt = s.ledger.state(keyOf(it.nid, r.name())).attempts
			}
			for _, to := range targets {
				rec := Accepted{
					At: now, Recipient: r.Recipient, DeviceID: to.deviceID, ClientID: to.clientID, Platform: to.platform,
					Transport: to.transport, Batch: batch, Channel: it.channel, Attempt: attempt,
				}
				if k.AfterAccept() {
					rec.Fault, rec.AnswerLost = k, true
				}
				it.payload.render(to.transport, &rec)
				e := s.hand(it.payload, to, &rec, now)
				s.enter(&rec)
				recs = append(recs, rec)
				if e != nil {
					events = append(events, logEvent{e, rec, to})
				} else if to.transport == transportChannel {
					m := &message{Name: "__ably_push__", Data: string(rec.Payload)}
					_, _ = s.publish(to.address, []*message{m}, origin{via: ViaService}) // over the channel's rate it is lost
				}
			}
		}
	}
	return recs, events
}

// announce tells of accepted pushes, without a lock held.
func (s *Server) announce(recs []Accepted, events []logEvent) {
	s.tell() // of pushes by the transport ablyChannel
	if s.cfg.OnAccept != nil {
		for _, rec := range recs {
			s.cfg.OnAccept(rec)
		}
	}
	s.report(events)
}

// pushEnabled reports whether messages of a channel may carry pushes.
func (s *Server) pushEnabled(channel string) bool {
	namespace, _, _ := strings.Cut(channel, ":")
	return slices.Contains(s.cfg.PushNamespaces, namespace)
}

// channelPushes makes the pushes of messages that were published, one for each
// subscription: a device that is subscribed by its id and by its client gets
// two, as from the real service. s.mu must be held.
func (s *Server) channelPushes(channel string, msgs []*message) []*item {
	if !s.pushEnabled(channel) {
		return nil
	}
	var out []*item
	for _, m := range msgs {
		push := object(m.Extras).sub("push")
		if push == nil {
			continue
		}
		p := payload{push} // checked by messageOf
		it := &item{payload: p, nid: p.nid(), channel: channel}
		for _, sub := range slices.SortedFunc(maps.Keys(s.subs), subscription.compare) {
			if sub.Channel == channel {
				it.to = append(it.to, recipient{Recipient: Recipient{DeviceID: sub.DeviceID, ClientID: sub.ClientID}})
			}
		}
		out = append(out, it)
	}
	return out
}

// hand hands a push over to its provider, and returns what went wrong there.
// s.mu must be held.
func (s *Server) hand(p payload, to target, rec *Accepted, now time.Time) *errorInfo {
	e := s.provider(p, to, rec, now)
	if e != nil {
		rec.Code = e.Code
		if to.dev != nil && e.Code == codePushTokenInvalid {
			to.dev.failed(e, s.cfg.FailAfter)
		}
		return e
	}
	if to.dev != nil {
		to.dev.state, to.dev.err, to.dev.failures = stateActive, nil, 0
	}
	return nil
}

func (s *Server) provider(p payload, to target, rec *Accepted, now time.Time) *errorInfo {
	if s.cfg.PushRate > 0 && !s.pushes.take(now, s.cfg.PushRate, s.rng.Float64()) {
		s.stats.Dropped++
		return fail(codePushRate, "Maximum account-wide instantaneous pushRequests rate exceeded; permitted rate = %d; metric = pushRequests.maxRate", s.cfg.PushRate)
	}
	if code := s.broken[to.transport]; code != 0 {
		return fail(code, "push not delivered by %s", to.transport)
	}
	if to.dev != nil && to.dev.dead {
		return fail(codePushTokenInvalid, "push rejected by %s: the device's token is not valid", to.transport)
	}
	if to.transport == transportChannel {
		if _, e := s.byKey(to.fields.str("ablyKey")); e != nil {
			return fail(103008, "push not delivered by %s: credentials are not valid", to.transport)
		}
	}
	return p.refusal(to.transport, rec)
}

// enter numbers and counts a record. s.mu must be held.
func (s *Server) enter(rec *Accepted) {
	st := s.ledger.state(keyOf(rec.NID, rec.Target()))
	st.accepts++
	rec.Acceptance = st.accepts
	rec.AnsweredBefore = st.answered > 0
	s.stats.Forgotten += s.ledger.add(rec)
	s.stats.Accepted++
	if rec.Delivered() {
		s.stats.Delivered++
	}
	if rec.Acceptance > 1 {
		s.stats.Repeats++
	}
	if rec.AnswerLost {
		s.stats.AfterAccept++
	}
}

// pushWindow counts pushes in spans of one second and drops at random: the
// more the last span was over the rate, the likelier.
type pushWindow struct {
	start        time.Time
	demand, last int
	used         int
}

func (w *pushWindow) take(now time.Time, limit int, roll float64) bool {
	if past := now.Sub(w.start); past >= time.Second || past < 0 {
		last := w.demand
		if past >= 2*time.Second || past < 0 {
			last = 0
		}
		*w = pushWindow{start: now, last: last}
	}
	w.demand++
	if w.used >= limit || w.last > limit && roll > float64(limit)/float64(w.last) {
		return false
	}
	w.used++
	return true
}

// pushFailure is the data of an event on the push log. Ably documents neither
// its name nor its shape: go by error.code, and find the device defensively.
type pushFailure struct {
	Severity  string         `json:"severity"`
	Error     *errorInfo     `json:"error"`
	DeviceID  string         `json:"deviceId,omitempty"`
	ClientID  string         `json:"clientId,omitempty"`
	Recipient map[string]any `json:"recipient,omitempty"`
}

// report publishes failures on the push log, after the configured delay.
func (s *Server) report(events []logEvent) {
	if len(events) == 0 {
		return
	}
	send := func() {
		for _, ev := range events {
			recipient := map[string]any{"transportType": ev.to.transport}
			switch ev.rec.Transport {
			case transportFCM:
				recipient["registrationToken"] = ev.to.address
			case transportAPNs:
				recipient["deviceToken"] = ev.to.address
			case transportWeb:
				recipient["targetUrl"] = ev.to.address
			}
			s.logPush(pushFailure{
				Severity: "error", Error: ev.err, DeviceID: ev.rec.DeviceID, ClientID: ev.rec.ClientID, Recipient: recipient,
			})
		}
	}
	if s.cfg.FeedbackDelay == 0 {
		send()
		return
	}
	if !s.begin() {
		return
	}
	go func() {
		defer s.inflight.Done()
		t := time.NewTimer(s.cfg.FeedbackDelay)
		defer t.Stop()
		select {
		case <-t.C:
			send()
		case <-s.stop:
		}
	}()
}

func (s *Server) logPush(f pushFailure) {
	b, err := json.Marshal(f)
	if err != nil { // strings and decoded values always encode
		return
	}
	s.mu.Lock()
	s.stats.LogEvents[f.Error.Code]++
	s.mu.Unlock()
	s.publishInternal(PushLog, &message{Name: "push", Data: string(b), Encoding: "json"})
}

// FailTransport makes every push by a transport ("fcm", "apns" or "web") fail
// with the given code on the push log from now on: 103006 for a transport that
// is not configured, 103008 for invalid credentials, 103007 for a provider that
// cannot be reached, 103001 for exhausted retries. Code 0 ends it.
func (s *Server) FailTransport(transport string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[canonicalTransport(transport)] = code
}

// LogPush publishes an event on the push log as if a push to the device had
// failed with the given code. The error is [ErrUnknownDevice].
func (s *Server) LogPush(deviceID string, code int) error {
	s.mu.Lock()
	d, known := s.devices[deviceID]
	if !known {
		s.mu.Unlock()
		return ErrUnknownDevice
	}
	to := d.target()
	s.mu.Unlock()
	s.report([]logEvent{{
		err: fail(code, "push not delivered by %s", to.transport),
		rec: Accepted{DeviceID: to.deviceID, ClientID: to.clientID, Transport: to.transport}, to: to,
	}})
	return nil
}
