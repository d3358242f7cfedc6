package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// subject is what a message is about: a bet or a race.
type subject struct {
	about string
	id    string
}

// What subjects are about, as the links of the built-in rules name it.
const (
	aboutBet  = "bet"
	aboutRace = "race"
)

// revision is one state of a subject that was to be announced.
type revision struct {
	// visible is when the source began to show it.
	visible time.Time
	// outcome and payout tell the revisions of a bet apart: no two of one bet
	// have both in common.
	outcome racing.Outcome
	payout  racing.Money
	// startsAt is when a race starts, which is when its announcement is worth
	// nothing any more; zero for bets.
	startsAt time.Time
	// short says that a race starts so soon that faults may keep a device from
	// being told.
	short bool
}

// event is a subject with its revisions, oldest first.
type event struct {
	subject
	user racing.UserID // whose devices are told; empty for everybody's
	revs []revision
}

// receipt is one message that a provider accepted.
type receipt struct {
	device   racing.DeviceID
	provider string
	seq      uint64 // in the order of acceptance at the provider
	nid      string
	tag      string
	collapse string
	title    string
	data     map[string]string
	at       time.Time
	// attempt counts the requests that the provider has seen for this message.
	attempt int
	// lost says that the stand-in kept the answer from the sender, on purpose.
	lost bool
	// code is not 0 when the provider dropped what it had accepted, as Ably does
	// above the account's rate.
	code int
}

// announcement is one revision of a subject on one device: what is expected, and
// what receipts are counted by. No id of the service's is in it.
type announcement struct {
	device racing.DeviceID
	subject
	rev int
}

// holder is a device and whose it is.
type holder struct {
	id   racing.DeviceID
	user racing.UserID
}

// oracle knows what must be received, because the world tells it just before it
// shows anything, and what was received, because the stand-ins tell it. It is
// safe for concurrent use.
type oracle struct {
	mu       sync.Mutex
	byTarget map[string]holder
	devices  []holder
	events   []*event
	index    map[subject]*event
	receipts map[announcement][]receipt
	stray    []stray
	last     time.Time
	accepted int
}

// stray is a receipt that belongs to no announcement.
type stray struct {
	receipt
	why string
}

func newOracle() *oracle {
	return &oracle{byTarget: map[string]holder{}, index: map[subject]*event{}, receipts: map[announcement][]receipt{}}
}

// activated says that a device is active from now on, reached at a target.
func (o *oracle) activated(user racing.UserID, d racing.Device) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := holder{d.ID, user}
	o.byTarget[d.Token] = h
	o.devices = append(o.devices, h)
}

// showing says that a revision is about to become visible.
func (o *oracle) showing(s subject, user racing.UserID, r revision) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.visible = time.Now()
	e := o.index[s]
	if e == nil {
		e = &event{subject: s, user: user}
		o.index[s] = e
		o.events = append(o.events, e)
	}
	e.revs = append(e.revs, r)
}

// acceptedByFCM takes what FCM's stand-in accepted.
func (o *oracle) acceptedByFCM(a fcm.Accepted) {
	o.take(a.Target(), receipt{
		provider: "fcm", seq: a.Seq, nid: a.NID, tag: a.Tag, collapse: a.CollapseID + a.CollapseKey, title: a.Title, data: a.Data,
		at: a.At, attempt: a.Attempt, lost: a.Fault.AfterAccept(),
	})
}

// acceptedByAbly takes what Ably's stand-in accepted for one device.
func (o *oracle) acceptedByAbly(a ably.Accepted) {
	o.take(a.Target(), receipt{
		provider: "ably", seq: a.Seq, nid: a.NID, tag: a.Tag, collapse: a.CollapseID + a.CollapseKey, title: a.Title, data: a.Data,
		at: a.At, attempt: a.Attempt, lost: a.Fault.AfterAccept(), code: a.Code,
	})
}

// take finds out what a message announces and to whom, by what its app sees.
func (o *oracle) take(target string, r receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = time.Now()
	o.accepted++
	refuse := func(why string) { o.stray = append(o.stray, stray{r, why}) }
	h, known := o.byTarget[target]
	if !known {
		refuse("unknown device")
		return
	}
	r.device = h.id
	s, ok := subjectOf(r.data)
	e := o.index[s]
	if !ok || e == nil {
		refuse("unknown subject")
		return
	}
	if e.user != "" && e.user != h.user {
		refuse("wrong device")
		return
	}
	rev := slices.IndexFunc(e.revs, func(v revision) bool { return v.shownBy(r.data) })
	if rev < 0 {
		refuse("unknown revision")
		return
	}
	a := announcement{h.id, s, rev}
	o.receipts[a] = append(o.receipts[a], r)
	slices.SortStableFunc(o.receipts[a], func(x, y receipt) int { return x.at.Compare(y.at) })
}

// subjectOf reads a message's link.
func subjectOf(data map[string]string) (subject, bool) {
	path, ok := strings.CutPrefix(data["link"], "app://")
	about, id, found := strings.Cut(path, "/")
	return subject{about, id}, ok && found && id != "" && (about == aboutBet || about == aboutRace)
}

// shownBy tells whether the data of a message are those of the revision.
func (r revision) shownBy(data map[string]string) bool {
	if !r.startsAt.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, data["starts_at"])
		return err == nil && at.Equal(r.startsAt)
	}
	payout, ok := racing.ParseMoney(data["payout"])
	return ok && payout == r.payout && data["outcome"] == string(r.outcome)
}

// concerns tells whether the holder's device is to be told of the event.
func (e *event) concerns(h holder) bool { return e.user == "" || e.user == h.user }

// missing counts what must still be received: the newest revision of each bet,
// and each race that has not started, on each device.
func (o *oracle) missing() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	now := time.Now()
	for _, e := range o.events {
		newest := len(e.revs) - 1
		if r := e.revs[newest]; !r.startsAt.IsZero() && now.After(r.startsAt) {
			continue
		}
		for _, h := range o.devices {
			if e.concerns(h) && len(o.receipts[announcement{h.id, e.subject, newest}]) == 0 {
				n++
			}
		}
	}
	return n
}

// quietSince returns when a provider last accepted anything.
func (o *oracle) quietSince() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
