package racing

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// ProblemKind is what a Problem counts as.
type ProblemKind string

// The kinds of problems.
const (
	LostPush   ProblemKind = "lost"
	Duplicate  ProblemKind = "duplicate"
	Late       ProblemKind = "late"
	Unexpected ProblemKind = "unexpected"
)

// Problem is one thing that went wrong on one device.
type Problem struct {
	Kind ProblemKind
	// Name says which way, in a closed set of words.
	Name     string
	At       time.Time
	Device   DeviceID
	Subject  string // the bet's or the race's id
	Revision int    // from 1; 0 if unknown
	Title    string // of the message, if there was one
}

// String returns one line for the operator of a sandbox.
func (p Problem) String() string {
	return fmt.Sprintf("%s %s (%s): %s revision %d on %s %q",
		p.At.Format("15:04:05.000"), p.Kind, p.Name, p.Subject, p.Revision, p.Device, p.Title)
}

// Tally is the oracle's verdict on a run. Expected = Accepted + the sum of
// Excluded + Lost + Outstanding.
type Tally struct {
	// Expected counts announcements due, one per device and revision.
	Expected int
	// Accepted counts those that a provider accepted, repeats not counted.
	Accepted int
	// Excluded counts by name those that were not accepted, rightly.
	Excluded map[string]int
	// Outstanding counts those that may still come; 0 in a final tally.
	Outstanding int
	Lost        int
	Duplicates  int
	Late        int
	Unexpected  int
	// Expired counts announcements that ran out before a provider accepted them.
	Expired int
	// RepeatsAfterUnknown counts repeats that a provider's lost answer caused.
	RepeatsAfterUnknown int
	// Announced counts accepted announcements by rule and variant.
	Announced map[string]int
	// CorrectionPushes counts accepted announcements that replaced an older
	// revision of a bet on the same device.
	CorrectionPushes int
	// Received counts accepted messages by provider, repeats included, without
	// those that the provider then reported to have failed.
	Received map[string]int
	// AcceptedForDead counts messages that a provider accepted for a target that
	// was dead, and that nobody saw. What they announced is excluded.
	AcceptedForDead int
	// Reasons counts problems by "kind/name".
	Reasons map[string]int
	// Problems holds the first hundred problems.
	Problems []Problem
	// P50, P95 and P99 are quantiles of the time from due to accepted.
	P50, P95, P99 time.Duration
}

// Clean reports whether nothing went wrong.
func (t *Tally) Clean() bool {
	return t.Lost == 0 && t.Duplicates == 0 && t.Late == 0 && t.Unexpected == 0
}

// String returns the line that a sandbox ends with.
func (t *Tally) String() string {
	s := fmt.Sprintf("lost %d · duplicates %d · late %d", t.Lost, t.Duplicates, t.Late)
	if t.Unexpected > 0 {
		s += fmt.Sprintf(" · unexpected %d", t.Unexpected)
	}
	return s
}

const keptProblems = 100

func (t *Tally) add(p Problem) {
	switch p.Kind {
	case LostPush:
		t.Lost++
	case Duplicate:
		t.Duplicates++
	case Late:
		t.Late++
	case Unexpected:
		t.Unexpected++
	}
	t.Reasons[string(p.Kind)+"/"+p.Name]++
	if len(t.Problems) < keptProblems {
		t.Problems = append(t.Problems, p)
	}
}

func newJudgement(final bool) *judgement {
	return &judgement{
		now: time.Now(), final: final, outstanding: map[UserID]int{},
		tally: Tally{Excluded: map[string]int{}, Announced: map[string]int{}, Received: map[string]int{}, Reasons: map[string]int{}},
	}
}

// Tally judges everything so far. A final tally takes what is not there for
// lost; the other one gives it time.
func (o *Oracle) Tally(final bool) Tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := newJudgement(final)
	for _, s := range o.history {
		o.judge(s, j)
	}
	for _, p := range o.stray {
		j.tally.add(p)
	}
	o.excuseExpired(j)
	for _, n := range j.outstanding {
		j.tally.Outstanding += n
	}
	maps.Copy(j.tally.Received, o.received)
	j.tally.AcceptedForDead = o.toDead
	slices.Sort(j.latencies)
	j.tally.P50, j.tally.P95, j.tally.P99 = quantile(j.latencies, 50), quantile(j.latencies, 95), quantile(j.latencies, 99)
	return j.tally
}

// excuseExpired divides what expired into what a provider's faults explain and
// what was lost. A fault struck a message that was accepted later, or one that
// never was: no more expiries are excused than there are strikes left over.
func (o *Oracle) excuseExpired(j *judgement) {
	struck := o.cfg.Strikes().Provider
	for _, n := range o.refused {
		struck -= min(struck, uint64(max(0, n)))
	}
	for _, p := range j.faulted {
		if struck == 0 {
			j.tally.add(p)
			continue
		}
		struck--
		j.tally.Excluded[expiredFault]++
	}
}

// quantile returns the smallest value that p percent of the sorted values do
// not exceed; 0 if there are none.
func quantile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// Outstanding counts what may still have to be accepted, by user: of the
// subjects that changed within twice the patience.
func (o *Oracle) Outstanding() map[UserID]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := newJudgement(false)
	recent := j.now.Add(-2 * o.cfg.Patience)
	for _, s := range slices.Backward(o.history) {
		if len(s.revs) == 0 {
			continue
		}
		// No subject changes for longer than that, and history is in order.
		if s.revs[0].due.Before(recent.Add(-10 * time.Minute)) {
			break
		}
		if s.revs[len(s.revs)-1].due.After(recent) {
			o.judge(s, j)
		}
	}
	return j.outstanding
}

// LastPush returns when the last message was accepted, zero if none was.
func (o *Oracle) LastPush() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lastPush
}
