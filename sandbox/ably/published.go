package ably

import (
	"slices"
	"time"
)

// Ways by which a message reaches a channel; see [Message.Via].
const (
	// ViaREST is POST /channels/{channel}/messages.
	ViaREST = "rest"
	// ViaBatch is POST /messages.
	ViaBatch = "batch"
	// ViaRealtime is a MESSAGE over WebSocket.
	ViaRealtime = "realtime"
	// ViaService is the service itself: events on metachannels and pushes by
	// the transport ablyChannel.
	ViaService = "service"
)

// Message is one message that a channel accepted. A publish that was recognised
// as a repeat by its id makes none. Its maps and slices are shared: read them
// only.
type Message struct {
	// Seq numbers the messages of all channels from 1 in the order of
	// acceptance.
	Seq uint64
	// At is the time of acceptance.
	At time.Time
	// Channel is the channel's name, without parameters.
	Channel string
	// ID is the publisher's id, or the one that the service made.
	ID string
	// Name, ClientID, Encoding and Extras are as subscribers get them.
	Name, ClientID, Encoding string
	Extras                   map[string]any
	// Data is what Encoding has to be undone of: the text or the bytes of the
	// message's data, nil if there are none.
	Data []byte
	// ConnectionID is that of the publisher's realtime connection, empty for
	// REST.
	ConnectionID string
	// Serial is the message's serial in the answer to its publisher.
	Serial string
	// Via says how the message came: one of [ViaREST], [ViaBatch],
	// [ViaRealtime] and [ViaService].
	Via string
}

// Messages returns what a channel accepted, in order, as far as it is kept; see
// [Config.MaxMessages].
func (s *Server) Messages(channel string) []Message {
	all := s.MessagesSince(0)
	return slices.DeleteFunc(all, func(m Message) bool { return m.Channel != channel })
}

// MessagesSince returns what all channels accepted, in order, of the messages
// kept whose Seq is greater than seq.
func (s *Server) MessagesSince(seq uint64) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages.since(seq)
}

// record keeps an accepted message for [Server.Messages] and
// [Config.OnMessage]. s.mu must be held.
func (s *Server) record(channel string, m *message, now time.Time, via string) {
	rec := Message{
		Seq: s.messages.next(), At: now, Channel: channel, ID: m.ID, Name: m.Name, ClientID: m.ClientID, Encoding: m.Encoding,
		Extras: m.Extras, ConnectionID: m.ConnectionID, Serial: m.Serial, Via: via,
	}
	switch d := m.Data.(type) {
	case string:
		rec.Data = []byte(d)
	case []byte:
		rec.Data = d
	}
	s.messages.add(rec)
	if s.cfg.OnMessage != nil {
		s.untold = append(s.untold, rec)
	}
}

// tell calls [Config.OnMessage] for what was accepted since the last call, in
// order and without s.mu held. When it returns, everything that was accepted
// before it was called has been told.
func (s *Server) tell() {
	if s.cfg.OnMessage == nil {
		return
	}
	s.teller.Lock()
	defer s.teller.Unlock()
	s.mu.Lock()
	untold := s.untold
	s.untold = nil
	s.mu.Unlock()
	for _, m := range untold {
		s.cfg.OnMessage(m)
	}
}

// shelf keeps the newest records of a kind, at least max of them.
type shelf[T any] struct {
	max       int
	kept      []T
	forgotten uint64 // how many were dropped before kept[0]
}

// next is the number, from 1, that the next record gets.
func (l *shelf[T]) next() uint64 { return l.forgotten + uint64(len(l.kept)) + 1 }

func (l *shelf[T]) add(v T) {
	// Dropping half at once keeps the copying cheap.
	if len(l.kept) >= 2*l.max {
		n := len(l.kept) - l.max
		l.kept = append(make([]T, 0, 2*l.max), l.kept[n:]...)
		l.forgotten += uint64(n)
	}
	l.kept = append(l.kept, v)
}

// since returns a copy of the records with a greater number.
func (l *shelf[T]) since(seq uint64) []T {
	from := 0
	if seq > l.forgotten {
		from = int(min(seq-l.forgotten, uint64(len(l.kept))))
	}
	return slices.Clone(l.kept[from:])
}
