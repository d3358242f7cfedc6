package ksqlclient

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// valueError says where in a row a value did not fit its type. It names types
// and positions, never the value.
type valueError struct {
	path string
	want Type
	text string
}

func (e *valueError) Error() string {
	return fmt.Sprintf("column %s: %s, expected %s", e.path, e.text, e.want.Kind)
}

// at puts a step before the path of a value error.
func at(step string, err error) error {
	if e, ok := errors.AsType[*valueError](err); ok {
		e.path = step + e.path
	}
	return err
}

// decodeValue turns valid JSON into the Go value of the type.
//
// TIMESTAMP, DATE and TIME are text at the top level and in ARRAY and MAP, but
// numbers inside a STRUCT, where Kafka Connect's converter writes them (epoch
// milliseconds, epoch days, milliseconds of the day). The form decides here, not
// the place, so that both are read wherever they come.
func decodeValue(raw []byte, t *Type) (any, error) {
	if raw[0] == 'n' {
		return nil, nil
	}
	bad := func(text string) (any, error) { return nil, &valueError{want: *t, text: text} }
	switch t.Kind {
	case TypeArray:
		if raw[0] != '[' {
			return bad(jsonForm(raw))
		}
		return decodeArray(raw, t)
	case TypeMap, TypeStruct:
		if raw[0] != '{' {
			return bad(jsonForm(raw))
		}
		if t.Kind == TypeMap {
			return decodeMap(raw, t)
		}
		return decodeStruct(raw, t)
	case TypeBoolean:
		if raw[0] != 't' && raw[0] != 'f' {
			return bad(jsonForm(raw))
		}
		return raw[0] == 't', nil
	default:
		v, err := decodeScalar(raw, t)
		if errors.Is(err, errForm) {
			return bad(jsonForm(raw))
		}
		if err != nil {
			return bad(err.Error())
		}
		return v, nil
	}
}

// decodeScalar reads what JSON writes as a string or a number. Its error is
// errForm when the form does not belong to the type.
func decodeScalar(raw []byte, t *Type) (any, error) {
	switch raw[0] {
	case '"':
		s, err := jsonString(raw)
		if err != nil {
			return nil, errors.New("found text that cannot be read")
		}
		return decodeText(s, t.Kind)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return decodeNumber(string(raw), t)
	default:
		return nil, errForm
	}
}

// errForm means that the JSON form does not belong to the type.
var errForm = errors.New("unexpected form")

func jsonForm(raw []byte) string {
	switch raw[0] {
	case '"':
		return "found a string"
	case '[':
		return "found an array"
	case '{':
		return "found an object"
	case 't', 'f':
		return "found a boolean"
	}
	return "found a number"
}

func decodeText(s string, kind TypeKind) (any, error) {
	switch kind {
	case TypeString:
		return s, nil
	case TypeDouble:
		switch s {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return nil, errForm
	case TypeBytes:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, errors.New("found text that is not base64")
		}
		return b, nil
	case TypeTimestamp:
		t, err := parseLocal("2006-01-02T15:04:05", s)
		if err != nil {
			return nil, err
		}
		return t, nil
	case TypeDate:
		t, err := parseLocal(time.DateOnly, s)
		if err != nil {
			return nil, err
		}
		return DateOf(t), nil
	case TypeTime:
		t, err := ParseTimeOfDay(s)
		if err != nil {
			return nil, errors.New("found text that is no time of day")
		}
		return t, nil
	default:
		return nil, errForm
	}
}

