package racing

import (
	"cmp"
	"slices"
	"time"
)

// Names of what excuses an announcement that was not accepted.
const (
	targetDead    = "target_dead"
	deactivated   = "deactivated"
	mutedCategory = "muted"
	superseded    = "superseded"
	expiredFault  = "expired_under_fault"
	changedHands  = "activation_in_flight" // either way is right
	toldAnother   = "told_another_user"    // a change, on a device that has since changed hands
)

// judgement collects what a judge finds about any number of subjects.
type judgement struct {
	now         time.Time
	final       bool // the run is over: what is not there now will never be
	tally       Tally
	latencies   []time.Duration
	outstanding map[UserID]int
	faulted     []Problem // race-soon that expired while the source or a provider failed
}

// judge judges one subject on every device that it may concern.
func (o *Oracle) judge(s *subject, j *judgement) {
	holders := o.order
	if s.user != "" {
		holders = o.byUser[s.user]
	}
	for _, h := range holders {
		o.judgeArrivals(s, h, j)
		for i := range s.revs {
			o.judgeRevision(s, h, i, j)
		}
	}
	if len(s.arrivals) == 0 || s.user == "" {
		return
	}
	for _, h := range o.order { // who never belonged to the user
		if !slices.Contains(holders, h) {
			for _, a := range s.arrivals[h.id] {
				j.problem(Unexpected, "foreign_user", s, h, a)
			}
		}
	}
}

// judgeArrivals looks at every accepted message of the subject on one device:
// was it wanted, is it a repeat, does it come too late?
func (o *Oracle) judgeArrivals(s *subject, h *holder, j *judgement) {
	newest := -1
	last := map[int]*arrival{}
	for _, a := range s.arrivals[h.id] {
		if name := o.improper(s, h, a, newest); name != "" {
			j.problem(Unexpected, name, s, h, a)
		}
		if before := last[a.rev]; before != nil {
			switch {
			case !before.push.AnswerLost:
				j.problem(Duplicate, "answered_before", s, h, a)
			case before.push.NID != a.push.NID || before.push.Tag != a.push.Tag || before.push.CollapseID != a.push.CollapseID:
				j.problem(Duplicate, "other_ids", s, h, a)
			default:
				j.tally.RepeatsAfterUnknown++
			}
		}
		last[a.rev] = a
		r := s.revs[a.rev]
		begun := a.push.Begun
		if begun.IsZero() {
			begun = a.push.At.Add(-o.cfg.Slack)
		}
		switch {
		case newest > a.rev:
			j.problem(Late, "after_newer_revision", s, h, a)
		case !r.expires.IsZero() && begun.After(r.expires):
			j.problem(Late, "after_start", s, h, a)
		}
		newest = max(newest, a.rev)
	}
}

// improper says why nobody should have sent the arrival, "" if it is proper.
// newest is the newest revision that the device had been told before, -1 if none.
func (o *Oracle) improper(s *subject, h *holder, a *arrival, newest int) string {
	r, at := s.revs[a.rev], a.push.At
	user := s.user
	if user == "" {
		// The owner when it fell due, or who came soon after.
		user, _ = h.owner(r.due)
		if user == "" || !h.heldAt(user, at, o.cfg.Grace) {
			user, _ = h.owner(at)
		}
	}
	if user == "" || !h.heldAt(user, at, o.cfg.Grace) {
		if other, _ := h.owner(at); other != "" && user != "" {
			return "foreign_user"
		}
		return "inactive_device"
	}
	if h.covers(user, r.due) == no && !h.joinedBetween(user, r.due, r.due.Add(o.cfg.Patience)) {
		return "activated_later"
	}
	told := newest >= 0 && newest < a.rev
	if r.what == whatChanged && !told && !o.mayHaveBeenTold(s, h, a.rev) {
		return "not_told"
	}
	// Where an answer may have been lost, a sender has to correct what it does
	// not know to have been told.
	mayCorrect := told || r.what != whatSoon && o.faulty() && o.mayHaveBeenTold(s, h, a.rev)
	if !mayCorrect && o.wishes[user].muted(r.category, at, o.cfg.Grace) == yes {
		return "muted"
	}
	return ""
}

// mayHaveBeenTold reports whether a revision before rev was due on the device,
// so that a sender may not know whether it got through.
func (o *Oracle) mayHaveBeenTold(s *subject, h *holder, rev int) bool {
	for _, r := range s.revs[:rev] {
		user, held := h.owner(r.due)
		if r.what != whatChanged && held != no && o.wishes[user].muted(r.category, r.due, o.cfg.Grace) != yes {
			return true
		}
	}
	return false
}

