package ksqldb

import (
	"bytes"
	"cmp"
	"strings"
	"time"
	"unicode/utf8"
)

// unsupportedWhere is the refusal of a predicate that is neither a comparison
// nor LIKE.
func unsupportedWhere(what string) *apiError {
	return refuse("Unsupported expression in WHERE clause: %s. Pull queries support comparisons and LIKE joined by AND and OR.", what)
}

// predicate types a WHERE clause. NULL is not true, and since there is no NOT,
// two values are enough.
func (b *planner) predicate(e expr) (func(*evalRow) bool, error) {
	switch e := e.(type) {
	case logical:
		left, err := b.predicate(e.left)
		if err != nil {
			return nil, err
		}
		right, err := b.predicate(e.right)
		if err != nil {
			return nil, err
		}
		if e.and {
			return func(r *evalRow) bool { return left(r) && right(r) }, nil
		}
		return func(r *evalRow) bool { return left(r) || right(r) }, nil
	case comparison:
		return b.comparison(e)
	case like:
		return b.like(e)
	case refusedPredicate:
		return nil, unsupportedWhere(e.what)
	case columnRef:
		return nil, unsupportedWhere("a bare column")
	}
	return nil, unsupportedWhere("a bare value")
}

// comparison types one comparison (ksqlDB: ComparisonUtil for the types, and
// StatementRewriteForMagicPseudoTimestamp for ROWTIME and the window bounds).
func (b *planner) comparison(e comparison) (func(*evalRow) bool, error) {
	var err error
	if e.left, err = epochLiteral(e.left, e.right); err != nil {
		return nil, err
	}
	if e.right, err = epochLiteral(e.right, e.left); err != nil {
		return nil, err
	}
	lt, left, err := b.value(e.left)
	if err != nil {
		return nil, err
	}
	rt, right, err := b.value(e.right)
	if err != nil {
		return nil, err
	}
	if lt.base == typeNull || rt.base == typeNull {
		return nil, refuse("Comparison with NULL not supported: %s %s %s", lt.base, e.op, rt.base)
	}
	compare, err := comparer(e, lt, rt)
	if err != nil {
		return nil, err
	}
	return func(r *evalRow) bool {
		l, r2 := left(r), right(r)
		if l == nil || r2 == nil {
			return false
		}
		c, ok := compare(l, r2)
		return ok && holds(e.op, c)
	}, nil
}

// epochLiteral turns a datetime string that is compared with a pseudo column
// into epoch milliseconds.
func epochLiteral(e, other expr) (expr, error) {
	text, isLiteral := e.(literal)
	ref, isRef := other.(columnRef)
	if !isLiteral || !isRef || text.typ.base != typeString || !isPseudoTime(ref.name) {
		return e, nil
	}
	at, ok := parseTimestamp(text.value.(string))
	if !ok {
		return nil, refuse("Failed to parse timestamp that is compared with %s", ref.name)
	}
	return literal{sqlType{base: typeBigint}, at.UnixMilli()}, nil
}

