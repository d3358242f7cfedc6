package notifier

import "sync/atomic"

// Rules are the rules in force: one RuleSet at a time, exchanged as a whole.
// All methods may be called concurrently.
//
// Whoever needs several rules, or a rule and the generation that it belongs to,
// takes them from one Set: the next call may see another one.
type Rules struct{ now atomic.Pointer[inForce] }

// inForce is a set and the word that it is not in force any more.
type inForce struct {
	set      *RuleSet
	replaced chan struct{} // closed when another set is in force
}

// NewRules returns Rules with a first set, which must not be nil.
func NewRules(set *RuleSet) *Rules {
	r := &Rules{}
	r.now.Store(&inForce{set: set, replaced: make(chan struct{})})
	return r
}

// Set returns the set in force.
func (r *Rules) Set() *RuleSet { return r.now.Load().set }

// All returns the rules in force in the order of their sources. The slice is the caller's.
func (r *Rules) All() []*Rule { return r.Set().All() }

// Get returns the rule of that id in force.
func (r *Rules) Get(id string) (*Rule, bool) { return r.Set().Get(id) }

// Replace puts a set in force, which must not be nil. It reports whether
// anything has changed: a set of the same generation leaves everything as it is.
//
// Ticks that are under way end with the rule that they began with, and those
// that follow have the new one. What is queued is rendered with the rule that is
// in force when its turn comes; when that is gone, it is cancelled.
func (r *Rules) Replace(set *RuleSet) bool {
	next := &inForce{set: set, replaced: make(chan struct{})}
	for {
		old := r.now.Load()
		if old.set.Generation() == set.Generation() {
			return false
		}
		if r.now.CompareAndSwap(old, next) {
			close(old.replaced)
			return true
		}
	}
}
