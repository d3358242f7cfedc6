package notifier

import (
	"context"
	"time"
)

// DefaultRetention is how long is kept what has ended, when nothing is said about it.
const DefaultRetention = 30 * 24 * time.Hour

// Retention says how long the ledger keeps what has ended.
type Retention struct {
	// Deliveries is how long finished deliveries are kept with their attempts, and the
	// notifications that they were made of. Zero means DefaultRetention.
	Deliveries time.Duration
	// Runs is how long finished runs and bad rows are kept. Zero means DefaultRetention.
	Runs time.Duration
}

func (r Retention) withDefaults() Retention {
	if r.Deliveries == 0 {
		r.Deliveries = DefaultRetention
	}
	if r.Runs == 0 {
		r.Runs = DefaultRetention
	}
	return r
}

// KeyClock is the time against which the age of a rule's keys is measured. A key
// counts as unseen only while its rule has been reading: an outage or a pause
// makes nothing forgotten.
type KeyClock string

// The clocks of keys.
const (
	// ClockWatermark is the rule's watermark: what arrived long before it is not read again.
	ClockWatermark KeyClock = "watermark"
	// ClockTick is the newest tick whose run has read everything.
	ClockTick KeyClock = "tick"
	// ClockNow is the time now, for a rule that is not in force and reads nothing.
	ClockNow KeyClock = "now"
)

// KeyMemory says how long the keys of a rule are remembered.
type KeyMemory struct {
	Rule string
	// Generation is that of the rules that say so: nothing is forgotten while others are in force.
	Generation string
	Clock      KeyClock
	// Keep is how long a key is remembered after a row of it was last read.
	Keep time.Duration
}

// memory returns how long the keys of a rule are remembered that the set may have
// or not.
//
// A key outlives its deliveries, so that none is left without its notification,
// and then lasts as long as a poll or a sweep reaches back, and as forget_after
// asks for.
func (r Retention) memory(id string, rules *RuleSet) KeyMemory {
	m := KeyMemory{Rule: id, Generation: rules.Generation(), Clock: ClockNow, Keep: r.Deliveries}
	rule, ok := rules.Get(id)
	if !ok {
		return m
	}
	m.Clock, m.Keep = ClockTick, max(m.Keep, rule.ForgetAfter)
	if w := rule.Watermark; w != nil {
		m.Clock, m.Keep = ClockWatermark, max(m.Keep, w.Lookback)
	}
	if s := rule.Sweep; s != nil {
		m.Keep = max(m.Keep, s.Lookback)
	}
	return m
}

// Removed counts the rows that were removed.
type Removed struct {
	Deliveries, Attempts, Notifications, InboxReads, Runs, BadRows, Frequency int
	// More says that the step was full: there may be more to remove.
	More bool
}

// removedFrom is one table and how many rows were removed from it.
type removedFrom struct {
	table string
	rows  int
}

func (r Removed) tables() []removedFrom {
	return []removedFrom{
		{"deliveries", r.Deliveries},
		{"attempts", r.Attempts},
		{"notifications", r.Notifications},
		{"inbox_reads", r.InboxReads},
		{"runs", r.Runs},
		{"bad_rows", r.BadRows},
		{"frequency", r.Frequency},
	}
}

func (r *Removed) add(o Removed) {
	r.Deliveries += o.Deliveries
	r.Attempts += o.Attempts
	r.Notifications += o.Notifications
	r.InboxReads += o.InboxReads
	r.Runs += o.Runs
	r.BadRows += o.BadRows
	r.Frequency += o.Frequency
}

// RetentionLedger removes what has ended. Each method but the first is one step
// in one short transaction, of at most limit rows (attempts come on top of their
// deliveries). Rows that somebody else holds are passed over, so that several
// replicas may do it at once. The audit is never touched.
type RetentionLedger interface {
	// RulesOnRecord lists every rule that has ever run, whether in force or not.
	RulesOnRecord(ctx context.Context) ([]string, error)
	// RemoveDeliveries removes deliveries that finished longer than keep ago, oldest first, and
	// their attempts.
	RemoveDeliveries(ctx context.Context, keep time.Duration, limit int) (Removed, error)
	// RemoveReplaced removes versions older than keep that a newer one has replaced and of which
	// no delivery is left, and what says that users have read them.
	RemoveReplaced(ctx context.Context, keep time.Duration, limit int) (Removed, error)
	// ForgetKeys removes the latest versions of keys that no read of the rule can show again: no
	// delivery and no older version is left, they have expired, and they have not been seen for
	// as long as m says. What arrived before is never read again, whatever becomes of the rule.
	ForgetKeys(ctx context.Context, m KeyMemory, limit int) (Removed, error)
	// RemoveRuns removes runs of a rule that finished longer than keep ago, but never its newest,
	// nor one that reads or is held.
	RemoveRuns(ctx context.Context, rule string, keep time.Duration, limit int) (Removed, error)
	// RemoveBadRows removes bad rows that were last read longer than keep ago.
	RemoveBadRows(ctx context.Context, keep time.Duration, limit int) (Removed, error)
	// RemoveFrequency removes what caps of frequency decided longer than keep ago.
	RemoveFrequency(ctx context.Context, keep time.Duration, limit int) (Removed, error)
}
