package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the judge allows.
const (
	// slack is between what the service knows when it begins a send and what a
	// provider's clock says when it accepts: half of the latency, and a little.
	slack = 250 * time.Millisecond
	// leaseLapse is how long a delivery can wait for the lease of a replica that is
	// gone: the lease of 60 s, and the 5 s between two looks for lapsed ones.
	leaseLapse = 65 * time.Second
	// untouchedBound is for a settlement that nothing has struck: no fault found
	// it in flight, and the provider took its first request. It waits for the run
	// of a replica that died reading (its lease is 20 s), twice perhaps, for reads
	// that failed, and for a breaker that other messages have opened (10 s).
	untouchedBound = 90 * time.Second
	// struckBound is for the others, and for each fault that found it in flight
	// leaseLapse comes on top. A stand-in strikes a message twice: that is a 429
	// without Retry-After (66 s), a lost answer (15 s), and the second wait (24 s).
	struckBound = 120 * time.Second
	// sendLasts is the longest that a request is under way: the send timeout, 15 s,
	// and what a busy machine adds.
	sendLasts = 20 * time.Second
)

// problemKind is what went wrong.
type problemKind string

// The kinds of problems.
const (
	problemLost      problemKind = "lost"
	problemRepeat    problemKind = "unexplained repeat"
	problemOverLimit problemKind = "repeat over the in-flight limit"
	problemIDs       problemKind = "other replacement ids"
	problemLate      problemKind = "late"
	problemOrder     problemKind = "older after newer"
	problemStray     problemKind = "unexpected"
)

// problem is one thing that went wrong on one device.
type problem struct {
	kind problemKind
	announcement
	detail string
	// receipts are those of the announcement.
	receipts []receipt
}

// verdict is what the judge finds.
type verdict struct {
	// expected = received + dropped + superseded + expired + lost.
	expected, received, lost int
	superseded, expired      int
	dropped                  int // by Ably, above the account's rate
	repeats, lostAnswers     int
	inFlight                 int
	late                     int
	lateAfterStop            int // by a process that was stopped between its last check and its send
	problems                 []problem
	latencies                []time.Duration // of settlements, from visible to first accepted
}

