package notifier

import (
	"errors"
	"regexp"
	"strings"
	"time"
)

// Window is what one run reads.
type Window struct {
	// Now is the nominal time of the tick.
	Now time.Time
	// Since and Until bound the arrival time: Since <= t < Until. Until is Now, but earlier in
	// the slices by which a rule catches up.
	Since, Until time.Time
}

// millisSuffix asks for a parameter as epoch milliseconds, for BIGINT columns.
const millisSuffix = "_ms"

// paramBase is the moment that a parameter counts from.
type paramBase uint8

const (
	baseNow paramBase = iota
	baseSince
	baseUntil
)

// boundParam is one placeholder that the query names.
type boundParam struct {
	name   string
	expr   paramExpr
	millis bool
}

// paramExpr is "now + 5m".
type paramExpr struct {
	base   paramBase
	offset time.Duration
}

func (e paramExpr) at(w Window) time.Time {
	t := w.Now
	switch e.base {
	case baseNow:
	case baseSince:
		t = w.Since
	case baseUntil:
		t = w.Until
	}
	return t.Add(e.offset).UTC()
}

// Params returns the values of the placeholders that the query names, and of no
// others: time.Time in UTC, or int64 epoch milliseconds for a name that ends in
// `_ms`. The map is the caller's.
func (r *Rule) Params(w Window) map[string]any {
	values := make(map[string]any, len(r.params))
	for _, p := range r.params {
		t := p.expr.at(w)
		if p.millis {
			values[p.name] = t.UnixMilli()
		} else {
			values[p.name] = t
		}
	}
	return values
}

func standardParams() map[string]paramExpr {
	return map[string]paramExpr{
		"now":   {base: baseNow},
		"since": {base: baseSince},
		"until": {base: baseUntil},
	}
}

// parseParam reads "now", "now + 5m", "since - 1h".
func parseParam(text string) (paramExpr, error) {
	m := paramSyntax().FindStringSubmatch(text)
	if m == nil {
		return paramExpr{}, errors.New(`must be now, since or until, with "+" or "-" and a duration: "now + 5m"`)
	}
	e := standardParams()[m[1]]
	if m[2] == "" {
		return e, nil
	}
	d, err := ParseDuration(m[3])
	if err != nil {
		return paramExpr{}, err
	}
	if d < 0 {
		return paramExpr{}, errDuration
	}
	if m[2] == "-" {
		d = -d
	}
	e.offset = d
	return e, nil
}

func paramSyntax() *regexp.Regexp {
	return regexp.MustCompile(`^\s*(now|since|until)\s*(?:([+-])\s*(\S+))?\s*$`)
}

// splitMillis takes the suffix from a placeholder's name.
func splitMillis(name string) (base string, millis bool) {
	return strings.CutSuffix(name, millisSuffix)
}
