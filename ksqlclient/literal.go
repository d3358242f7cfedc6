package ksqlclient

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// timestampLayout is the form that ksqlDB prints and reads TIMESTAMP in, always
// UTC and without zone.
const timestampLayout = "2006-01-02T15:04:05.000"

// literal renders one value that is not nil and no list.
func literal(value any, millis bool, secs *mask) (string, error) {
	switch v := value.(type) {
	case time.Time:
		secs.numbers = true
		if millis {
			return strconv.FormatInt(v.UnixMilli(), 10), nil
		}
		v = v.UTC()
		if v.Year() < 1 || v.Year() > 9999 {
			return "", errors.New("the year is outside 1 to 9999")
		}
		return "'" + v.Format(timestampLayout) + "'", nil
	case EpochMillis:
		secs.numbers = true
		return strconv.FormatInt(time.Time(v).UnixMilli(), 10), nil
	case Date:
		secs.numbers = true
		if !v.valid() {
			return "", errors.New("the date does not exist or its year is outside 1 to 9999")
		}
		return "'" + v.String() + "'", nil
	case TimeOfDay:
		secs.numbers = true
		if !v.valid() {
			return "", errors.New("the time is outside 00:00 to 24:00")
		}
		return "'" + v.literal() + "'", nil
	case Decimal:
		secs.numbers = true
		return decimalLiteral(v), nil
	case json.Number:
		return numberLiteral(v, secs)
	case []byte:
		text := base64.StdEncoding.EncodeToString(v)
		secs.add(text, string(v), fmt.Sprintf("%x", v))
		return "TO_BYTES('" + text + "', 'base64')", nil
	case time.Duration:
		// Seconds, milliseconds, a TIME? The caller must say.
		return "", errors.New("a duration has no literal")
	}
	return kindLiteral(reflect.ValueOf(value), secs)
}

func kindLiteral(v reflect.Value, secs *mask) (string, error) {
	switch v.Kind() {
	case reflect.String:
		return stringLiteral(v.String(), secs)
	case reflect.Bool:
		secs.bools = true
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		secs.numbers = true
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		secs.numbers = true
		if v.Uint() > math.MaxInt64 {
			return "", errors.New("the integer is outside the range of BIGINT")
		}
		return strconv.FormatUint(v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		secs.numbers = true
		return doubleLiteral(v.Float(), v.Type().Bits())
	default:
		return "", fmt.Errorf("values of type %s have no literal", v.Type())
	}
}

func stringLiteral(s string, secs *mask) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("the string is not valid UTF-8")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return "", errors.New("the string contains a NUL byte")
	}
	escaped := strings.ReplaceAll(s, "'", "''")
	secs.add(s, escaped)
	return "'" + escaped + "'", nil
}

// doubleLiteral writes an exponent always: without one ksqlDB reads a DECIMAL.
func doubleLiteral(f float64, bits int) (string, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "", errors.New("NaN and infinities have no literal")
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, bits), "E")
	n, err := strconv.Atoi(exponent)
	if err != nil {
		return "", fmt.Errorf("format exponent: %w", err)
	}
	return mantissa + "E" + strconv.Itoa(n), nil
}

// decimalLiteral writes a point always: without one ksqlDB reads an integer.
func decimalLiteral(d Decimal) string {
	s := d.String()
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func numberLiteral(v json.Number, secs *mask) (string, error) {
	secs.numbers = true
	if n, err := v.Int64(); err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	d, err := ParseDecimal(v.String())
	if err != nil {
		return "", errors.New("the json.Number is not a number")
	}
	return decimalLiteral(d), nil
}

// deref follows pointers; a nil pointer at any level is nil.
func deref(value any) any {
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// list returns the elements of a slice or array other than []byte.
func list(value any) ([]any, bool) {
	if _, ok := value.([]byte); ok {
		return nil, false
	}
	v := reflect.ValueOf(value)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return nil, false
	}
	items := make([]any, v.Len())
	for i := range items {
		items[i] = v.Index(i).Interface()
	}
	return items, true
}
