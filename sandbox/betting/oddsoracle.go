package betting

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Place is where a record stands in a topic.
type Place struct {
	Partition int32
	Offset    int64
}

// String returns "partition/offset".
func (p Place) String() string { return fmt.Sprintf("%d/%d", p.Partition, p.Offset) }

// placeOf reads the place out of the id of a published message, which ends with
// "/<topic>/<partition>/<offset>".
func placeOf(topic, id string) (Place, bool) {
	parts := strings.Split(id, "/")
	n := len(parts)
	if n < 3 || parts[n-3] != topic {
		return Place{}, false
	}
	partition, err1 := strconv.ParseInt(parts[n-2], 10, 32)
	offset, err2 := strconv.ParseInt(parts[n-1], 10, 64)
	return Place{int32(partition), offset}, err1 == nil && err2 == nil
}

// Snapshot is a record of the topic odds, as somebody else than the service
// read it.
type Snapshot struct {
	Place
	// Event is the record's key.
	Event string
	Value []byte
	// At is the record's time.
	At time.Time
	// Suspended says that the record is marked so: it must be published, however
	// old it is.
	Suspended bool
}

// Message is what an Ably channel accepted, as the stand-in saw it. A publish
// that was recognised as a repeat by its id is none.
type Message struct {
	Channel, ID, Name, ClientID string
	Data                        []byte
	At                          time.Time
}

// OddsConfig configures an OddsOracle.
type OddsConfig struct {
	// Topic is the topic that is relayed. Empty means "odds".
	Topic string
	// Prefix is what the channels begin with; the event's id follows. Empty means
	// "outbound:odds:".
	Prefix string
	// MaxAge is how old a record may be when it is published. Zero means any age.
	MaxAge time.Duration
	// Slack is how much longer the way to Ably may take, repeats of a request
	// included. Zero means 2 s.
	Slack time.Duration
}

// OddsOracle knows what stood in the topic odds, and judges what Ably's channels
// accepted. A message is recognised by the place in its id, and then has to be
// what stands there, on the channel of its event: the id alone proves nothing. It
// is safe for concurrent use.
type OddsOracle struct {
	cfg OddsConfig

	mu        sync.Mutex
	records   map[Place]*Snapshot
	newest    map[string]Place // by event
	messages  []Message        // in the order of acceptance
	published map[Place]bool
	unread    map[Place]bool // published, and not yet read from the topic
	events    map[string]*eventOdds
}

// eventOdds is the way of one event's odds.
type eventOdds struct {
	records []*Snapshot
	shown   []showing // in the order of acceptance
}

// showing is a message on the event's channel.
type showing struct {
	offset int64
	at     time.Time
}

// NewOddsOracle returns an oracle that knows nothing yet.
func NewOddsOracle(cfg OddsConfig) *OddsOracle {
	cfg.Topic = cmp.Or(cfg.Topic, "odds")
	cfg.Prefix = cmp.Or(cfg.Prefix, "outbound:odds:")
	cfg.Slack = cmp.Or(cfg.Slack, 2*time.Second)
	return &OddsOracle{cfg: cfg, records: map[Place]*Snapshot{}, newest: map[string]Place{}, published: map[Place]bool{}, unread: map[Place]bool{}, events: map[string]*eventOdds{}}
}

// Recorded takes a record of the topic; those of one partition come in order.
func (o *OddsOracle) Recorded(s Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records[s.Place] = &s
	o.newest[s.Event] = s.Place
	delete(o.unread, s.Place)
	e := o.event(s.Event)
	e.records = append(e.records, &s)
}

// event returns what is known of an event. o.mu must be held.
func (o *OddsOracle) event(id string) *eventOdds {
	if o.events[id] == nil {
		o.events[id] = &eventOdds{}
	}
	return o.events[id]
}

// Accepted takes what any channel accepted, in order; what is not on a channel of
// odds is passed over.
func (o *OddsOracle) Accepted(m Message) {
	if !strings.HasPrefix(m.Channel, o.cfg.Prefix) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = append(o.messages, m)
	if at, ok := placeOf(o.cfg.Topic, m.ID); ok {
		o.published[at] = true
		if o.records[at] == nil {
			o.unread[at] = true
		}
		e := o.event(strings.TrimPrefix(m.Channel, o.cfg.Prefix))
		e.shown = append(e.shown, showing{at.Offset, m.At})
	}
}

