package ably

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// attachment is a client's tie to a channel.
type attachment struct {
	to    sink        // who gets the frames
	conn  *connection // nil for a stream
	ch    *channel
	name  string // as the client writes it, with qualifiers
	modes int64
}

// sink takes frames: a [transport] or a [stream]. s.mu must be held.
type sink interface{ send(frame) }

// send queues a frame about the channel. s.mu must be held.
func (a *attachment) send(f frame) {
	f.Channel = a.name
	a.to.send(f)
}

// handle does what a client's frame asks for. s.mu must be held.
func (t *transport) handle(f object) {
	switch f.int("action") {
	case actionHeartbeat:
		t.send(frame{Action: actionHeartbeat, ID: f.str("id")})
	case actionClose:
		t.s.detachAll(t.conn)
		t.s.leaveAll(t.conn)
		delete(t.s.conns, t.conn.id)
		t.finish(frame{Action: actionClosed})
	case actionDisconnect:
		t.finish(frame{Action: actionDisconnected})
	case actionAttach:
		t.attach(f)
	case actionDetach:
		t.detach(f)
	case actionMessage, actionPresence:
		t.receive(f)
	case actionAuth:
		t.reauthorize(f)
	}
}

// refuseChannel fails a channel. s.mu must be held.
func (t *transport) refuseChannel(channel string, e *errorInfo) {
	t.send(frame{Action: actionError, Channel: channel, Error: e})
}

// permitted says which modes the principal may have on a channel.
func permitted(who *principal, name string) int64 {
	var modes int64
	if who.may(opSubscribe, name) {
		modes |= modeSubscribe | modePresenceSubscribe
	}
	if who.may(opPublish, name) && !isMeta(name) {
		modes |= modePublish
	}
	if who.may(opPresence, name) && !isMeta(name) {
		modes |= modePresence
	}
	return modes
}

func (t *transport) attach(f object) {
	s, c := t.s, t.conn
	wireName := f.str("channel")
	name, params := splitChannel(wireName)
	for k, v := range f.sub("params") {
		if text, isText := v.(string); isText {
			if params == nil {
				params = map[string]string{}
			}
			params[k] = text
		}
	}
	if e := checkChannelName(name); e != nil {
		t.refuseChannel(wireName, e)
		return
	}
	modes := permitted(c.who, name)
	if asked := f.int("flags") & modeMask; asked != 0 {
		modes &= asked
	}
	if modes == 0 {
		t.refuseChannel(wireName, denied(opSubscribe, "the channel"))
		return
	}
	a := c.attached[wireName]
	if a == nil && len(c.attached) >= maxAttached {
		t.refuseChannel(wireName, fail(codeTooManyChannels, "maximum number of channels per connection exceeded"))
		return
	}
	ch := s.channel(name)
	ch.prune(s.cfg.Now(), s.cfg)
	if a == nil {
		a = &attachment{to: t, conn: c, ch: ch, name: wireName}
		c.attached[wireName] = a
	}
	a.modes = modes
	ch.attached[a] = struct{}{}
	t.greet(a, params, f.str("channelSerial"))
}

// greet answers an ATTACH and sends what the client missed or asks for.
func (t *transport) greet(a *attachment, params map[string]string, serial string) {
	s, ch := t.s, a.ch
	flags := a.modes
	var backlog []*message
	if from, isSerial := s.parseSerial(serial); isSerial && from >= ch.floor && from <= s.serial {
		flags |= flagResumed
		for _, m := range ch.after(from) {
			if a.conn.echo || m.ConnectionID != a.conn.id {
				backlog = append(backlog, m)
			}
		}
	} else if serial == "" {
		backlog = rewind(ch, params["rewind"], s.cfg.Now())
		if len(backlog) > 0 {
			flags |= flagHasBacklog
		}
	}
	members := ch.present()
	if len(members) > 0 && a.modes&modePresenceSubscribe != 0 {
		flags |= flagHasPresence
	}
	// The place before what is still to come: a client that is cut off before
	// it has the backlog asks for the rest of it.
	place := max(ch.last, ch.floor)
	if len(backlog) > 0 && a.modes&modeSubscribe != 0 {
		place = backlog[0].pos - 1
	}
	a.send(frame{Action: actionAttached, ChannelSerial: s.serialText(place), Flags: flags, Params: params})
	if flags&flagHasPresence != 0 {
		for i := range members {
			members[i].Action = presencePresent
		}
		a.send(frame{Action: actionSync, ChannelSerial: "sync" + strconv.FormatUint(s.serial, 10) + ":", Presence: members})
	}
	if a.modes&modeSubscribe == 0 {
		return
	}
	for _, m := range backlog {
		a.send(m.frame(s))
	}
}

