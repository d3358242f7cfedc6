package notifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// canonicalJSON writes a value such that equal values give equal text: numbers
// without redundant digits (12.50 is 12.5), the keys of maps sorted.
func canonicalJSON(buf *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case nil:
		buf.WriteString("null")
	case bool:
		buf.WriteString(strconv.FormatBool(v))
	case string:
		canonicalString(buf, v)
	case []any:
		buf.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				buf.WriteByte(',')
			}
			if err := canonicalJSON(buf, item); err != nil {
				return err
			}
		}
		buf.WriteByte(']')
	case map[string]any:
		buf.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				buf.WriteByte(',')
			}
			canonicalString(buf, k)
			buf.WriteByte(':')
			if err := canonicalJSON(buf, v[k]); err != nil {
				return err
			}
		}
		buf.WriteByte('}')
	default:
		text, ok := numberText(v)
		if !ok {
			return fmt.Errorf("a row holds no %T", v)
		}
		number, err := canonicalNumber(text)
		if err != nil {
			return err
		}
		buf.WriteString(number)
	}
	return nil
}

func canonicalString(buf *bytes.Buffer, s string) {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	// A string always encodes, and a bytes.Buffer takes everything.
	_ = enc.Encode(s)
	buf.Truncate(buf.Len() - 1) // Encode ends with a newline
}

// numberText returns the text of a number. A Source delivers json.Number; the
// others are what a test or a hand-made row has.
func numberText(v any) (string, bool) {
	switch v := v.(type) {
	case json.Number:
		return v.String(), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		return strconv.FormatFloat(v, 'g', -1, 64), true
	default:
		return "", false
	}
}

var errNumber = errors.New("not a number")

// decimal is sign * digits * 10^exp, the digits without zeros at either end;
// no digits at all is zero.
type decimal struct {
	negative bool
	digits   string
	exp      int
}

// parseDecimal reads a JSON number exactly.
func parseDecimal(text string) (decimal, error) {
	var d decimal
	rest, negative := strings.CutPrefix(text, "-")
	mantissa, exponent, hasExp := strings.Cut(strings.ReplaceAll(rest, "E", "e"), "e")
	whole, fraction, hasPoint := strings.Cut(mantissa, ".")
	if !allDigits(whole) || (hasPoint && !allDigits(fraction)) {
		return d, errNumber
	}
	if hasExp {
		e, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			return d, errNumber
		}
		d.exp = int(e)
	}
	d.exp -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	d.exp += len(digits) - len(trimmed)
	if trimmed == "" {
		return decimal{}, nil
	}
	d.digits, d.negative = trimmed, negative
	return d, nil
}

func allDigits(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// maxPlainExp is how many zeros String writes out; 1e999999999 must not become a gigabyte.
const maxPlainExp = 40

// String returns the one canonical text of the number.
func (d decimal) String() string {
	if d.digits == "" {
		return "0"
	}
	sign := ""
	if d.negative {
		sign = "-"
	}
	point := len(d.digits) + d.exp // where the decimal point stands
	switch {
	case d.exp > maxPlainExp || point < -maxPlainExp:
		return sign + d.digits + "e" + strconv.Itoa(d.exp)
	case d.exp >= 0:
		return sign + d.digits + strings.Repeat("0", d.exp)
	case point > 0:
		return sign + d.digits[:point] + "." + d.digits[point:]
	default:
		return sign + "0." + strings.Repeat("0", -point) + d.digits
	}
}

func canonicalNumber(text string) (string, error) {
	d, err := parseDecimal(text)
	if err != nil {
		return "", err
	}
	return d.String(), nil
}

// wholeNumber reads an integer, also one that is written 1e3 or 5.0.
func wholeNumber(text string) (int64, error) {
	number, err := canonicalNumber(text)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, errNumber
	}
	return n, nil
}

var errTime = errors.New("not a time: RFC 3339 text or epoch milliseconds")

// timeValue reads a time column: RFC 3339 text, or a number of milliseconds
// since the Unix epoch as ROWTIME has. Times are cut to microseconds, which is
// what both databases keep.
func timeValue(v any) (time.Time, error) {
	var t time.Time
	if text, ok := v.(string); ok {
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return time.Time{}, errTime
		}
		t = parsed.UTC()
	} else {
		text, ok := numberText(v)
		if !ok {
			return time.Time{}, errTime
		}
		ms, err := wholeNumber(text)
		if err != nil {
			return time.Time{}, errTime
		}
		t = time.UnixMilli(ms).UTC()
	}
	if t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, errTime
	}
	return t.Truncate(time.Microsecond), nil
}
