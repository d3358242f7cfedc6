package relay

import (
	"container/heap"
	"fmt"
	"time"
)

// lane is the way of one channel's records: one at a time, in the order of
// their offsets.
type lane struct {
	channel  string
	part     *partition
	waiting  []*item // oldest first
	flight   *item   // nil, or the first that waits
	bucket   bucket
	failures int       // attempts in a row that failed
	held     time.Time // until when it waits after a failure
	idleAt   time.Time // since when it has nothing to do

	readyAt time.Time // when its first item may go, as it stands in the heap
	urgent  bool
	index   int // its place in the heap, -1 for none
}

// fate is what became of a record.
type fate string

const (
	published fate = "published"
	conflated fate = "conflated" // a newer one of its channel waits or was published
	stale     fate = "stale"     // older than max_age
	known     fate = "known"     // published before a restart
	tombstone fate = "tombstone" // it has no value
	buried    fate = "dead_lettered"
)

// unknownFor is how long an attempt with an unknown outcome may still arrive. It
// is Ably's window for repeats too: within it a repeat is recognised by its id.
const unknownFor = 2 * time.Minute

// laneLimits say how fast lanes go.
type laneLimits struct {
	channelRate              float64 // messages a second on one channel
	channelBurst             int
	messageRate, requestRate float64 // of all lanes together, 0 for no limit
	inFlight                 int
	troubles                 int                         // failures in a row, of whichever lanes, that hold them all
	backoff                  func(n int) time.Duration   // after the n-th failure in a row
	finish                   func(*item, fate)           // the record is done
	refuse                   func(*item, string, string) // it must go to the dead-letter topic: code, reason
	onHold                   func(hold)                  // something about the hold of all lanes has changed
}

// hold is why all lanes wait; the zero value is that they do not.
type hold struct {
	cause  string // credentials, account, trouble
	reason string
}

// pop removes the first item.
func (l *lane) pop() {
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
}

// The causes of a hold.
const (
	holdCredentials = "credentials"
	holdAccount     = "account"
	holdTrouble     = "trouble"
)

// lanes are all lanes, and what they share. It does no input or output, knows no
// clock, and costs O(log lanes) for each record. It is not safe for concurrent
// use.
type lanes struct {
	limits    laneLimits
	byChannel map[string]*lane
	ready     [2]laneHeap // urgent ones first
	messages  bucket
	requests  bucket
	inFlight  int

	// After a failure that concerns everybody, all wait until heldUntil, and then
	// go one at a time until one has come through.
	hold         hold
	heldUntil    time.Time
	failures     int // holds in a row
	troubles     int // failed attempts in a row
	denials      int // denied attempts in a row
	lastAccepted time.Time
}

func newLanes(l laneLimits) *lanes {
	burst := func(rate float64) int { return int(rate / 10) }
	return &lanes{
		limits: l, byChannel: map[string]*lane{},
		messages: newBucket(l.messageRate, burst(l.messageRate)), requests: newBucket(l.requestRate, burst(l.requestRate)),
	}
}

// The codes of records that are refused without asking the service. The others
// are Ably's numbers.
const (
	codeOtherPartition = "channel_of_other_partition"
	codeTemplate       = "template"
	codeChannelName    = "40010"
	codeTooLarge       = "40009"
)

// push takes the next record of a partition. Offsets of a partition come in
// order.
func (ls *lanes) push(it *item, now time.Time) {
	channel := it.message.Channel
	if mark, marked := it.from.marks[channel]; marked && mark.covers(it.record) {
		ls.limits.finish(it, known)
		return
	}
	l := ls.byChannel[channel]
	if l == nil {
		l = &lane{channel: channel, part: it.from, index: -1, bucket: newBucket(ls.limits.channelRate, ls.limits.channelBurst)}
		ls.byChannel[channel] = l
		it.from.lanes[channel] = l
	}
	if l.part != it.from {
		// Two partitions have no order between them, so the channel would have none.
		ls.limits.refuse(it, codeOtherPartition, fmt.Sprintf("the channel is fed by partition %d of %s", l.part.partition, l.part.topic))
		return
	}
	it.lane = l
	if n := len(l.waiting); n > 0 && l.waiting[n-1] != l.flight && l.waiting[n-1].replaceable(now) {
		old := l.waiting[n-1]
		l.waiting[n-1] = it
		ls.limits.finish(old, conflated)
	} else {
		l.waiting = append(l.waiting, it)
	}
	if l.waiting[0] == it { // else it waits where it waited
		ls.schedule(l, now)
	}
}

