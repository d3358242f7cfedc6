package ksqlclient

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Params are the values of a statement's :name placeholders, by name without
// the colon; names are case-sensitive. Bind documents the types.
type Params map[string]any

// Placeholders returns the names of the statement's :name placeholders, each
// once, in order of first appearance. It returns an ErrStatement error for a
// statement that does not tokenize.
func Placeholders(sql string) ([]string, error) {
	tokens, err := tokenize(sql)
	if err != nil {
		return nil, fmt.Errorf("list placeholders: %w", err)
	}
	var names []string
	for _, t := range tokens {
		if t.kind == tokenParam && !slices.Contains(names, t.text[1:]) {
			names = append(names, t.text[1:])
		}
	}
	return names, nil
}

// Bind replaces the :name placeholders of a statement by literals. It works on
// the tokens of the statement, in one pass: a colon inside a string literal, a
// quoted identifier or a comment is text, := is an operator, and what has been
// substituted is never looked at again. A placeholder stands for one value, not
// for an identifier, a keyword or part of a literal.
//
// Go types and their literals:
//
//	string kinds              'text', a quote doubled; no NUL, valid UTF-8 only
//	int and uint kinds        digits, within the range of BIGINT
//	bool kinds                true, false
//	float32, float64          with exponent (1.25E1), since 12.5 is a DECIMAL; no NaN, no infinities
//	Decimal                   digits with a point
//	json.Number               as the integer or Decimal it holds
//	time.Time                 '2006-01-02T15:04:05.000' in UTC, cut to milliseconds; as the other
//	                          operand of ROWTIME, WINDOWSTART or WINDOWEND epoch milliseconds
//	EpochMillis               epoch milliseconds, wherever it stands
//	Date, TimeOfDay           '2006-01-02', '15:04:05.000'
//	[]byte                    TO_BYTES('...', 'base64')
//	slices of these           the values with commas, in IN (:name) only; not empty
//	pointers to these         what they point to
//	nil                       NULL, in INSERT statements only: no comparison with NULL is ever true
//
// Missing and unused parameters are errors, and all errors are reported at once.
// They match ErrParam, or ErrStatement if the statement does not tokenize, and
// never contain a value.
func Bind(sql string, params Params) (string, error) {
	b, err := bind(sql, params)
	if err != nil {
		return "", err
	}
	return b.sql, nil
}

// bound is a statement with its values and what must be masked in messages.
type bound struct {
	sql  string
	mask mask
}

