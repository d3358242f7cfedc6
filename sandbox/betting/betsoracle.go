package betting

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/sandbox/book"
)

// Want is what has to become of what somebody publishes on a betting channel.
type Want int

// What is wanted.
const (
	// Either: in the topic, or in the dead letters with a reason.
	Either Want = iota
	// Taken: in the topic bets.
	Taken
	// Refused: in the dead letters, with a reason.
	Refused
)

// Wish is a bet as its user meant it. Zero fields are not compared with what the
// topic says.
type Wish struct {
	// User, Event and Runner are who bets on what.
	User, Event, Runner string
	Stake               book.Money
	Odds                book.Odds
}

// TopicBet is a record of the topic bets, as somebody else than the service
// read it.
type TopicBet struct {
	ID string
	Wish
	// At is when it was read.
	At time.Time
}

// DeadLetter is a record of the dead-letter topic.
type DeadLetter struct {
	// ID is that of the message at Ably.
	ID string
	// Reason says why it is there.
	Reason string
}

// placing is one message that was accepted on a betting channel.
type placing struct {
	Message
	want Want
	wish Wish
}

// intent is what somebody is about to publish. Two intents may differ only in whom
// the publisher says to be.
type intent struct {
	channel, clientID, data string
}

// BetsConfig configures a BetsOracle.
type BetsConfig struct {
	// Prefix is what the betting channels begin with. Empty means
	// "inbound:betting:".
	Prefix string
}

// BetsOracle knows what Ably accepted on the betting channels, and judges what
// came into Kafka. It is safe for concurrent use.
type BetsOracle struct {
	cfg BetsConfig

	mu       sync.Mutex
	wanted   map[intent]placing
	refusals int
	placed   []*placing
	byID     map[string]*placing
	topic    []TopicBet
	inTopic  map[string]bool
	letters  map[string]string // reason by id
}

// NewBetsOracle returns an oracle that knows nothing yet.
func NewBetsOracle(cfg BetsConfig) *BetsOracle {
	cfg.Prefix = cmp.Or(cfg.Prefix, "inbound:betting:")
	return &BetsOracle{
		cfg: cfg, wanted: map[intent]placing{}, byID: map[string]*placing{}, inTopic: map[string]bool{}, letters: map[string]string{},
	}
}

// Placing says what somebody is about to publish, and what has to become of it.
// clientID is whom the publisher says to be; empty leaves that to Ably, which knows
// whose token it is.
func (o *BetsOracle) Placing(channel, clientID, data string, want Want, wish Wish) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wanted[intent{channel, clientID, data}] = placing{want: want, wish: wish}
}

// AblyRefused says that Ably itself refused what somebody published.
func (o *BetsOracle) AblyRefused() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refusals++
}

// Accepted takes what any channel accepted, in order; what is not on a betting
// channel is passed over.
func (o *BetsOracle) Accepted(m Message) {
	if !strings.HasPrefix(m.Channel, o.cfg.Prefix) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p, said := o.wanted[intent{m.Channel, m.ClientID, string(m.Data)}]
	if !said {
		p = o.wanted[intent{m.Channel, "", string(m.Data)}]
	}
	p.Message = m
	o.placed = append(o.placed, &p)
	o.byID[m.ID] = &p
}

// Recorded takes a record of the topic bets.
func (o *BetsOracle) Recorded(b TopicBet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.topic = append(o.topic, b)
	o.inTopic[b.ID] = true
}

// Buried takes a record of the dead-letter topic.
func (o *BetsOracle) Buried(l DeadLetter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.letters[l.ID] == "" {
		o.letters[l.ID] = l.Reason
	}
}

// Records counts the records of the topic.
func (o *BetsOracle) Records() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.topic)
}

// PlacedAt returns when Ably accepted a bet.
func (o *BetsOracle) PlacedAt(id string) (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.byID[id]
	if p == nil {
		return time.Time{}, false
	}
	return p.At, true
}

// Outstanding counts what was placed and is neither in the topic nor in the dead
// letters.
func (o *BetsOracle) Outstanding() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, p := range o.placed {
		if _, buried := o.letters[p.ID]; !buried && !o.inTopic[p.ID] {
			n++
		}
	}
	return n
}

