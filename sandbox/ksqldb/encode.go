package ksqldb

import (
	"encoding/base64"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appendValue appends the JSON of a normalised value. At the top level, and in
// arrays and maps there, times are texts and decimals keep their scale; inside
// a STRUCT the server converts through Kafka Connect, where times are numbers
// and decimals are doubles (ksqlDB: ApiJsonMapper, StructSerializationModule).
func appendValue(b []byte, t sqlType, v any, inStruct bool) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendDouble(b, v)
	case *big.Rat:
		if inStruct {
			f, _ := v.Float64()
			return appendDouble(b, f)
		}
		return append(b, v.FloatString(t.scale)...)
	case string:
		return appendString(b, v)
	case []byte:
		return appendString(b, base64.StdEncoding.EncodeToString(v))
	case time.Time:
		return appendInstant(b, t, v, inStruct)
	case time.Duration:
		if inStruct {
			return strconv.AppendInt(b, v.Milliseconds(), 10)
		}
		return appendString(b, clockText(v))
	case []any:
		b = append(b, '[')
		for i, element := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, *t.elem, element, inStruct)
		}
		return append(b, ']')
	case map[string]any:
		return appendObject(b, t, v, inStruct)
	}
	return append(b, "null"...)
}

func appendInstant(b []byte, t sqlType, at time.Time, inStruct bool) []byte {
	switch {
	case t.base == typeDate && inStruct:
		return strconv.AppendInt(b, at.Unix()/86400, 10)
	case t.base == typeDate:
		return appendString(b, at.Format(time.DateOnly))
	case inStruct:
		return strconv.AppendInt(b, at.UnixMilli(), 10)
	}
	return appendString(b, at.Format("2006-01-02T15:04:05.000"))
}

// clockText prints a TIME: the server sends Java's LocalTime without its
// fraction, which leaves out the seconds too when they are zero.
func clockText(d time.Duration) string {
	at := time.Time{}.Add(d.Truncate(time.Second))
	if at.Second() == 0 {
		return at.Format("15:04")
	}
	return at.Format("15:04:05")
}

func appendObject(b []byte, t sqlType, m map[string]any, inStruct bool) []byte {
	b = append(b, '{')
	if t.base == typeStruct {
		for i, f := range t.fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, f.name), ':')
			b = appendValue(b, f.typ, m[f.name], true)
		}
		return append(b, '}')
	}
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		b = appendValue(b, *t.elem, m[key], inStruct)
	}
	return append(b, '}')
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	text, _ := marshal(s) // a string always encodes
	return append(b, text...)
}

// appendDouble prints as Java's Double.toString: at least one digit after the
// point, an exponent from 10^7 upwards and below 10^-3. What is no number goes
// out as a string.
func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	if size := math.Abs(f); f == 0 || 1e-3 <= size && size < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return append(b, s...)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent) // strconv wrote it
	return append(b, mantissa+"E"+strconv.Itoa(n)...)
}