// comparer returns the three-way comparison of two types; its second result is
// false if the values of this row cannot be compared.
func comparer(e comparison, lt, rt sqlType) (func(l, r any) (int, bool), error) {
	equality := e.op == "=" || e.op == "<>"
	switch {
	case lt.isNumber() && rt.isNumber():
		return compareNumbers(lt, rt), nil
	case lt.base == typeString && rt.base == typeString:
		return func(l, r any) (int, bool) { return strings.Compare(l.(string), r.(string)), true }, nil
	case lt.base == typeBoolean && rt.base == typeBoolean && equality:
		return func(l, r any) (int, bool) { return b2i(l.(bool)) - b2i(r.(bool)), true }, nil
	case lt.base == typeBytes && rt.base == typeBytes:
		return func(l, r any) (int, bool) { return bytes.Compare(l.([]byte), r.([]byte)), true }, nil
	case timeFamily(lt, rt):
		return compareTimes(e, lt, rt)
	case lt.base == rt.base && lt.base >= typeArray && equality:
		return nil, beyond("comparing %s", lt.base)
	}
	return nil, refuse("Operator %s cannot be used to compare %s and %s", e.op, lt, rt)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// timeFamily reports whether two types compare as times: TIMESTAMP and DATE
// with each other and with strings, TIME with TIME and with strings.
func timeFamily(lt, rt sqlType) bool {
	instant := func(t sqlType) bool { return t.base == typeTimestamp || t.base == typeDate }
	switch {
	case lt.base == typeString:
		return rt.isTime()
	case rt.base == typeString:
		return lt.isTime()
	}
	return instant(lt) && instant(rt) || lt.base == typeTime && rt.base == typeTime
}

func compareNumbers(lt, rt sqlType) func(l, r any) (int, bool) {
	switch {
	case lt.base == typeDouble || rt.base == typeDouble:
		return func(l, r any) (int, bool) { return cmp.Compare(floatOf(l), floatOf(r)), true }
	case lt.base == typeDecimal || rt.base == typeDecimal:
		return func(l, r any) (int, bool) { return ratOf(l).Cmp(ratOf(r)), true }
	}
	return func(l, r any) (int, bool) { return cmp.Compare(l.(int64), r.(int64)), true }
}

// compareTimes compares instants or times of day. A literal that is no time is
// refused at once, which is stricter than the server: it would answer with no
// rows and a line in its own log.
func compareTimes(e comparison, lt, rt sqlType) (func(l, r any) (int, bool), error) {
	toTime, name := instantOf, "TIMESTAMP"
	switch {
	case lt.base == typeTime || rt.base == typeTime:
		toTime, name = clockOf, "TIME"
	case lt.base != typeTimestamp && rt.base != typeTimestamp:
		toTime, name = dayOf, "DATE"
	}
	for _, side := range []expr{e.left, e.right} {
		if text, ok := side.(literal); ok {
			if _, ok := toTime(text.value); !ok {
				return nil, refuse("Failed to parse the datetime that is compared with a %s", name)
			}
		}
	}
	return func(l, r any) (int, bool) {
		a, okA := toTime(l)
		b, okB := toTime(r)
		return cmp.Compare(a, b), okA && okB
	}, nil
}

// instantOf returns epoch milliseconds.
func instantOf(v any) (int64, bool) {
	switch at := v.(type) {
	case time.Time:
		return at.UnixMilli(), true
	case string:
		t, ok := parseTimestamp(at)
		return t.UnixMilli(), ok
	}
	return 0, false
}

// dayOf is instantOf where a string must be a day without a time.
func dayOf(v any) (int64, bool) {
	if text, ok := v.(string); ok && strings.Contains(text, "T") {
		return 0, false
	}
	return instantOf(v)
}

// clockOf returns nanoseconds since midnight.
func clockOf(v any) (int64, bool) {
	switch d := v.(type) {
	case time.Duration:
		return int64(d), true
	case string:
		t, ok := parseClock(d)
		return int64(t), ok
	}
	return 0, false
}

func holds(op string, c int) bool {
	switch op {
	case "=":
		return c == 0
	case "<>":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// like types a LIKE predicate: a STRING and a literal pattern.
func (b *planner) like(e like) (func(*evalRow) bool, error) {
	t, operand, err := b.value(e.operand)
	if err != nil {
		return nil, err
	}
	if t.base != typeString {
		return nil, refuse("The column type for Like condition must be VARCHAR. The column type is %s", t)
	}
	pattern, ok := e.pattern.(literal)
	if !ok || pattern.typ.base != typeString {
		return nil, refuse("Like condition on non-string pattern")
	}
	elements := compilePattern(pattern.value.(string), e.escape)
	return func(r *evalRow) bool {
		s, ok := operand(r).(string)
		return ok && matchPattern(s, elements)
	}, nil
}

// Elements of a LIKE pattern besides ordinary characters, outside Unicode.
const (
	anyRun  rune = -1 // %
	anyRune rune = -2 // _
)

// compilePattern reads a LIKE pattern; after the escape character the next one
// is ordinary.
func compilePattern(pattern, escape string) []rune {
	esc := anyRun
	if escape != "" {
		esc, _ = utf8.DecodeRuneInString(escape)
	}
	var out []rune
	escaped := false
	for _, c := range pattern {
		switch {
		case escaped:
			out, escaped = append(out, c), false
		case c == esc:
			escaped = true
		case c == '%':
			out = append(out, anyRun)
		case c == '_':
			out = append(out, anyRune)
		default:
			out = append(out, c)
		}
	}
	return out
}

// matchPattern matches greedily and goes back to the last % only, so it takes
// at most len(s)*len(pattern) steps.
func matchPattern(text string, pattern []rune) bool {
	s := []rune(text)
	i, p, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == anyRun:
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == anyRune || pattern[p] == s[i]):
			i++
			p++
		case star >= 0:
			mark++
			i, p = mark, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == anyRun {
		p++
	}
	return p == len(pattern)
}
