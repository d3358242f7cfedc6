package notifier

import (
	"context"
	"time"
)

// RunID names a run.
type RunID int64

// RunState is where a run stands.
type RunState string

// The states of a run. Reading and Held are the only ones that end.
const (
	RunReading   RunState = "reading"
	RunReleased  RunState = "released"
	RunHeld      RunState = "held"
	RunDiscarded RunState = "discarded"
	RunFailed    RunState = "failed"
)

// RunStates lists the states of a run.
func RunStates() []RunState {
	return []RunState{RunReading, RunReleased, RunHeld, RunDiscarded, RunFailed}
}

// Run is what one tick of a rule does.
type Run struct {
	ID     RunID
	Rule   string
	TickAt time.Time
	// Owner is the replica that runs it; with the state it is the fence of every later step.
	Owner string
	// Lease is how long the run may stay without a sign of life; every step renews it.
	Lease time.Duration
	RunWindow
	// Position is where the rule's watermark stands; rows that arrived before it have been read.
	Position time.Time
}

// Progress is how far a rule has read, by arrival time.
type Progress struct {
	// Identity is the rule's identity when its rows were last taken as known.
	Identity string
	// StartAt is the bound below which nothing is ever read.
	StartAt  time.Time
	Position time.Time
	SweptAt  time.Time
}

// RunWindow is what a run has to read.
type RunWindow struct {
	// Since and Until bound the arrival times, Since included and Until not.
	Since, Until time.Time
	// StartAt is the rule's lower bound from this run on.
	StartAt time.Time
	// Baseline runs take as known what had arrived before the watermark, or whatever they read when
	// the rule has none, and announce nothing of it.
	Baseline bool
	// Sweep runs read once more what arrived since SweepSince, after the news.
	Sweep      bool
	SweepSince time.Time
}

// PlanRun decides what the run of a rule has to read, up to the time until. known
// is nil for a rule that has never run.
//
// A rule that was never run starts at its start (by default this tick), so that
// a fresh database does not announce history. A rule whose key, version or order
// has changed takes what it reads as known once, because all of it would look new.
func PlanRun(rule *Rule, known *Progress, until time.Time) RunWindow {
	w := RunWindow{Until: until}
	if known == nil {
		start := rule.Start
		if start.IsZero() || start.After(until) {
			start = until
		}
		w.Since, w.StartAt = start, start
		return w
	}
	w.StartAt, w.Baseline = known.StartAt, known.Identity != rule.Identity
	// A clock that was ahead and has gone back leaves the watermark ahead; what arrives now
	// arrives behind it.
	w.Since = earlier(known.Position, until)
	if rule.Watermark != nil {
		w.Since = w.Since.Add(-rule.Watermark.Lookback)
	}
	if w.Since.Before(w.StartAt) {
		w.Since = w.StartAt
	}
	if rule.Sweep != nil && !w.Baseline && until.Sub(known.SweptAt) >= rule.Sweep.Every {
		w.Sweep, w.SweepSince = true, until.Add(-rule.Sweep.Lookback)
		if w.SweepSince.Before(w.StartAt) {
			w.SweepSince = w.StartAt
		}
	}
	if w.Baseline {
		w.StartAt = w.Since
	}
	return w
}

// Slices cuts the window so that no slice is longer than maxWindow (0: one slice).
// A window that is empty has no slices.
func (w RunWindow) Slices(maxWindow time.Duration) []Window {
	return cutWindow(w.Until, w.Since, w.Until, maxWindow)
}

// SweepSlices cuts what a sweep reads beyond the news in the same way.
func (w RunWindow) SweepSlices(maxWindow time.Duration) []Window {
	if !w.Sweep {
		return nil
	}
	return cutWindow(w.Until, w.SweepSince, w.Since, maxWindow)
}

