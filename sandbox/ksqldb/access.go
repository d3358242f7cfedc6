package ksqldb

import "slices"

// maxDisjuncts bounds the normal form. A WHERE clause beyond it counts as a
// table scan, which it would be anyway.
const maxDisjuncts = 1024

// checkAccess does what the server's planner does to decide between a key
// lookup, a range scan and a table scan: it refuses a WHERE clause that would
// need a scan that is turned off, and window bounds that make no sense (ksqlDB:
// QueryFilterNode).
func checkAccess(where expr, src *source, opts planOptions) error {
	if err := checkBounds(where); err != nil {
		return err
	}
	disjuncts, ok := normalForm(where)
	if !ok {
		return scan(opts, "Only AND expressions are supported")
	}
	for _, atoms := range disjuncts {
		if why := needsScan(atoms, src); why != "" {
			return scan(opts, why)
		}
	}
	for _, atoms := range disjuncts {
		if err := checkKeyed(atoms, src, opts, len(disjuncts)); err != nil {
			return err
		}
	}
	return nil
}

// scan accepts a table scan or says why it would be needed.
func scan(opts planOptions, why string) error {
	if opts.tableScan {
		return nil
	}
	return refuse("%s. Pull queries require a WHERE clause that includes a key equality expression, "+
		"unless table scans are enabled by setting ksql.query.pull.table.scan.enabled=true.", why)
}

// checkBounds refuses <> on the window bounds.
func checkBounds(e expr) error {
	switch e := e.(type) {
	case logical:
		if err := checkBounds(e.left); err != nil {
			return err
		}
		return checkBounds(e.right)
	case comparison:
		if ref, _, ok := directColumn(e); ok && isWindowBound(ref) && e.op == "<>" {
			return refuse("Unsupported %s bounds: NOT_EQUAL", ref)
		}
	}
	return nil
}

func isWindowBound(name string) bool { return name == windowStartName || name == windowEndName }

// normalForm returns the OR of ANDs that a predicate is, or false if it is too
// large.
func normalForm(e expr) ([][]expr, bool) {
	l, ok := e.(logical)
	if !ok {
		return [][]expr{{e}}, true
	}
	left, ok := normalForm(l.left)
	if !ok {
		return nil, false
	}
	right, ok := normalForm(l.right)
	if !ok {
		return nil, false
	}
	if !l.and {
		left = append(left, right...)
		return left, len(left) <= maxDisjuncts
	}
	if len(left)*len(right) > maxDisjuncts {
		return nil, false
	}
	var out [][]expr
	for _, a := range left {
		for _, b := range right {
			out = append(out, append(append([]expr(nil), a...), b...))
		}
	}
	return out, true
}

// directColumn returns the column of a comparison with something that has no
// column in it, and the operator as if the column stood on the left.
func directColumn(e comparison) (name, op string, ok bool) {
	if ref, isRef := e.right.(columnRef); isRef {
		return ref.name, flip(e.op), !hasColumn(e.left)
	}
	if ref, isRef := e.left.(columnRef); isRef {
		return ref.name, e.op, !hasColumn(e.right)
	}
	return "", "", false
}

func hasColumn(e expr) bool {
	switch e := e.(type) {
	case columnRef:
		return true
	case arithmetic:
		return hasColumn(e.left) || hasColumn(e.right)
	case negate:
		return hasColumn(e.operand)
	case dereference:
		return hasColumn(e.operand)
	case subscript:
		return hasColumn(e.operand) || hasColumn(e.index)
	case call:
		return slices.ContainsFunc(e.args, hasColumn)
	}
	return false
}

// needsScan says why a conjunction cannot be answered by its key, or nothing.
func needsScan(atoms []expr, src *source) string {
	bound := make(map[string]bool)
	for _, atom := range atoms {
		switch e := atom.(type) {
		case like:
			if _, ok := e.operand.(columnRef); !ok {
				return "Like condition must be between strings"
			}
		case comparison:
			name, _, ok := directColumn(e)
			switch {
			case !ok:
				return "A comparison must be between a key column and a resolvable expression"
			case isWindowBound(name) || name == rowtimeName || !src.columns[src.column(name)].key:
				continue
			case e.op == "<>":
				return "Bound on key columns must currently be '='"
			}
			bound[name] = true
		}
	}
	switch keys := src.keys(); {
	case len(bound) == 0:
		return "WHERE clause missing key column for disjunct"
	case len(bound) != len(keys):
		return "Multi-column sources must specify every key in the WHERE clause"
	}
	return ""
}

// checkKeyed checks a conjunction that binds the whole key.
func checkKeyed(atoms []expr, src *source, opts planOptions, disjuncts int) error {
	keyBounds := make(map[string]int)
	ranges := 0
	windows := make(map[string]*windowBounds)
	for _, atom := range atoms {
		e, ok := atom.(comparison)
		if !ok {
			continue
		}
		name, op, _ := directColumn(e)
		switch {
		case isWindowBound(name):
			if windows[name] == nil {
				windows[name] = new(windowBounds)
			}
			if err := windows[name].add(name, op); err != nil {
				return err
			}
		case name != rowtimeName && src.columns[src.column(name)].key:
			if keyBounds[name]++; keyBounds[name] > 1 && !opts.tableScan {
				return refuse("A comparison condition on the key column cannot be combined with other comparisons such as an IN predicate")
			}
			if op != "=" {
				ranges++
			}
		}
	}
	if ranges == 0 || opts.tableScan {
		return nil
	}
	key := src.columns[src.column(src.keys()[0])]
	single := disjuncts == 1 && len(keyBounds) == 1 && !src.windowed && opts.rangeScan
	if !single || key.typ.base != typeString && key.typ.base != typeBytes {
		return scan(opts, "Bound on key columns must currently be '='")
	}
	return nil
}

// windowBounds are the bounds on one of the window columns.
type windowBounds struct{ equal, lower, upper bool }

func (w *windowBounds) add(name, op string) error {
	slot := &w.equal
	switch op {
	case "<", "<=":
		slot = &w.upper
	case ">", ">=":
		slot = &w.lower
	}
	if *slot {
		return refuse("Duplicate %s bounds on: %s", name, op)
	}
	*slot = true
	if w.equal && (w.lower || w.upper) {
		return refuse("`=` cannot be combined with other %s bounds", name)
	}
	return nil
}