// parseLocal reads a date or timestamp in UTC. Java prints years beyond 9999
// with a sign and as many digits as they have; one such row, often seconds taken
// for milliseconds by a producer, must not make a whole table unreadable.
func parseLocal(layout, s string) (time.Time, error) {
	bad := errors.New("found text that is no " + map[bool]string{true: "date", false: "timestamp"}[layout == time.DateOnly])
	if s == "" || s[0] != '+' && s[0] != '-' {
		t, err := time.Parse(layout, s)
		if err != nil {
			return time.Time{}, bad
		}
		return t, nil
	}
	digits, rest, ok := strings.Cut(s[1:], "-")
	year, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || len(digits) < 4 || len(digits) > 9 {
		return time.Time{}, bad
	}
	// 2000 is a leap year, so that February 29 passes.
	t, err := time.Parse(layout, "2000-"+rest)
	if err != nil {
		return time.Time{}, bad
	}
	y := int(year)
	if s[0] == '-' {
		y = -y
	}
	return time.Date(y, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC), nil
}

func decodeNumber(s string, t *Type) (any, error) {
	switch t.Kind {
	case TypeInteger, TypeBigint:
		bits := 64
		if t.Kind == TypeInteger {
			bits = 32
		}
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return nil, errors.New("found a number out of range or with a fraction")
		}
		return n, nil
	case TypeDouble:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, errors.New("found a number out of range")
		}
		return f, nil
	case TypeDecimal:
		d, err := ParseDecimal(s)
		if err != nil {
			return nil, errors.New("found a number out of range")
		}
		return d.withScale(t.Scale), nil
	case TypeTimestamp, TypeDate, TypeTime:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, errors.New("found a number out of range or with a fraction")
		}
		return decodeEpoch(n, t.Kind)
	default:
		return nil, errForm
	}
}

func decodeEpoch(n int64, kind TypeKind) (any, error) {
	const maxDays = 1 << 40 // far beyond Java's LocalDate, and days x 86400 fits int64
	switch {
	case kind == TypeTimestamp:
		return time.UnixMilli(n).UTC(), nil
	case kind == TypeDate && n > -maxDays && n < maxDays:
		return DateOf(time.Unix(n*86400, 0).UTC()), nil
	case kind == TypeTime && n >= 0 && n < day.Duration().Milliseconds():
		return TimeOfDay(time.Duration(n) * time.Millisecond), nil
	}
	return nil, errors.New("found a number out of range")
}

func decodeArray(raw []byte, t *Type) (any, error) {
	values := []any{}
	err := jsonElements(raw, func(n int, elem []byte) error {
		v, err := decodeValue(elem, t.Elem)
		if err != nil {
			return at("["+strconv.Itoa(n)+"]", err)
		}
		values = append(values, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

func decodeMap(raw []byte, t *Type) (any, error) {
	values := map[string]any{}
	err := jsonMembers(raw, func(key string, elem []byte) error {
		v, err := decodeValue(elem, t.Elem)
		if err != nil {
			return at("[key]", err) // the key itself is data
		}
		values[key] = v
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

func decodeStruct(raw []byte, t *Type) (any, error) {
	values := make(map[string]any, len(t.Fields))
	for i := range t.Fields {
		values[t.Fields[i].Name] = nil
	}
	err := jsonMembers(raw, func(key string, elem []byte) error {
		for i := range t.Fields {
			f := &t.Fields[i]
			if f.Original != key && f.Name != strings.ToLower(key) {
				continue
			}
			v, err := decodeValue(elem, &f.Type)
			if err != nil {
				return at("."+f.Name, err)
			}
			values[f.Name] = v
			break
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// decodeRow decodes one valid JSON array by the columns.
func decodeRow(line []byte, cols *columns) ([]any, error) {
	values := make([]any, 0, len(cols.list))
	count := 0
	err := jsonElements(line, func(n int, raw []byte) error {
		count++
		if n >= len(cols.list) {
			return nil
		}
		v, err := decodeValue(raw, &cols.list[n].Type)
		if err != nil {
			return at(cols.list[n].Name, err)
		}
		values = append(values, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if count != len(cols.list) {
		return nil, fmt.Errorf("%d values for %d columns", count, len(cols.list))
	}
	return values, nil
}

func isJSONArray(line []byte) bool { return bytes.HasPrefix(line, []byte("[")) }