func (t *transport) detach(f object) {
	name := f.str("channel")
	if a := t.conn.attached[name]; a != nil {
		delete(t.conn.attached, name)
		delete(a.ch.attached, a)
		t.s.leave(a.ch, t.conn)
	}
	t.send(frame{Action: actionDetached, Channel: name})
}

// receive takes a MESSAGE or PRESENCE. After a reconnection one may come before
// those that the client has yet to send again, as it does from ably-go: it waits
// for them. s.mu must be held.
func (t *transport) receive(f object) {
	c, serial := t.conn, f.int("msgSerial")
	if t.resumed && serial > c.lastSerial+1 {
		t.early[serial] = f
		return
	}
	t.handleSerial(f, serial)
	for next := c.lastSerial + 1; t.early[next] != nil && !t.broken.Load() && !t.closing; next = c.lastSerial + 1 {
		f := t.early[next]
		delete(t.early, next)
		t.handleSerial(f, next)
	}
}

// handleEarly handles frames whose predecessors never came. s.mu must be held.
func (t *transport) handleEarly() {
	for _, serial := range slices.Sorted(maps.Keys(t.early)) {
		f := t.early[serial]
		delete(t.early, serial)
		t.handleSerial(f, serial)
	}
}

// handleSerial handles a frame: exactly one ACK or NACK each. A frame that was
// handled before a reconnection is answered and does nothing; one that was
// answered on this very transport is not answered again, which would end the
// process of an ably-go client. s.mu must be held.
func (t *transport) handleSerial(f object, serial int64) {
	c, one := t.conn, 1
	if t.answered[serial] {
		return
	}
	done, again := c.done[serial]
	if !again && serial <= c.lastSerial {
		done, again = &outcome{}, true // too long ago to be known
	}
	var kind Kind
	if !again {
		if kind = t.draw(f, serial); kind == Reset || kind == TokenExpired {
			t.interrupt(kind)
			return
		}
		c.lastSerial = serial
		done = t.carryOut(f, serial, kind)
		c.done[serial] = done
		delete(c.done, serial-maxInFlight)
	}
	a := frame{Action: actionAck, MsgSerial: &serial, Count: &one}
	if done.err != nil {
		a.Action, a.Error = actionNack, done.err
	} else {
		a.Res, a.receipt = []publishResult{{done.serials}}, done.receipt
	}
	t.answered[serial] = true
	delete(t.answered, serial-maxInFlight)
	t.answer(a, kind)
}

// carryOut publishes or enters, or refuses for a fault.
func (t *transport) carryOut(f object, serial int64, kind Kind) *outcome {
	if a := faultAnswer(kind); a != nil {
		return &outcome{err: a.err}
	}
	if limit := t.s.cfg.InboundRate; limit > 0 && !t.conn.inbound.take(t.s.cfg.Now(), limit, 1) {
		return &outcome{err: fail(codeInboundRate, "rate limit exceeded; permitted rate = %d; metric = connection.maxRate", limit)}
	}
	if f.int("action") == actionPresence {
		return &outcome{err: t.enter(f, serial)}
	}
	r, e := t.publish(f, serial)
	if e != nil {
		return &outcome{err: e}
	}
	return &outcome{serials: r.serials, receipt: r}
}

// publish puts a client's messages on a channel. Being attached is not needed.
func (t *transport) publish(f object, serial int64) (*receipt, *errorInfo) {
	c := t.conn
	name, _ := splitChannel(f.str("channel"))
	if e := checkChannelName(name); e != nil {
		return nil, e
	}
	if a := c.attached[f.str("channel")]; permitted(c.who, name)&modePublish == 0 || a != nil && a.modes&modePublish == 0 {
		return nil, denied(opPublish, "the channel")
	}
	msgs, e := t.s.messagesOf(f.list("messages"), c.who)
	if e == nil {
		e = mayAttach(c.who, name, msgs)
	}
	if e != nil {
		return nil, e
	}
	out, e := t.s.publish(name, msgs, origin{conn: c, frame: c.id + ":" + strconv.FormatInt(serial, 10), via: ViaRealtime})
	if e != nil {
		return nil, e
	}
	t.pushes = append(t.pushes, out.takePushes()...)
	return out, nil
}