func bind(sql string, params Params) (bound, error) {
	tokens, err := tokenize(sql)
	if err != nil {
		return bound{}, fmt.Errorf("bind statement: %w", err)
	}
	var (
		b     strings.Builder
		errs  []error
		secs  mask
		kept  = significant(tokens)
		used  = make(map[string]bool, len(params))
		place = -1 // index of the current token in kept
	)
	for i, t := range tokens {
		if t.kind != tokenSpace {
			place++
		}
		if t.kind != tokenParam {
			b.WriteString(t.text)
			continue
		}
		name := t.text[1:]
		value, ok := params[name]
		if !ok {
			if !used[name] {
				errs = append(errs, fmt.Errorf("%w: no value for :%s", ErrParam, name))
			}
			used[name] = true
			continue
		}
		used[name] = true
		text, err := literalAt(kept, place, value, &secs)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: :%s at offset %d: %w", ErrParam, name, t.pos, err))
			continue
		}
		// A literal must not grow together with its neighbours: 'a':p would become
		// one string, x-:n a comment.
		if i > 0 && !strings.ContainsAny(last(tokens[i-1].text), " \t\r\n(,=<>") {
			b.WriteByte(' ')
		}
		b.WriteString(text)
		if i+1 < len(tokens) && !strings.ContainsAny(tokens[i+1].text[:1], " \t\r\n),;") {
			b.WriteByte(' ')
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !used[name] {
			errs = append(errs, fmt.Errorf("%w: %q is not used by the statement", ErrParam, name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return bound{}, fmt.Errorf("bind statement: %w", err)
	}
	return bound{sql: b.String(), mask: secs}, nil
}

func last(s string) string { return s[len(s)-1:] }

// literalAt renders the value for the placeholder at kept[i].
func literalAt(kept []token, i int, value any, secs *mask) (string, error) {
	value = deref(value)
	if value == nil {
		if !inInsert(kept, i) {
			return "", errors.New("NULL is allowed in INSERT only")
		}
		return "NULL", nil
	}
	millis := besideRowtime(kept, i)
	items, ok := list(value)
	if !ok {
		return literal(value, millis, secs)
	}
	if !aloneInList(kept, i) {
		return "", errors.New("a slice is allowed as IN (:name) only")
	}
	if len(items) == 0 {
		return "", errors.New("the slice is empty")
	}
	texts := make([]string, len(items))
	for n, item := range items {
		item = deref(item)
		if item == nil {
			return "", fmt.Errorf("element %d is NULL", n)
		}
		text, err := literal(item, millis, secs)
		if err != nil {
			return "", fmt.Errorf("element %d: %w", n, err)
		}
		texts[n] = text
	}
	return strings.Join(texts, ", "), nil
}

// inInsert reports whether kept[i] stands in an INSERT statement.
func inInsert(kept []token, i int) bool {
	for i > 0 && kept[i-1].kind != tokenDivider {
		i--
	}
	return kept[i].word("INSERT")
}

// aloneInList reports whether kept[i] is the whole list of an IN.
func aloneInList(kept []token, i int) bool {
	return i >= 2 && kept[i-1].text == "(" && kept[i-2].word("IN") && i+1 < len(kept) && kept[i+1].text == ")"
}

// besideRowtime reports whether the value at kept[i] is compared with one of the
// pseudo columns that hold epoch milliseconds: on either side of an operator, in
// BETWEEN, or in an IN list.
func besideRowtime(kept []token, i int) bool {
	if i+2 < len(kept) && isOperator(kept[i+1]) && isRowtimeFrom(kept, i+2) {
		return true
	}
	if i == 0 {
		return false
	}
	switch prev := kept[i-1]; {
	case isOperator(prev):
		return isRowtimeUpTo(kept, i-2)
	case prev.word("BETWEEN"):
		return isRowtimeUpTo(kept, skipNot(kept, i-2))
	case prev.word("AND"):
		j := i - 2
		if j < 0 || !isSimpleOperand(kept[j]) {
			return false
		}
		j--
		if j >= 0 && kept[j].text == "-" {
			j--
		}
		return j >= 0 && kept[j].word("BETWEEN") && isRowtimeUpTo(kept, skipNot(kept, j-1))
	}
	j := i - 1
	for j >= 0 && (isSimpleOperand(kept[j]) || kept[j].text == "," || kept[j].text == "-") {
		j--
	}
	return j >= 1 && kept[j].text == "(" && kept[j-1].word("IN") && isRowtimeUpTo(kept, skipNot(kept, j-2))
}

func skipNot(kept []token, i int) int {
	if i >= 0 && kept[i].word("NOT") {
		return i - 1
	}
	return i
}

func isSimpleOperand(t token) bool {
	return t.kind == tokenParam || t.kind == tokenNumber || t.kind == tokenString
}

func isOperator(t token) bool {
	switch t.text {
	case "=", "<>", "!=", "<", "<=", ">", ">=", "+", "-":
		return t.kind == tokenOther
	}
	return false
}

// isRowtimeUpTo reports whether an operand that ends at kept[i] is the pseudo
// column, with or without the name of its source before it.
func isRowtimeUpTo(kept []token, i int) bool {
	return i >= 0 && isRowtime(kept[i])
}

// isRowtimeFrom does the same for an operand that begins at kept[i].
func isRowtimeFrom(kept []token, i int) bool {
	if i+2 < len(kept) && kept[i+1].text == "." {
		return isRowtime(kept[i+2])
	}
	return isRowtime(kept[i])
}

func isRowtime(t token) bool {
	name := t.text
	switch t.kind {
	case tokenWord:
		name = strings.ToUpper(name)
	case tokenQuoted:
		name = name[1 : len(name)-1]
	default:
		return false
	}
	return name == "ROWTIME" || name == "WINDOWSTART" || name == "WINDOWEND"
}

// EpochMillis is a time that Bind always writes as epoch milliseconds, for
// comparisons with BIGINT columns.
type EpochMillis time.Time
