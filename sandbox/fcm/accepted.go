package fcm

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Accepted is one message the service accepted. Its maps and slices are
// shared: read them only.
type Accepted struct {
	// Seq numbers accepted messages from 1 in the order of acceptance.
	Seq uint64
	// At is the time of acceptance.
	At time.Time
	// Name is the message name answered, or that would have been.
	Name string

	// Token, FID, Topic and Condition are the target; exactly one is set.
	Token, FID, Topic, Condition string
	// Platform is that of the target, empty for topics and conditions.
	Platform string

	// NID is data["nid"], by which this package tells messages apart.
	NID string
	// Tag is the notification's tag, which makes a message replace an earlier
	// one on screen: android.notification.tag, or webpush.notification.tag
	// for a web target.
	Tag string
	// CollapseID is the header apns-collapse-id.
	CollapseID string
	// CollapseKey is android.collapse_key.
	CollapseKey string
	// Title and Body are the texts the target's platform would show.
	Title, Body string
	// Data is the data the target's platform would get.
	Data map[string]string
	// Priority is android.priority in lower case, or the header
	// apns-priority or Urgency, by platform. Empty if not given.
	Priority string
	// TTL is how long the platform stores the message, rounded down to whole
	// seconds; without one in the message, the service's default. It may be
	// negative for an apns-expiration in the past.
	TTL time.Duration
	// Expiration is At plus TTL, or apns-expiration itself.
	Expiration time.Time
	// Message is the JSON of the request's body, if Config.KeepMessages.
	Message json.RawMessage

	// Attempt numbers the sends of this pair of NID and target that reached
	// the service, failed ones included, from 1. A dry run is not counted.
	Attempt int
	// Acceptance numbers the acceptances of this pair: above 1, this is a
	// repeat.
	Acceptance int
	// AnsweredBefore reports that an earlier acceptance of this pair was
	// answered, as far as the server can know: the repeat has no excuse.
	AnsweredBefore bool
	// AnswerLost reports that the client was not told: the stand-in broke the
	// connection or answered 503 on purpose, or the client went away before
	// the answer was written. The last is known only afterwards; the record
	// is then corrected and Config.OnAnswerLost called. An answer that was
	// written counts as told, even if the client never read it.
	AnswerLost bool
	// Fault is the fault after acceptance, empty if none.
	Fault Kind

	webTopic string // the Web Push header Topic, under which messages replace each other
}

// Target returns the one target that is set.
func (a Accepted) Target() string {
	return a.Token + a.FID + a.Topic + a.Condition
}

// Repeat is a message that was accepted more than once.
type Repeat struct {
	NID, Target string
	// Records are its acceptances in order.
	Records []Accepted
	// Excused reports that of all acceptances but the last, none was
	// answered: the client could not know.
	Excused bool
	// SameIDs reports that tag, collapse id and collapse key are equal in
	// all, so that the repeats replace each other on the device.
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

// Repeats returns the messages with a nid that were accepted more than once,
// in the order of their first acceptance, from the records kept.
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
			if i < len(rep.Records)-1 && !a.AnswerLost {
				rep.Excused = false
			}
			if a.Tag != first.Tag || a.CollapseID != first.CollapseID || a.CollapseKey != first.CollapseKey {
				rep.SameIDs = false
			}
		}
		out = append(out, rep)
	}
	slices.SortFunc(out, func(a, b Repeat) int { return int(a.Records[0].Seq) - int(b.Records[0].Seq) })
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
	attempts, accepts  int
	answered           int // acceptances whose answer was not lost
	faults, bareFaults int
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

// describe fills in what a message says about itself.
func describe(msg fields, platform string, at time.Time) Accepted {
	a := Accepted{
		At: at, Platform: platform,
		Token: msg.str("token"), FID: msg.str("fid"), Topic: msg.str("topic"), Condition: msg.str("condition"),
		CollapseKey: androidOf(msg).str("collapse_key"),
		CollapseID:  headers(msg.sub("apns"))["apns-collapse-id"],
		Title:       msg.sub("notification").str("title"),
		Body:        msg.sub("notification").str("body"),
		Tag:         androidOf(msg).sub("notification").str("tag"),
		NID:         nidOf(msg, platform),
	}
	data := msg
	switch platform {
	case IOS:
		payload, _ := msg.sub("apns")["payload"].(object)
		aps, _ := payload.get("aps").(object)
		switch alert := aps.get("alert").(type) {
		case string:
			a.Body = alert
		case object:
			a.setTexts(alert.get("title"), alert.get("body"))
		}
	case Web:
		n, _ := msg.sub("webpush")["notification"].(object)
		a.setTexts(n.get("title"), n.get("body"))
		a.Tag, _ = n.get("tag").(string)
		a.webTopic = headers(msg.sub("webpush"))["topic"]
		if msg.sub("webpush").has("data") {
			data = msg.sub("webpush")
		}
	default:
		n := androidOf(msg).sub("notification")
		a.setTexts(n["title"], n["body"])
		if androidOf(msg).has("data") {
			data = androidOf(msg)
		}
	}
	a.Data = make(map[string]string, len(data.entries("data")))
	maps.Insert(a.Data, func(yield func(string, string) bool) {
		for _, e := range data.entries("data") {
			if !yield(e.key, e.value) {
				return
			}
		}
	})
	a.lifetime(msg)
	return a
}

// nidOf returns the nid in the data the platform would get.
func nidOf(msg fields, platform string) string {
	data := msg.entries("data")
	part := androidOf(msg)
	if platform == Web {
		part = msg.sub("webpush")
	}
	if platform != IOS && part.has("data") {
		data = part.entries("data")
	}
	for _, e := range data {
		if e.key == "nid" {
			return e.value
		}
	}
	return ""
}

func (a *Accepted) setTexts(title, body any) {
	if t, ok := title.(string); ok && t != "" {
		a.Title = t
	}
	if b, ok := body.(string); ok && b != "" {
		a.Body = b
	}
}

// lifetime sets TTL, Expiration and Priority by platform.
func (a *Accepted) lifetime(msg fields) {
	a.TTL = MaxTTL
	switch a.Platform {
	case IOS:
		h := headers(msg.sub("apns"))
		a.Priority = h["apns-priority"]
		a.TTL = 30 * 24 * time.Hour // FCM's default for APNs
		if sec, err := strconv.ParseInt(h["apns-expiration"], 10, 64); err == nil {
			if sec == 0 { // one attempt, no storage
				a.TTL, a.Expiration = 0, a.At
				return
			}
			a.Expiration = time.Unix(sec, 0)
			a.TTL = a.Expiration.Sub(a.At).Truncate(time.Second)
			return
		}
	case Web:
		h := headers(msg.sub("webpush"))
		a.Priority = h["urgency"]
		if sec, err := strconv.ParseInt(h["ttl"], 10, 64); err == nil {
			a.TTL = time.Duration(min(sec, int64(MaxTTL/time.Second))) * time.Second
		}
	default:
		android := androidOf(msg)
		switch android.str("priority") {
		case "HIGH":
			a.Priority = "high"
		case "NORMAL":
			a.Priority = "normal"
		}
		if ttl, ok := android["ttl"].(time.Duration); ok {
			a.TTL = ttl.Truncate(time.Second)
		}
	}
	a.Expiration = a.At.Add(a.TTL)
}
