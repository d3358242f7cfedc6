package notifier

import (
	"iter"
	"maps"
	"slices"
)

// RuleSource is one rule file.
type RuleSource struct {
	// Name stands before the path of every error in this source; empty for none.
	Name string
	// YAML is the text, at most 1 MiB.
	YAML []byte
}

// RuleSet is all the rules of a service, compiled and checked as a whole. It
// never changes; the zero value is an empty set.
type RuleSet struct {
	rules      []*Rule
	byID       map[string]*Rule
	generation string
}

// All returns the rules in the order of their sources. The slice is the caller's.
func (s *RuleSet) All() []*Rule { return slices.Clone(s.rules) }

// Get returns the rule of that id.
func (s *RuleSet) Get(id string) (*Rule, bool) {
	r, ok := s.byID[id]
	return r, ok
}

// Generation returns a hash over the definition of all rules. The order of the
// rules, comments and layout do not count; everything that a rule says does.
func (s *RuleSet) Generation() string { return s.generation }

// Categories returns every category that some rule uses, sorted.
func (s *RuleSet) Categories() []string {
	return sortedUnique(func(yield func(string) bool) {
		for _, r := range s.rules {
			for _, c := range r.Categories() {
				if !yield(c) {
					return
				}
			}
		}
	})
}

func newRuleSet(rules []*Rule) *RuleSet {
	s := &RuleSet{rules: rules, byID: make(map[string]*Rule, len(rules))}
	for _, r := range rules {
		s.byID[r.ID] = r
	}
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		parts = append(parts, string(s.byID[id].canonicalRuleText))
	}
	s.generation = shortHash(16, parts...)
	for _, r := range rules {
		r.generation = s.generation
	}
	return s
}

func sortedUnique(seq iter.Seq[string]) []string {
	return slices.Compact(slices.Sorted(seq))
}