// faulty reports whether any fault has been injected.
func (o *Oracle) faulty() bool { return o.cfg.Strikes() != (Strikes{}) }

// judgeRevision decides what became of one revision on one device.
func (o *Oracle) judgeRevision(s *subject, h *holder, i int, j *judgement) {
	r := s.revs[i]
	if j.now.Before(r.due) {
		return
	}
	first, told := firstArrivals(s.arrivals[h.id], i)
	user, held := h.owner(r.due)
	if s.user != "" {
		user, held = s.user, h.covers(s.user, r.due)
	}
	since := r.due
	if r.what == whatChanged {
		if first == nil && told == nil {
			return // only those who were told hear of a change
		}
		if told != nil && told.push.At.After(since) {
			since = told.push.At
		}
	}
	if held == no {
		return // what arrived all the same is judged as an arrival
	}
	j.tally.Expected++
	if first != nil {
		j.tally.Accepted++
		j.latencies = append(j.latencies, max(0, first.push.At.Sub(since)))
		name := string(r.what) + "/default"
		if r.what != whatSoon {
			name = string(r.what) + "/" + cmp.Or(string(r.outcome), string(r.status), r.reason)
		}
		j.tally.Announced[name]++
		if r.what == whatSettled && told != nil {
			j.tally.CorrectionPushes++
		}
		return
	}
	excuse := o.excuse(s, h, i, user, held, since, told != nil)
	switch {
	case excuse == expiredFault || excuse == "" && !r.expires.IsZero() && !j.now.Before(r.expires):
		j.tally.Expired++
		if excuse == expiredFault {
			j.tally.Excluded[expiredFault]++
			return
		}
		p := Problem{Kind: LostPush, Name: "expired", At: r.expires, Device: h.id, Subject: s.key.id, Revision: i + 1}
		j.faulted = append(j.faulted, p)
	case excuse != "":
		j.tally.Excluded[excuse]++
	case !j.final:
		j.outstanding[user]++
	default:
		j.tally.add(Problem{Kind: LostPush, Name: "never_accepted", At: r.due, Device: h.id, Subject: s.key.id, Revision: i + 1})
	}
}

// firstArrivals returns the first arrival of revision rev, and the first of any
// older one.
func firstArrivals(arrivals []*arrival, rev int) (first, told *arrival) {
	for _, a := range arrivals {
		if a.rev == rev && first == nil {
			first = a
		}
		if a.rev < rev && told == nil {
			told = a
		}
	}
	return first, told
}

// excuse names what excuses that revision i was not accepted on the device, ""
// if nothing does.
func (o *Oracle) excuse(s *subject, h *holder, i int, user UserID, held truth, since time.Time, told bool) string {
	r := s.revs[i]
	until := since.Add(o.cfg.Patience)
	switch {
	case held == maybe:
		return changedHands
	case r.what == whatChanged && !o.toldTo(s, h, i, user):
		return toldAnother
	case h.dead(since, until):
		return targetDead
	case h.leftBetween(user, r.due, until):
		return deactivated
	// A correction changes what was told, whatever has been muted since.
	case (!told || r.what != whatSettled) && o.wishes[user].mutedWithin(r.category, r.due, until):
		return mutedCategory
	case i+1 < len(s.revs) && !s.revs[i+1].due.After(until):
		return superseded
	case !r.expires.IsZero() && r.ended > r.source+3 && !o.anyArrival(s, i):
		return expiredFault // the row could not be read: nobody got it
	}
	return ""
}

// toldTo reports whether a revision before rev arrived on the device while the
// user held it. Who takes a device over has not been told what its former user
// was, and may or may not hear of a change of it.
func (o *Oracle) toldTo(s *subject, h *holder, rev int, user UserID) bool {
	return slices.ContainsFunc(s.arrivals[h.id], func(a *arrival) bool {
		return a.rev < rev && h.heldAt(user, a.push.At, o.cfg.Grace)
	})
}

// anyArrival reports whether revision i reached any device.
func (o *Oracle) anyArrival(s *subject, i int) bool {
	for _, list := range s.arrivals {
		if first, _ := firstArrivals(list, i); first != nil {
			return true
		}
	}
	return false
}

// problem counts what is wrong with an arrival.
func (j *judgement) problem(kind ProblemKind, name string, s *subject, h *holder, a *arrival) {
	j.tally.add(Problem{
		Kind: kind, Name: name, At: a.push.At, Device: h.id, Subject: s.key.id, Revision: a.rev + 1, Title: a.push.Title,
	})
}