// BetsTally is the verdict about the bets.
type BetsTally struct {
	// Placed are the messages that Ably accepted on betting channels.
	Placed int `json:"placed"`
	// InKafka are the different bets in the topic.
	InKafka int `json:"in_kafka"`
	// Lost are those placed that are neither in the topic nor in the dead letters.
	Lost int `json:"lost"`
	// Duplicates are records of a bet that was in the topic before, without a
	// reason.
	Duplicates int `json:"duplicates"`
	// Rejected are those in the dead letters, and those that Ably refused.
	Rejected int `json:"rejected"`
	// Repeats are records of a bet that was in the topic before, and that the
	// caller of [BetsOracle.Judge] excused: the service was killed, for instance.
	Repeats int `json:"repeats"`
	// Unexpected are records of bets that nobody placed or that say something
	// else than what was placed or than the record before it, bets in the topic that should have been
	// refused or the other way round, and dead letters without a reason.
	Unexpected int `json:"unexpected"`

	Reasons  map[string]int `json:"-"`
	Problems []Problem      `json:"-"`
}

// Clean reports whether nothing went wrong.
func (t *BetsTally) Clean() bool { return t.Lost == 0 && t.Duplicates == 0 && t.Unexpected == 0 }

// Tally judges everything so far.
func (o *BetsOracle) Tally() BetsTally { return o.Judge(nil) }

// Judge is Tally with somebody who knows excuses: excused is asked about each
// record of a bet whose record before it says the same. It must not call the
// oracle; nil knows none.
func (o *BetsOracle) Judge(excused func(before, again TopicBet) bool) BetsTally {
	o.mu.Lock()
	defer o.mu.Unlock()
	var f findings
	t := BetsTally{Placed: len(o.placed), Rejected: o.refusals}
	seen := map[string]TopicBet{}
	for _, b := range o.topic {
		problem := func(name, detail string) { f.add(Problem{Name: name, At: b.At, Subject: b.ID, Detail: detail}) }
		before, again := seen[b.ID]
		seen[b.ID] = b
		if again {
			switch {
			case before.Wish != b.Wish:
				// The view that takes the one back and counts the other would not be what it was.
				problem("bet_changed", fmt.Sprintf("%+v became %+v", before.Wish, b.Wish))
			case excused != nil && excused(before, b):
				t.Repeats++
			default:
				problem("bet_duplicate", fmt.Sprintf("was read before at %s", before.At.Format("15:04:05.000")))
			}
			continue
		}
		p := o.byID[b.ID]
		if p == nil {
			problem("bet_never_placed", "")
			continue
		}
		if p.want == Refused {
			problem("bet_wrongly_taken", string(p.Data))
		}
		if p.want == Taken && !p.wish.is(b.Wish) {
			problem("bet_altered", fmt.Sprintf("%+v became %+v", p.wish, b.Wish))
		}
	}
	t.InKafka = len(seen)
	for id, reason := range o.letters {
		t.Rejected++
		p := o.byID[id]
		switch {
		case p == nil:
			f.add(Problem{Name: "letter_never_placed", Subject: id, Detail: reason})
		case reason == "":
			f.add(Problem{Name: "letter_without_reason", At: p.At, Subject: id})
		case p.want == Taken:
			f.add(Problem{Name: "bet_wrongly_refused", At: p.At, Subject: id, Detail: reason})
		case has(seen, id):
			f.add(Problem{Name: "bet_taken_and_refused", At: p.At, Subject: id, Detail: reason})
		}
	}
	for _, p := range o.placed {
		if !has(o.letters, p.ID) && !has(seen, p.ID) {
			f.add(Problem{Name: "bet_lost", At: p.At, Subject: p.ID, Detail: string(p.Data)})
		}
	}
	t.Lost, t.Duplicates = f.reasons["bet_lost"], f.reasons["bet_duplicate"]
	for name, n := range f.reasons {
		if name != "bet_lost" && name != "bet_duplicate" {
			t.Unexpected += n
		}
	}
	t.Reasons, t.Problems = f.reasons, f.problems
	return t
}

func has[V any](m map[string]V, key string) bool { _, ok := m[key]; return ok }

// is reports whether the record says what was wished, where that is known.
func (w Wish) is(got Wish) bool {
	return (w.User == "" || w.User == got.User) && (w.Event == "" || w.Event == got.Event) &&
		(w.Runner == "" || w.Runner == got.Runner) && (w.Stake == 0 || w.Stake == got.Stake) && (w.Odds == 0 || w.Odds == got.Odds)
}
