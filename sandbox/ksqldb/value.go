package ksqldb

import (
	"fmt"
	"math"
	"math/big"
	"time"
)

// valueError says that a View yielded a value that does not fit its column.
// The value itself stays out of the text.
type valueError struct {
	column string
	typ    sqlType
	value  any
}

func (e *valueError) Error() string {
	return fmt.Sprintf("column %s: a %T does not fit %s", e.column, e.value, e.typ)
}

// normalize turns a value of a View into the one form that the rest of the
// package computes with: nil, bool, int64, float64, *big.Rat, string, []byte,
// time.Time in UTC to the millisecond, time.Duration, []any, map[string]any.
func normalize(t sqlType, v any) (any, bool) {
	if v == nil {
		return nil, true
	}
	switch t.base {
	case typeBoolean:
		b, ok := v.(bool)
		return b, ok
	case typeInteger, typeBigint:
		n, ok := integerOf(v)
		return n, ok && (t.base == typeBigint || math.MinInt32 <= n && n <= math.MaxInt32)
	case typeDouble:
		f, ok := v.(float64)
		return f, ok
	case typeDecimal:
		return normalizeDecimal(t, v)
	case typeString:
		s, ok := v.(string)
		return s, ok
	case typeBytes:
		b, ok := v.([]byte)
		if ok && b == nil {
			return nil, true
		}
		return b, ok
	case typeTimestamp, typeDate:
		at, ok := v.(time.Time)
		at = at.UTC().Truncate(time.Millisecond)
		if t.base == typeDate {
			at = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
		}
		return at, ok
	case typeTime:
		d, ok := v.(time.Duration)
		return d, ok && 0 <= d && d < 24*time.Hour
	case typeArray, typeMap, typeStruct:
		return normalizeContainer(t, v)
	}
	return nil, false
}

func integerOf(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

func normalizeDecimal(t sqlType, v any) (any, bool) {
	r := new(big.Rat)
	switch d := v.(type) {
	case string:
		e, err := decimalLiteral(d)
		if err != nil {
			return nil, false
		}
		r.Set(e.(literal).value.(*big.Rat))
	case *big.Rat:
		if d == nil {
			return nil, true
		}
		r.Set(d)
	default:
		n, ok := integerOf(v)
		if !ok {
			return nil, false
		}
		r.SetInt64(n)
	}
	return roundDecimal(t, r)
}

// roundDecimal rounds half up to the scale and reports whether the whole part
// fits the precision.
func roundDecimal(t sqlType, r *big.Rat) (any, bool) {
	rounded, ok := new(big.Rat).SetString(r.FloatString(t.scale))
	if !ok {
		return nil, false
	}
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.precision-t.scale)), nil)
	if new(big.Rat).Abs(rounded).Cmp(new(big.Rat).SetInt(limit)) >= 0 {
		return nil, false
	}
	return rounded, true
}

func normalizeContainer(t sqlType, v any) (any, bool) {
	switch t.base {
	case typeArray:
		list, ok := v.([]any)
		if !ok {
			return nil, false
		}
		out := make([]any, len(list))
		for i, element := range list {
			if out[i], ok = normalize(*t.elem, element); !ok {
				return nil, false
			}
		}
		return out, true
	case typeMap:
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		out := make(map[string]any, len(m))
		for key, element := range m {
			if out[key], ok = normalize(*t.elem, element); !ok {
				return nil, false
			}
		}
		return out, true
	default:
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		out := make(map[string]any, len(t.fields))
		for _, f := range t.fields {
			if out[f.name], ok = normalize(f.typ, m[f.name]); !ok {
				return nil, false
			}
		}
		for name := range m {
			if _, ok := out[name]; !ok {
				return nil, false // a field that the type does not have is a typing error in the view
			}
		}
		return out, true
	}
}