func cutWindow(now, since, until time.Time, maxWindow time.Duration) []Window {
	var out []Window
	for since.Before(until) {
		end := until
		if maxWindow > 0 && end.Sub(since) > maxWindow {
			end = since.Add(maxWindow)
		}
		out = append(out, Window{Now: now, Since: since, Until: end})
		since = end
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// BeginRun asks for the run of one rule at one tick.
type BeginRun struct {
	Rule       string
	Identity   string
	TickAt     time.Time
	Generation string
	Owner      string
	// Lease is how long the run may stay without a sign of life before another replica may fail it.
	Lease time.Duration
	// By is the operator who asked for the run, and goes into the audit; zero for the schedule.
	By Actor
	// Plan decides the window from the rule's progress, nil for a rule that has never run, and from
	// the present time by the ledger's clock.
	Plan func(known *Progress, now time.Time) RunWindow
}

// LastRun is what is known of the newest run of a rule; zero for a rule that has none.
type LastRun struct {
	TickAt time.Time
	// Failures counts the runs that failed in a row, the newest one included.
	Failures int
	// EndedAt is when the newest one ended; zero while it is running.
	EndedAt time.Time
}

// Again returns the tick at which a failed run is tried again, the same on every
// replica; zero when the newest run did not fail.
func (l LastRun) Again() time.Time {
	if l.Failures == 0 {
		return time.Time{}
	}
	return l.EndedAt.Add(runRetry(l.Failures)).UTC().Truncate(time.Second)
}

// Chunk is a part of what a run has read.
type Chunk struct {
	// Rows is how many rows were read for it.
	Rows   int
	Drafts []Draft
	Bad    []BadRowRead
}

// BadRowRead is a row that no notification could be made of.
type BadRowRead struct {
	Row Row
	Err *BadRow
}

// StageResult says what became of a chunk.
type StageResult struct {
	// New counts first and later versions that were written down.
	New int
	// Adopted counts versions that a failed run had staged and this run takes over.
	Adopted int
	// Renewed counts known versions that are news again, because another rule of the thread has said
	// something else meanwhile; they are counted as new as well.
	Renewed int
	// Provisional counts new versions that are held until they are confirmed; they are counted as new
	// as well.
	Provisional int
	// Confirmed counts versions that were held and whose hold a row has ended.
	Confirmed int
	// Withdrawn counts versions that were held when a newer one took their place: nobody was told.
	Withdrawn int
	// Stale counts rows that were older than the version that is known.
	Stale int
	// Swept counts new versions that arrived before the lookback, so that only the sweep could find them.
	Swept int
	// Bad counts rows without a notification.
	Bad int
}

// Release says how a run ended.
type Release struct {
	State RunState
	// Notifications counts what was released or held.
	Notifications int
	// Provisional counts those of them that wait to be confirmed.
	Provisional int
	// Planned counts the deliveries that the run would make, up to one more than the rule's limit:
	// a held run would make at least so many. It is 0 when the rule has no limit.
	Planned int
	// Limit is the one that counted, by the rule itself or its history; 0 for none.
	Limit int
}

// RunLedger writes down what runs do.
//
// Every method but Begin is fenced: it returns ErrRunLost and changes nothing
// when the run is no longer this owner's.
type RunLedger interface {
	// LastRun returns the newest run of the rule.
	LastRun(ctx context.Context, rule string) (LastRun, error)
	// FailLapsed fails every running run whose lease has lapsed, whose replica must be gone, and
	// names their rules.
	FailLapsed(ctx context.Context) (rules []string, err error)
	// Begin starts the run unless this tick has one already or another run of the rule is still
	// running; then it returns false. It fails a running run whose lease has lapsed. In the same
	// transaction it returns ErrRulePaused while an operator has paused the rule, ErrOtherRules
	// while another replica has newer rules, and an *EarlyTickError for a tick to come.
	Begin(ctx context.Context, req BeginRun) (Run, bool, error)
	// Renew says that the run is alive. Every other step does so too.
	Renew(ctx context.Context, run Run) error
	// Stage writes a chunk down in one transaction: the newest row per key wins, known versions
	// change nothing.
	Stage(ctx context.Context, run Run, rule *Rule, c Chunk) (StageResult, error)
	// Advance moves the rule's watermark from where it stands to a later time. What the run has
	// staged so far is released by the next run that finishes, whichever that is: its rows are
	// not read again.
	Advance(ctx context.Context, run Run, from, to time.Time) error
	// Finish ends a run that has read everything: what it staged is released, or held when it
	// would make more deliveries than the rule allows. It returns ErrRulePaused, in the same
	// transaction, when an operator has paused the rule since Begin: nothing is released then.
	Finish(ctx context.Context, run Run, rule *Rule) (Release, error)
	// Fail ends a run that could not read everything. What it staged since its last Advance waits
	// for the next run that reads the same rows; the watermark stays.
	Fail(ctx context.Context, run Run, reason string) error
}

// Ordered tells whether the rule says which of two versions is newer. Without
// an order, the version read last is the newest.
func (r *Rule) Ordered() bool { return r.order != "" }