// enter changes who is present.
func (t *transport) enter(f object, serial int64) *errorInfo {
	c := t.conn
	a := c.attached[f.str("channel")]
	switch {
	case a == nil:
		return fail(codeNotPresent, "unable to enter presence: the channel is not attached")
	case a.modes&modePresence == 0:
		return denied(opPresence, "the channel")
	}
	now := t.s.cfg.Now().UnixMilli()
	id := c.id + ":" + strconv.FormatInt(serial, 10)
	var out []presence
	for i, v := range f.list("presence") {
		o, _ := asObject(v)
		p := presence{
			Action: int(o.int("action")), ClientID: cmp.Or(o.str("clientId"), c.who.identity()),
			ID: id + ":" + strconv.Itoa(i), ConnectionID: c.id, Timestamp: now,
		}
		if p.ClientID == "" || p.ClientID == "*" || !c.who.actsAs(p.ClientID) {
			return fail(codeClientID, "invalid clientId for presence")
		}
		if p.Action < presenceEnter || p.Action > presenceUpdate {
			return fail(codeBadRequest, "invalid presence action")
		}
		var e *errorInfo
		if p.Data, p.Encoding, e = canonical(o["data"], o.str("encoding")); e != nil {
			return e
		}
		out = append(out, p)
	}
	if e := a.ch.hasRoom(out); e != nil {
		return e
	}
	for _, p := range out {
		if p.Action == presenceLeave {
			delete(a.ch.members, memberKey(p))
		} else {
			a.ch.members[memberKey(p)] = p
		}
	}
	a.ch.broadcast(&frame{Action: actionPresence, ID: id, Timestamp: now, ChannelSerial: t.s.serialText(max(a.ch.last, a.ch.floor)), Presence: out}, c)
	t.s.hookPresence(a.ch.name, out)
	return nil
}

// hasRoom refuses members over the limit. Source: Ably, "Platform limits".
func (ch *channel) hasRoom(msgs []presence) *errorInfo {
	fresh := map[string]struct{}{}
	for _, p := range msgs {
		if _, known := ch.members[memberKey(p)]; !known && p.Action != presenceLeave {
			fresh[memberKey(p)] = struct{}{}
		}
	}
	if len(fresh) > 0 && len(ch.members)+len(fresh) > MaxMembers {
		return fail(codeTooManyMembers, "maximum number of presence members exceeded; max = %d", MaxMembers)
	}
	return nil
}

func memberKey(p presence) string { return p.ConnectionID + "\x00" + p.ClientID }

// present lists the members of a channel.
func (ch *channel) present() []presence {
	out := make([]presence, 0, len(ch.members))
	for _, key := range slices.Sorted(maps.Keys(ch.members)) {
		m := ch.members[key]
		m.Action = presencePresent
		out = append(out, m)
	}
	return out
}

// leave takes a connection's members out of a channel. s.mu must be held.
func (s *Server) leave(ch *channel, c *connection) {
	now := s.cfg.Now().UnixMilli()
	for _, p := range ch.present() {
		if p.ConnectionID != c.id {
			continue
		}
		delete(ch.members, memberKey(p))
		p.Action, p.Timestamp = presenceLeave, now
		p.ID = "stand-in:" + s.newID(6) + ":0" // made by the service: clients go by the timestamp
		ch.broadcast(&frame{Action: actionPresence, ID: strings.TrimSuffix(p.ID, ":0"), Timestamp: now, ChannelSerial: s.serialText(max(ch.last, ch.floor)), Presence: []presence{p}}, c)
		s.hookPresence(ch.name, []presence{p})
	}
}

// leaveAll takes a connection's members out of every channel. s.mu must be
// held.
func (s *Server) leaveAll(c *connection) {
	for _, ch := range s.channels {
		if len(ch.members) > 0 {
			s.leave(ch, c)
		}
	}
}

// reauthorize takes a new token on a living connection.
func (t *transport) reauthorize(f object) {
	c := t.conn
	who, e := t.s.byToken(f.sub("auth").str("accessToken"))
	if e == nil && who.clientID != c.who.clientID {
		e = fail(codeIncompatible, "clientId of the token differs from that of the connection")
	}
	if e != nil {
		t.finish(frame{Action: actionError, Error: e})
		return
	}
	c.who = who
	t.send(frame{Action: actionConnected, ConnectionID: c.id, ConnectionDetails: t.s.details(c)})
	for name, a := range c.attached {
		if a.modes &= permitted(who, a.ch.name); a.modes == 0 {
			delete(c.attached, name)
			delete(a.ch.attached, a)
			t.refuseChannel(name, denied(opSubscribe, "the channel"))
		}
	}
}