// ShownAt returns when a record of an event, or a newer one, was first published.
func (o *OddsOracle) ShownAt(event string, at Place) (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.event(event).shown {
		if s.offset >= at.Offset {
			return s.at, true
		}
	}
	return time.Time{}, false
}

// Progress is how far the odds of one event have come.
type Progress struct {
	Updates, Published, Conflated int
	// First and Last are the values of its first record and its last.
	First, Last []byte
}

// Progress looks at one event.
func (o *OddsOracle) Progress(event string) Progress {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.event(event)
	p := Progress{Updates: len(e.records)}
	if p.Updates == 0 {
		return p
	}
	p.First, p.Last = e.records[0].Value, e.records[p.Updates-1].Value
	waiting := 0 // since the last one that was published
	for _, rec := range e.records {
		if !o.published[rec.Place] {
			waiting++
			continue
		}
		p.Published++
		p.Conflated += waiting
		waiting = 0
	}
	return p
}

// Outstanding counts the events whose newest snapshot has not been published, and
// the records that have been before the oracle was told of them: a service may read
// the topic sooner than whoever reads it for the oracle.
func (o *OddsOracle) Outstanding() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.unread)
	for _, at := range o.newest {
		if !o.published[at] {
			n++
		}
	}
	return n
}

// OddsTally is the verdict about the odds. Updates = Published + Conflated +
// those after the last one published of an event, which make Missing.
type OddsTally struct {
	// Updates are the records of the topic.
	Updates int `json:"updates"`
	// Published are the records that a channel accepted, repeats not counted.
	Published int `json:"published"`
	// Conflated are the records that never were, because a newer one of the same
	// event was.
	Conflated int `json:"conflated"`
	// OutOfOrder are messages older than one before them on the channel.
	OutOfOrder int `json:"out_of_order"`
	// Excused are those of them that the caller of [OddsOracle.Judge] excused; they
	// are not in OutOfOrder.
	Excused int `json:"excused,omitempty"`
	// Duplicates are messages whose record the channel had accepted before.
	Duplicates int `json:"duplicates"`
	// Stale are messages whose record was too old when they were accepted.
	Stale int `json:"stale"`
	// Missing are the events whose newest snapshot was not published.
	Missing int `json:"missing"`
	// Unexpected are messages that are no record of the topic or not what stands
	// there, or are on another event's channel, records marked suspended that were
	// not published, and channels that end with an excused message.
	Unexpected int `json:"unexpected"`
	// Moved are the events whose odds changed.
	Moved int `json:"moved"`

	Reasons  map[string]int `json:"-"`
	Problems []Problem      `json:"-"`
}

// Clean reports whether nothing went wrong.
func (t *OddsTally) Clean() bool {
	return t.OutOfOrder == 0 && t.Duplicates == 0 && t.Stale == 0 && t.Missing == 0 && t.Unexpected == 0
}

// Regress is a message that is older than one before it on the channel.
type Regress struct {
	// Message is what came too late, Record what stands in the topic at its place.
	Message Message
	Record  Snapshot
	// Overtaken is when the channel had accepted the first message that is newer.
	Overtaken time.Time
}

// Tally judges everything so far.
func (o *OddsOracle) Tally() OddsTally { return o.Judge(nil) }