// latency returns what p percent of the latencies do not exceed; 0 for none.
func (v verdict) latency(p int) time.Duration {
	if len(v.latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(v.latencies))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// count counts the problems of the kinds.
func (v verdict) count(kinds ...problemKind) int {
	n := 0
	for _, p := range v.problems {
		if slices.Contains(kinds, p.kind) {
			n++
		}
	}
	return n
}

// judge compares what was received with what had to be. limit is how many
// messages a replica can have in flight.
type judge struct {
	oracle    *oracle
	incidents []incident
	limit     int
	now       time.Time

	verdict verdict
	// excused counts the repeats that nothing but an incident explains, by
	// incident and owner.
	excused map[excuse]int
}

type excuse struct {
	incident int
	owner    string
}

// decide judges everything.
func (j judge) decide() verdict {
	o := j.oracle
	o.mu.Lock()
	defer o.mu.Unlock()
	j.excused = map[excuse]int{}
	for _, i := range j.incidents {
		j.verdict.inFlight += i.inFlight()
	}
	for _, e := range o.events {
		for _, h := range o.devices {
			if !e.concerns(h) {
				continue
			}
			for rev := range e.revs {
				j.announcement(e, announcement{h.id, e.subject, rev})
			}
			j.thread(e, h)
		}
	}
	for _, s := range o.stray {
		j.problem(problemStray, announcement{device: s.device}, []receipt{s.receipt}, "%s", s.why)
	}
	return j.verdict
}

func (j *judge) problem(kind problemKind, a announcement, rs []receipt, format string, args ...any) {
	j.verdict.problems = append(j.verdict.problems, problem{kind, a, fmt.Sprintf(format, args...), rs})
}

// announcement judges one revision on one device.
func (j *judge) announcement(e *event, a announcement) {
	v, rev, rs := &j.verdict, e.revs[a.rev], j.oracle.receipts[a]
	v.expected++
	switch {
	case slices.ContainsFunc(rs, func(r receipt) bool { return r.code == 0 }):
		v.received++
	case len(rs) > 0:
		v.dropped++
	case a.rev < len(e.revs)-1:
		v.superseded++ // a newer one took its place before it was sent
	case rev.short && !j.now.Before(rev.startsAt):
		v.expired++
	default:
		v.lost++
		j.problem(problemLost, a, nil, "visible since %s and never accepted", clock(rev.visible))
	}
	if len(rs) == 0 {
		return
	}
	j.repeats(a, rs)
	j.punctual(a, rev, rs)
}

// repeats looks for the reason of each acceptance but the first.
func (j *judge) repeats(a announcement, rs []receipt) {
	used := map[int]bool{}
	for n, r := range rs {
		if r.lost {
			j.verdict.lostAnswers++
		}
		if n == 0 {
			continue
		}
		before := rs[n-1]
		j.verdict.repeats++
		switch {
		case r.nid != before.nid || r.tag != before.tag || r.collapse != before.collapse:
			j.problem(problemIDs, a, rs, "nid, tag, collapse id %q after %q",
				[]string{r.nid, r.tag, r.collapse}, []string{before.nid, before.tag, before.collapse})
		case before.lost: // the sender could not know
		default:
			j.excuse(a, rs, n, used)
		}
	}
}

// excuse looks for an incident that explains the n-th receipt: it had the
// delivery in flight, the acceptance before is one of which the sender may not
// have heard for that reason, and no other repeat of it has the same excuse.
func (j *judge) excuse(a announcement, rs []receipt, n int, used map[int]bool) {
	before, r := rs[n-1], rs[n]
	for i, inc := range j.incidents {
		owner, ok := inc.holder(pair{r.nid, a.device})
		if !ok || used[i] || r.at.Before(inc.began) || before.at.After(inc.unheard()) {
			continue
		}
		used[i] = true
		x := excuse{i, owner}
		if j.excused[x]++; j.excused[x] > j.limit {
			j.problem(problemOverLimit, a, rs, "%d repeats after %s, whose replica has %d places in flight", j.excused[x], inc.what, j.limit)
		}
		return
	}
	j.problem(problemRepeat, a, rs, "accepted at %s and %s, and the answer of the first one was not lost", clock(before.at), clock(r.at))
}

// holder returns the owner that had the delivery in flight.
func (i incident) holder(p pair) (string, bool) {
	for owner, flight := range i.flights {
		if flight[p] {
			return owner, true
		}
	}
	return "", false
}

// unheard returns until when an acceptance may come of a request of which the
// incident keeps its sender from hearing, or from writing it down.
func (i incident) unheard() time.Time {
	if i.kind == faultKill {
		return i.began.Add(2 * time.Second) // what was on the wire still arrives
	}
	return i.ended.Add(sendLasts)
}

// punctual judges when an announcement was accepted.
func (j *judge) punctual(a announcement, rev revision, rs []receipt) {
	if rev.startsAt.IsZero() {
		first := rs[0]
		took := first.at.Sub(rev.visible)
		j.verdict.latencies = append(j.verdict.latencies, took)
		took -= j.outage(rev.visible, first.at)
		bound := untouchedBound
		flights := 0
		for _, inc := range j.incidents {
			if _, ok := inc.holder(pair{first.nid, a.device}); ok && !inc.began.After(first.at) {
				flights++
			}
		}
		if flights > 0 || first.attempt > 1 {
			bound = struckBound + time.Duration(flights)*leaseLapse
		}
		if took > bound {
			j.verdict.late++
			j.problem(problemLate, a, rs, "accepted %v after it was visible, more than %v", took.Round(time.Millisecond), bound)
		}
		return
	}
	for _, r := range rs {
		switch {
		case !r.at.After(rev.startsAt.Add(slack)):
		case j.wasStopped(a, r, rev.startsAt):
			j.verdict.lateAfterStop++
		default:
			j.verdict.late++
			j.problem(problemLate, a, rs, "accepted at %s, and the race started at %s", clock(r.at), clock(rev.startsAt))
		}
	}
}

// outage returns how much of a time nothing could be sent in.
func (j *judge) outage(from, to time.Time) time.Duration {
	var sum time.Duration
	reached := from
	for _, inc := range j.incidents { // in the order of their beginning
		if !inc.outage {
			continue
		}
		begin, end := inc.began, inc.ended
		if begin.Before(reached) {
			begin = reached
		}
		if end.After(to) {
			end = to
		}
		if end.After(begin) {
			sum += end.Sub(begin)
			reached = end
		}
	}
	return sum
}

// wasStopped tells whether a receipt came from a process that was stopped before
// a moment, with the delivery in flight, and continued just before the receipt:
// no check that a process makes before it sends can see the time that it is
// about to lose.
func (j *judge) wasStopped(a announcement, r receipt, moment time.Time) bool {
	return slices.ContainsFunc(j.incidents, func(inc incident) bool {
		_, ok := inc.holder(pair{r.nid, a.device})
		return ok && inc.kind != faultKill && !inc.began.After(moment) &&
			!r.at.Before(inc.ended.Add(-slack)) && r.at.Before(inc.ended.Add(2*time.Second))
	})
}

// thread judges what a device has got of one event as a whole: the same tag and
// collapse id, so that everything replaces what came before; notification ids
// that grow with the revisions; and nothing older after something newer.
func (j *judge) thread(e *event, h holder) {
	type arrival struct {
		announcement
		receipt
	}
	var all []arrival
	for rev := range e.revs {
		a := announcement{h.id, e.subject, rev}
		for _, r := range j.oracle.receipts[a] {
			all = append(all, arrival{a, r})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	newest := 0
	for n, x := range all {
		if n == 0 {
			newest = x.rev
			continue
		}
		first := all[0]
		switch {
		case x.rev == first.rev: // judged as a repeat
		case x.tag != first.tag || x.collapse != first.collapse:
			j.problem(problemIDs, x.announcement, []receipt{first.receipt, x.receipt}, "tag or collapse id differ between revisions")
		case !sameSign(compareIDs(x.nid, first.nid), x.rev-first.rev):
			j.problem(problemIDs, x.announcement, []receipt{first.receipt, x.receipt}, "notification ids do not grow with the revisions")
		}
		if x.rev < newest {
			if j.wasStopped(x.announcement, x.receipt, x.at) {
				j.verdict.lateAfterStop++
			} else {
				j.problem(problemOrder, x.announcement, []receipt{first.receipt, x.receipt}, "revision %d accepted after revision %d", x.rev+1, newest+1)
			}
		}
		newest = max(newest, x.rev)
	}
}

func sameSign(a, b int) bool { return a > 0 == (b > 0) && a < 0 == (b < 0) }

// compareIDs compares decimal numbers of any length; what is none compares as text.
func compareIDs(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(a, b)
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// String names an announcement for people.
func (a announcement) String() string {
	if a.id == "" {
		return "device " + cmp.Or(string(a.device), "unknown")
	}
	return fmt.Sprintf("%s %s revision %d on device %s", a.about, a.id, a.rev+1, a.device)
}