// schedule puts a lane where its first item belongs.
func (ls *lanes) schedule(l *lane, now time.Time) {
	ls.unschedule(l)
	switch {
	case l.part.revoked || l.flight != nil:
		return
	case len(l.waiting) == 0:
		l.idleAt = now
		return
	case l.part.catching && !l.waiting[0].suspended:
		return
	}
	l.readyAt = l.bucket.at(now)
	if l.held.After(l.readyAt) {
		l.readyAt = l.held
	}
	l.urgent = l.waiting[0].suspended
	heap.Push(ls.heap(l), l)
}

func (ls *lanes) unschedule(l *lane) {
	if l.index >= 0 {
		heap.Remove(ls.heap(l), l.index)
	}
}

func (ls *lanes) heap(l *lane) *laneHeap {
	if l.urgent {
		return &ls.ready[0]
	}
	return &ls.ready[1]
}

// first returns the lane that goes next, or the one that will be the earliest
// to go; nil for none.
func (ls *lanes) first(now time.Time) *lane {
	var next *lane
	for _, h := range ls.ready {
		if len(h) == 0 {
			continue
		}
		if !h[0].readyAt.After(now) {
			return h[0]
		}
		if next == nil || h[0].readyAt.Before(next.readyAt) {
			next = h[0]
		}
	}
	return next
}

// next returns the items to publish now, and when to ask again; the zero time
// is after the next push or settle. What it returns must be settled.
func (ls *lanes) next(now time.Time) (start []*item, again time.Time) {
	for ls.inFlight < ls.most() {
		l := ls.first(now)
		if l == nil {
			return start, time.Time{}
		}
		at := l.readyAt
		for _, t := range []time.Time{ls.heldUntil, ls.messages.at(now), ls.requests.at(now)} {
			if t.After(at) {
				at = t
			}
		}
		if at.After(now) {
			return start, at
		}
		it := l.waiting[0]
		if it.stale(now) {
			l.pop()
			ls.limits.finish(it, stale)
			ls.schedule(l, now)
			continue
		}
		ls.unschedule(l)
		l.flight = it
		l.bucket.take(now)
		ls.messages.take(now)
		ls.requests.take(now)
		ls.inFlight++
		it.from.takeOff()
		start = append(start, it)
	}
	return start, time.Time{}
}

// most is how many may be in flight: one while nobody knows whether the service
// takes anything.
func (ls *lanes) most() int {
	if ls.hold.cause != "" {
		return 1
	}
	return ls.limits.inFlight
}

// settle takes the answer about an item that next returned.
func (ls *lanes) settle(it *item, a Answer, now time.Time) {
	l := it.lane
	l.flight = nil
	ls.inFlight--
	defer it.from.land()
	if a.Verdict == Denied && !it.deniedAt.IsZero() && ls.lastAccepted.After(it.deniedAt) {
		a.Verdict = Refused // others came through meanwhile: it is about this channel
	}
	switch a.Verdict {
	case Accepted:
		ls.lastAccepted = now
		ls.goOn()
		l.failures, l.held = 0, time.Time{}
		l.pop()
		ls.limits.finish(it, published)
	case Refused:
		ls.goOn() // it was looked at, so the service works
		l.failures, l.held = 0, time.Time{}
		l.pop()
		ls.limits.refuse(it, code(a), a.Reason)
	default:
		ls.failed(l, it, a, now)
	}
	ls.schedule(l, now)
}