// Judge is Tally with somebody who knows excuses: excused is asked about each
// message that is older than one before it on its channel. It must not call the
// oracle; nil knows none.
func (o *OddsOracle) Judge(excused func(Regress) bool) OddsTally {
	o.mu.Lock()
	defer o.mu.Unlock()
	var f findings
	type channel struct {
		last  int64 // greatest offset accepted, by partition of the event
		shown []showing
		old   string // what an excused message says that is older than last, while it is the newest
	}
	channels := map[string]*channel{}
	reached := map[string]int64{} // by event: the greatest offset published
	taken := map[Place]bool{}
	excusedCount := 0
	for _, m := range o.messages {
		at, ok := placeOf(o.cfg.Topic, m.ID)
		rec := o.records[at]
		problem := func(name, detail string) {
			f.add(Problem{Name: name, At: m.At, Subject: m.Channel, Detail: at.String() + detail})
		}
		switch {
		case !ok || rec == nil:
			f.add(Problem{Name: "odds_unknown_record", At: m.At, Subject: m.Channel, Detail: m.ID})
			continue
		case m.Channel != o.cfg.Prefix+rec.Event:
			problem("odds_other_channel", " is of "+rec.Event)
			continue
		case !bytes.Equal(bytes.TrimSpace(m.Data), bytes.TrimSpace(rec.Value)):
			problem("odds_other_content", "")
			continue
		}
		ch := channels[m.Channel]
		if ch == nil {
			ch = &channel{}
			channels[m.Channel] = ch
		}
		ch.old = ""
		if newer := slices.IndexFunc(ch.shown, func(s showing) bool { return s.offset > at.Offset }); newer >= 0 {
			if excused != nil && excused(Regress{Message: m, Record: *rec, Overtaken: ch.shown[newer].at}) {
				excusedCount++
				ch.old = at.String()
			} else {
				problem("odds_out_of_order", fmt.Sprintf(" after %d, which came at %s", ch.last, ch.shown[newer].at.Format("15:04:05.000")))
			}
		}
		if taken[at] {
			problem("odds_duplicate", "")
		}
		if age := m.At.Sub(rec.At); o.cfg.MaxAge > 0 && !rec.Suspended && age > o.cfg.MaxAge+o.cfg.Slack {
			problem("odds_stale", fmt.Sprintf(" is %v old", age.Round(time.Millisecond)))
		}
		taken[at] = true
		ch.last = max(ch.last, at.Offset)
		ch.shown = append(ch.shown, showing{at.Offset, m.At})
		reached[rec.Event] = max(reached[rec.Event], at.Offset+1)
	}
	for name, ch := range channels {
		if ch.old != "" { // whatever its excuse, nothing has put it right
			f.add(Problem{Name: "odds_left_old", Subject: name, Detail: fmt.Sprintf("%s is the last message, %d was there before", ch.old, ch.last)})
		}
	}
	t := OddsTally{Updates: len(o.records), Published: len(taken), Excused: excusedCount}
	first := map[string]*Snapshot{}
	moved := map[string]bool{}
	for _, rec := range o.inOrder() {
		if before := first[rec.Event]; before == nil {
			first[rec.Event] = rec
		} else if !bytes.Equal(before.Value, rec.Value) {
			moved[rec.Event] = true
		}
		if taken[rec.Place] {
			continue
		}
		if rec.Offset < reached[rec.Event] {
			t.Conflated++
		}
		if rec.Suspended {
			f.add(Problem{Name: "odds_suspended_dropped", At: rec.At, Subject: rec.Event, Detail: rec.Place.String()})
		}
	}
	for event, at := range o.newest {
		if !taken[at] {
			f.add(Problem{Name: "odds_missing", At: o.records[at].At, Subject: event, Detail: at.String() + " is the newest and was not published"})
		}
	}
	t.Moved = len(moved)
	t.OutOfOrder, t.Duplicates = f.reasons["odds_out_of_order"], f.reasons["odds_duplicate"]
	t.Stale, t.Missing = f.reasons["odds_stale"], f.reasons["odds_missing"]
	for _, name := range []string{"odds_unknown_record", "odds_other_channel", "odds_other_content", "odds_suspended_dropped", "odds_left_old"} {
		t.Unexpected += f.reasons[name]
	}
	t.Reasons, t.Problems = f.reasons, f.problems
	return t
}

// inOrder returns the records by partition and offset. o.mu must be held.
func (o *OddsOracle) inOrder() []*Snapshot {
	all := make([]*Snapshot, 0, len(o.records))
	for _, rec := range o.records {
		all = append(all, rec)
	}
	slices.SortFunc(all, func(a, b *Snapshot) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return all
}
