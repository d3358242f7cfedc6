package ably

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Recipient is whom a push was published to; DeviceID, ClientID or Transport
// is set.
type Recipient struct {
	DeviceID string
	ClientID string
	// Transport is the transportType of a direct recipient, and Token its
	// registration token, device token, target URL or channel.
	Transport, Token string
}

// Accepted is one push to one device that the service accepted. A push to a
// client makes one for each of the client's devices. Its maps and slices are
// shared: read them only.
type Accepted struct {
	// Seq numbers accepted pushes from 1 in the order of acceptance.
	Seq uint64
	// At is the time of acceptance.
	At time.Time
	// Recipient is as published.
	Recipient Recipient
	// DeviceID, ClientID and Platform are those of the device, empty for a
	// direct recipient.
	DeviceID, ClientID, Platform string
	// Transport is "fcm", "apns", "web" or "ablyChannel".
	Transport string
	// Batch reports that the push came in a batch.
	Batch bool
	// Channel is the channel whose message carried the push, for one that
	// came by a channel subscription.
	Channel string

	// NID is data["nid"], by which this package tells pushes apart.
	NID string
	// Tag is the tag of the notification on FCM and the web, under which it
	// replaces an earlier one on screen.
	Tag string
	// CollapseID is the header apns-collapse-id.
	CollapseID string
	// CollapseKey is FCM's collapse_key.
	CollapseKey string
	// ThreadID is APNs's thread-id. Ably's generic collapseKey ends up here,
	// where it groups and does not replace.
	ThreadID string
	// Title and Body are the texts the device would show.
	Title, Body string
	// Data is the data the device would get. Values that are no strings are
	// written as JSON.
	Data map[string]string
	// Headers are the headers for APNs.
	Headers map[string]string
	// Payload is the JSON made for the transport.
	Payload json.RawMessage

	// Code is 0 if the push reached the device; else it was accepted and then
	// failed with this code, which went out on the push log: 42926 dropped
	// over the account's rate, 103004 refused by the provider, 103005 dead
	// target, and so on.
	Code int
	// Attempt numbers the requests with this pair of NID and recipient,
	// failed ones included, from 1. It is 0 for a push by a channel.
	Attempt int
	// Acceptance numbers the acceptances of this pair for this device: above
	// 1, this is a repeat.
	Acceptance int
	// AnsweredBefore reports that an earlier acceptance was answered, as far
	// as the server can know: the repeat has no excuse.
	AnsweredBefore bool
	// AnswerLost reports that the client was not told: the stand-in broke the
	// connection or answered 503 on purpose, or the client went away before
	// the answer was written. The last is known only afterwards; the record
	// is then corrected and Config.OnAnswerLost called. An answer that was
	// written counts as told, even if the client never read it.
	AnswerLost bool
	// Fault is the fault after acceptance, empty if none.
	Fault Kind
}

// Target names what the push went to: the device, or the address of a direct
// recipient.
func (a Accepted) Target() string {
	if a.DeviceID != "" {
		return a.DeviceID
	}
	return a.Recipient.Token
}

// Delivered reports whether the push reached its device.
func (a Accepted) Delivered() bool { return a.Code == 0 }

// Repeat is a push that was accepted more than once.
type Repeat struct {
	NID, Target string
	// Records are its acceptances in order.
	Records []Accepted
	// Excused reports that of all acceptances but the last, none was
	// answered, or each failed afterwards: the client could not know.
	Excused bool
	// SameIDs reports that tag, collapse id and collapse key are equal in all,
	// so that the repeats replace each other on the device.
	SameIDs bool
}

// Accepted returns what was accepted, in order, as far as it is kept.
func (s *Server) Accepted() []Accepted { return s.AcceptedSince(0) }

// AcceptedSince returns the records kept whose Seq is greater than seq.
func (s *Server) AcceptedSince(seq uint64) []Accepted {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.ledger
	from := 0
	if seq > l.forgotten {
		from = int(min(seq-l.forgotten, uint64(len(l.records))))
	}
	return slices.Clone(l.records[from:])
}

// Repeats returns the pushes with a nid that were accepted more than once for
// one device, in the order of their first acceptance, from the records kept.
func (s *Server) Repeats() []Repeat {
	type pair struct{ nid, target string }
	var order []pair
	groups := map[pair][]Accepted{}
	for _, a := range s.Accepted() {
		if a.NID == "" {
			continue
		}
		p := pair{a.NID, a.Target()}
		groups[p] = append(groups[p], a)
		if len(groups[p]) == 2 {
			order = append(order, p)
		}
	}
	out := make([]Repeat, 0, len(order))
	for _, p := range order {
		rep := Repeat{NID: p.nid, Target: p.target, Records: groups[p], Excused: true, SameIDs: true}
		first := rep.Records[0]
		for i, a := range rep.Records {
			if i < len(rep.Records)-1 && !a.AnswerLost && a.Delivered() {
				rep.Excused = false
			}
			if a.Tag != first.Tag || a.CollapseID != first.CollapseID || a.CollapseKey != first.CollapseKey {
				rep.SameIDs = false
			}
		}
		out = append(out, rep)
	}
	slices.SortFunc(out, func(a, b Repeat) int { return cmp.Compare(a.Records[0].Seq, b.Records[0].Seq) })
	return out
}

// messageKey identifies a pair of nid and target.
type messageKey [16]byte

func keyOf(nid, target string) messageKey {
	h := sha256.New()
	h.Write([]byte(strconv.Itoa(len(nid)) + ":" + nid + target))
	return messageKey(h.Sum(nil)[:16])
}

// messageState is what is remembered about such a pair.
type messageState struct {
	attempts, accepts int
	answered          int // acceptances whose answer was not lost
	faults            int
}

// ledger keeps the accepted records and the states of messages, both bounded.
type ledger struct {
	max       int
	records   []Accepted
	forgotten uint64 // how many records were dropped before records[0]
	// States live in two generations: when the younger is full, the older is
	// dropped, so that at least the last max messages touched are known.
	young, old map[messageKey]*messageState
}

func newLedger(limit int) ledger {
	return ledger{max: limit, young: map[messageKey]*messageState{}}
}

func (l *ledger) state(key messageKey) *messageState {
	if st, ok := l.young[key]; ok {
		return st
	}
	st, ok := l.old[key]
	if !ok {
		st = &messageState{}
	}
	if len(l.young) >= l.max {
		l.old, l.young = l.young, map[messageKey]*messageState{}
	}
	l.young[key] = st
	return st
}

// add numbers and keeps a record, and returns how many were dropped for it.
func (l *ledger) add(a *Accepted) (dropped uint64) {
	// Dropping half at once keeps the copying cheap.
	if len(l.records) >= 2*l.max {
		n := len(l.records) - l.max
		l.records = append(make([]Accepted, 0, 2*l.max), l.records[n:]...)
		l.forgotten += uint64(n)
		dropped = uint64(n)
	}
	a.Seq = l.forgotten + uint64(len(l.records)) + 1
	l.records = append(l.records, *a)
	return dropped
}

func (l *ledger) bySeq(seq uint64) *Accepted {
	if seq <= l.forgotten || seq > l.forgotten+uint64(len(l.records)) {
		return nil
	}
	return &l.records[seq-l.forgotten-1]
}