func code(a Answer) string {
	if a.Code == 0 {
		return string(a.Verdict)
	}
	return fmt.Sprint(a.Code)
}

// goOn ends a hold: something came through.
func (ls *lanes) goOn() {
	ls.failures, ls.troubles, ls.denials = 0, 0, 0
	if ls.hold.cause != "" {
		ls.hold, ls.heldUntil = hold{}, time.Time{}
		ls.limits.onHold(ls.hold)
	}
}

// failed decides who waits after a failed attempt. The item stays the first of its lane.
func (ls *lanes) failed(l *lane, it *item, a Answer, now time.Time) {
	l.failures++
	switch a.Verdict {
	case AccountLimited:
		l.failures = 0 // the others would wait for nothing once this one is let through
		ls.holdAll(holdAccount, a, now)
	case Blocked:
		ls.holdAll(holdCredentials, a, now)
	case Denied:
		if it.deniedAt.IsZero() {
			it.deniedAt = now
		}
		if ls.denials++; ls.denials >= ls.limits.troubles {
			ls.holdAll(holdCredentials, a, now)
		}
	case ChannelLimited:
	default:
		if a.Verdict == Unknown {
			it.unknownUntil = now.Add(unknownFor)
		}
		if ls.troubles++; ls.troubles >= ls.limits.troubles {
			ls.holdAll(holdTrouble, a, now)
		}
	}
	if l.failures > 0 {
		l.held = now.Add(ls.limits.backoff(l.failures))
	}
	// Whoever gets a revoked partition reads the item again.
	if !it.from.revoked && len(l.waiting) > 1 && it.replaceable(now) {
		l.pop()
		ls.limits.finish(it, conflated)
	}
}

func (ls *lanes) holdAll(cause string, a Answer, now time.Time) {
	if !ls.heldUntil.After(now) { // of many answers at once the first counts
		ls.failures++
		ls.heldUntil = now.Add(ls.limits.backoff(ls.failures))
	}
	h := hold{cause: cause, reason: fmt.Sprintf("%s: %s", code(a), a.Reason)}
	if h != ls.hold {
		ls.hold = h
		ls.limits.onHold(h)
	}
}

// wanting tells whether anything waits for its turn, or is under way.
func (ls *lanes) wanting() bool { return ls.inFlight > 0 || len(ls.ready[0])+len(ls.ready[1]) > 0 }

// abandon takes back an item that was published, when that could not be written
// down before its partition went away: it is not done.
func (ls *lanes) abandon(it *item, now time.Time) {
	it.lane.flight = nil
	ls.inFlight--
	ls.schedule(it.lane, now)
	it.from.land()
}

// catchUp lets a partition's lanes publish.
func (ls *lanes) catchUp(p *partition, now time.Time) {
	if !p.catching {
		return
	}
	p.catching = false
	for _, l := range p.lanes {
		ls.schedule(l, now)
	}
}

// revoke begins nothing more for a partition.
func (ls *lanes) revoke(p *partition) {
	p.revoke()
	for _, l := range p.lanes {
		ls.unschedule(l)
	}
}

// drop forgets a partition that was revoked.
func (ls *lanes) drop(p *partition) {
	for channel, l := range p.lanes {
		if ls.byChannel[channel] == l {
			delete(ls.byChannel, channel)
		}
	}
	p.lanes = map[string]*lane{}
}

// forget removes lanes that have had nothing to do for a while: channels come
// and go with their events. Their partition may change then.
func (ls *lanes) forget(idle time.Duration, now time.Time) {
	for channel, l := range ls.byChannel {
		if l.flight == nil && len(l.waiting) == 0 && now.Sub(l.idleAt) > idle {
			delete(ls.byChannel, channel)
			delete(l.part.lanes, channel)
		}
	}
}

// laneHeap is a heap of lanes, the one that may go first on top.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].readyAt.Before(h[j].readyAt) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	l, _ := x.(*lane)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	n := len(*h) - 1
	l := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	l.index = -1
	return l
}
