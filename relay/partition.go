package relay

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicPartition names a partition.
type topicPartition struct {
	topic     string
	partition int32
}

// partition is an assigned partition. Feed.mu guards it but for what says
// otherwise.
type partition struct {
	topicPartition
	route   *Route
	cluster string // its id; set when it is opened, as topicID and source are
	topicID kadm.TopicID
	source  string          // of its marks
	marks   map[string]Mark // by channel, up to where it is known to be published
	usedAt  time.Time       // when it was last noted that the source is in use
	prefix  *prefix
	lanes   map[string]*lane

	raw      []*kgo.Record // read and not prepared
	rawReady chan struct{} // has room for one

	// While it catches up, nothing is published but suspensions: what is read may
	// be old, and the newest of each channel is not known before end.
	catching bool
	end      int64

	load, loadBytes int // records that may not be conflated, or are not looked at yet
	paused          bool
	flying          int // publishes and dead letters under way
	revoked         bool
	gone            bool          // its topic was made anew: its offsets mean nothing any more
	idle            chan struct{} // closed when revoked and nothing flies
	highWatermark   int64
	committed       int64
	forgotten       int64 // marks below this offset have been removed

	trouble error // why its records do not get to their lanes, or nil

	read     context.Context // ends when it is revoked
	stopRead context.CancelFunc
	send     context.Context // ends when revoking has waited long enough
	stopSend context.CancelFunc
}

func newPartition(ctx context.Context, tp topicPartition, route *Route) *partition {
	p := &partition{
		topicPartition: tp, route: route, prefix: newPrefix(), lanes: map[string]*lane{}, catching: true,
		rawReady: make(chan struct{}, 1), idle: make(chan struct{}), committed: -1,
	}
	p.send, p.stopSend = context.WithCancel(ctx)
	p.read, p.stopRead = context.WithCancel(p.send)
	return p
}

// takeOff and land count what must end before the partition is given away.
func (p *partition) takeOff() { p.flying++ }

func (p *partition) land() {
	p.flying--
	if p.revoked && p.flying == 0 {
		close(p.idle)
	}
}

// revoke stops everything that has not begun.
func (p *partition) revoke() {
	if p.revoked {
		return
	}
	p.revoked = true
	p.stopRead()
	if p.flying == 0 {
		close(p.idle)
	}
}

// item is a record on its way to its channel.
type item struct {
	from      *partition
	record    *kgo.Record
	message   Message
	suspended bool
	counted   bool // in the partition's load

	lane *lane
	// An attempt whose outcome is unknown may still arrive. Until this time the
	// item is neither conflated away nor dropped: a newer one that overtakes it
	// could be followed by it.
	unknownUntil time.Time
	deniedAt     time.Time
}

func (it *item) offset() int64 { return it.record.Offset }

// settled tells whether no attempt at the item can arrive any more.
func (it *item) settled(now time.Time) bool { return !now.Before(it.unknownUntil) }

// replaceable tells whether a newer record of the channel may take its place.
func (it *item) replaceable(now time.Time) bool {
	return it.from.route.Conflate && !it.suspended && it.settled(now)
}

// stale tells whether it is too old to be published.
func (it *item) stale(now time.Time) bool {
	age := it.from.route.MaxAge
	return age > 0 && !it.suspended && it.settled(now) && now.Sub(it.record.Timestamp) > age
}
