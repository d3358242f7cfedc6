package ably

import (
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// channel is what is known about one channel.
type channel struct {
	name     string
	msgs     []*message // in order of pos
	floor    uint64     // no message up to this place is kept
	last     uint64     // place of the newest message ever
	seen     map[string]*receipt
	attached map[*attachment]struct{}
	members  map[string]presence // by connection and client
	rate     window
	bytes    window
}

// receipt is what a publish is answered with, and every repeat of it.
type receipt struct {
	at       time.Time
	id       string
	serials  []string
	answered bool    // a publisher was told, as far as the server can know
	pushes   []*item // to be accepted when the lock is released; taken by [Server.takePushes]
}

// channel returns a channel, making it. s.mu must be held.
func (s *Server) channel(name string) *channel {
	ch, known := s.channels[name]
	if !known {
		ch = &channel{
			name: name, seen: map[string]*receipt{}, attached: map[*attachment]struct{}{}, members: map[string]presence{},
		}
		s.channels[name] = ch
	}
	return ch
}

// after returns the messages kept that come after a place.
func (ch *channel) after(pos uint64) []*message {
	i := sort.Search(len(ch.msgs), func(i int) bool { return ch.msgs[i].pos > pos })
	return ch.msgs[i:]
}

// frame is the message as it goes to a subscriber who missed it.
func (m *message) frame(s *Server) frame {
	return frame{
		Action: actionMessage, ID: m.ID, ChannelSerial: s.serialText(m.pos), ConnectionID: m.ConnectionID,
		Timestamp: m.Timestamp, messages: []*message{m},
	}
}

// prune forgets what is older than is kept.
func (ch *channel) prune(now time.Time, cfg Config) {
	n := max(0, len(ch.msgs)-cfg.MaxHistory)
	for n < len(ch.msgs) && now.Sub(time.UnixMilli(ch.msgs[n].Timestamp)) > cfg.History {
		n++
	}
	if n > 0 {
		ch.floor = ch.msgs[n-1].pos
		ch.msgs = slices.Delete(ch.msgs, 0, n)
	}
	for id, p := range ch.seen {
		if now.Sub(p.at) > DefaultHistory {
			delete(ch.seen, id)
		}
	}
}

// serialText writes a place so that places sort as texts, also among those of
// servers that ran before.
func (s *Server) serialText(pos uint64) string { return fmt.Sprintf("%s-%016d", s.epoch, pos) }

// parseSerial reads a place, or the serial of a message in it. Places of other
// servers are unknown.
func (s *Server) parseSerial(text string) (uint64, bool) {
	epoch, text, _ := strings.Cut(text, "-")
	if epoch != s.epoch {
		return 0, false
	}
	text, _, _ = strings.Cut(text, ":")
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// splitChannel takes the parameters out of a name such as
// "[?rewind=1]odds" and returns the channel's own name.
func splitChannel(name string) (string, map[string]string) {
	q, rest := splitQualifier(name)
	before, query, found := strings.Cut(q, "?")
	if before != "" && strings.HasPrefix(before, "filter=") {
		before = "" // derived channels carry everything here
	} else if !found {
		return name, nil
	}
	params := map[string]string{}
	if values, err := url.ParseQuery(query); err == nil {
		for k := range values {
			params[k] = values.Get(k)
		}
	}
	if before != "" {
		rest = "[" + before + "]" + rest
	}
	return rest, params
}

// checkChannelName refuses names that no channel can have.
func checkChannelName(name string) *errorInfo {
	_, rest := splitQualifier(name)
	if rest == "" || strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "[") || strings.ContainsAny(name, "\r\n") {
		return fail(codeChannelName, "invalid channel name")
	}
	return nil
}

// isMeta reports whether a channel is one of Ably's own, on which nobody can
// publish or be present.
func isMeta(name string) bool {
	q, _ := splitQualifier(name)
	return q == "meta"
}

// origin is where a publish comes from.
type origin struct {
	conn  *connection // nil for REST
	frame string      // id of the frame, for messages without ids
	via   string
	// once makes the publish count as one message for the channel's rate, as
	// those of a batch do.
	once bool
}

// publish puts messages on a channel, all or none, and sends them to who is
// attached. s.mu must be held.
func (s *Server) publish(name string, msgs []*message, from origin) (*receipt, *errorInfo) {
	now := s.cfg.Now()
	ch := s.channel(name)
	key, e := dedupeKey(msgs)
	if e != nil {
		return nil, e
	}
	if before, again := ch.seen[key]; key != "" && again && now.Sub(before.at) <= DefaultHistory {
		s.stats.Duplicates++
		if before.answered {
			s.stats.DuplicatesAnswered++
		}
		return before, nil
	}
	if !isMeta(name) {
		if e := s.spend(ch, now, msgs, from.once); e != nil {
			return nil, e
		}
	}
	base := from.frame
	if key != "" {
		base = key
	} else if base == "" {
		base = s.newID(9)
	}
	out := &receipt{at: now, id: base}
	for i, m := range msgs {
		s.serial++
		m.pos = s.serial
		m.Timestamp = now.UnixMilli()
		if !m.given {
			m.ID = base + ":" + strconv.Itoa(i)
		}
		if from.conn != nil {
			m.ConnectionID = from.conn.id
		}
		m.Serial = s.serialText(m.pos) + ":" + strconv.Itoa(i)
		out.serials = append(out.serials, m.Serial)
		s.record(name, m, now, from.via)
	}
	ch.msgs = append(ch.msgs, msgs...)
	ch.last = s.serial
	if key != "" {
		ch.seen[key] = out
	}
	s.stats.Messages += uint64(len(msgs))
	ch.broadcast(&frame{
		Action: actionMessage, ID: base, ChannelSerial: s.serialText(ch.last), Timestamp: now.UnixMilli(), messages: msgs,
	}, from.conn)
	s.hookMessages(name, msgs)
	out.pushes = s.channelPushes(name, msgs)
	return out, nil
}

// spend takes the messages from what the channel and the account may have in a
// second. Source: Ably, "Platform limits".
func (s *Server) spend(ch *channel, now time.Time, msgs []*message, once bool) *errorInfo {
	n, size := len(msgs), 0
	for _, m := range msgs {
		size += m.size()
	}
	slots := n
	if once {
		slots = 1
	}
	switch c := s.cfg; {
	case c.ChannelRate > 0 && !ch.rate.fits(now, c.ChannelRate, slots):
		return fail(codeChannelRate, "rate limit exceeded; permitted rate = %d; metric = channel.maxRate", c.ChannelRate)
	case c.ChannelByteRate > 0 && !ch.bytes.fits(now, c.ChannelByteRate, size):
		return fail(codeChannelBytes, "rate limit exceeded; permitted rate = %d bytes; metric = channel.maxBandwidth", c.ChannelByteRate)
	case c.MessageRate > 0 && !s.published.fits(now, c.MessageRate, n):
		return fail(codeMessageRate, "rate limit exceeded; permitted rate = %d; metric = messages.maxRate", c.MessageRate)
	}
	ch.rate.used += slots
	ch.bytes.used += size
	s.published.used += n
	return nil
}

// takePushes returns the pushes of a publish, once. s.mu must be held.
func (r *receipt) takePushes() []*item {
	out := r.pushes
	r.pushes = nil
	return out
}

// publishInternal puts a message of the service's own on a channel.
func (s *Server) publishInternal(name string, m *message) {
	s.mu.Lock()
	_, _ = s.publish(name, []*message{m}, origin{via: ViaService}) // no id, and metachannels have no limit
	s.mu.Unlock()
	s.tell()
}

// broadcast sends a frame to who is attached. Only messages are kept from
// their own sender, if that asked for no echo.
func (ch *channel) broadcast(f *frame, from *connection) {
	if from != nil {
		f.ConnectionID = from.id
	}
	for a := range ch.attached {
		switch {
		case f.Action == actionMessage && (a.modes&modeSubscribe == 0 || from != nil && a.conn == from && !from.echo):
			continue
		case f.Action == actionPresence && a.modes&modePresenceSubscribe == 0:
			continue
		}
		a.send(*f)
	}
}
