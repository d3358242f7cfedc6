package fcm

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// fields holds a decoded message by snake_case name. Values: string, bool,
// int32, float64, time.Duration, time.Time, fields, object (of a struct),
// []entry (of a string map) and []any.
type fields map[string]any

func (f fields) str(name string) string { v, _ := f[name].(string); return v }

func (f fields) sub(name string) fields { v, _ := f[name].(fields); return v }

func (f fields) has(name string) bool { _, ok := f[name]; return ok }

// entry is one entry of a map<string, string>.
type entry struct{ key, value string }

func (f fields) entries(name string) []entry { v, _ := f[name].([]entry); return v }

// decoder is the API front end: it holds JSON against the schema and collects
// what does not fit.
type decoder struct {
	violations []violation
	rules      *rules
}

func (d *decoder) refuse(field, format string, args ...any) {
	d.violations = append(d.violations, violation{field, fmt.Sprintf(format, args...)})
}

func (d *decoder) unknown(path, name, why string) {
	if path == "" {
		d.refuse("", "Invalid JSON payload received. Unknown name %q: %s", name, why)
		return
	}
	d.refuse(path, "Invalid JSON payload received. Unknown name %q at '%s': %s", name, path, why)
}

func (d *decoder) bad(path, typ, why string) {
	d.refuse(path, "Invalid value at '%s' (%s), %s", path, typ, why)
}

// decode reads the root of a request.
func (r *rules) decode(v any) (fields, *answer) {
	d := &decoder{rules: r}
	root, ok := v.(object)
	if !ok {
		d.unknown("", "", "Root element must be a message.")
		return nil, frontEnd(d.violations...)
	}
	f := d.message(r.schema, root, "")
	if len(d.violations) > 0 {
		return nil, frontEnd(d.violations...)
	}
	return f, nil
}

func (d *decoder) message(typ *messageType, obj object, path string) fields {
	out := make(fields, len(obj))
	oneofs := map[string]string{}
	for _, m := range obj {
		f, ok := typ.fields[m.name]
		if !ok {
			d.unknown(path, m.name, "Cannot find field.")
			continue
		}
		if m.value == nil {
			continue // null leaves a field unset
		}
		// Of a field given twice the last occurrence counts, by the reference
		// of the method.
		if f.oneof != "" {
			if set := oneofs[f.oneof]; set != "" && set != f.name {
				d.bad(path, "oneof", fmt.Sprintf("oneof field '%s' is already set. Cannot set '%s'", f.oneof, m.name))
				continue
			}
			oneofs[f.oneof] = f.name
		}
		if v, ok := d.field(f, m, path); ok {
			out[f.name] = v
		}
	}
	return out
}

func (d *decoder) field(f *field, m member, parent string) (any, bool) {
	path := f.name
	if parent != "" {
		path = parent + "." + f.name
	}
	list, isList := m.value.([]any)
	if !f.repeated {
		if isList {
			why := "Proto field is not repeating, cannot start list."
			if f.kind == kindStringMap {
				why = fmt.Sprintf("Cannot bind a list to map for field '%s'.", m.name)
			}
			d.unknown(parent, m.name, why)
			return nil, false
		}
		return d.value(f, m.value, path)
	}
	if !isList {
		d.bad(path, typeName(f), literal(m.value))
		return nil, false
	}
	out := make([]any, 0, len(list))
	for i, e := range list {
		if v, ok := d.value(f, e, path+"["+strconv.Itoa(i)+"]"); ok {
			out = append(out, v)
		}
	}
	return out, true
}

// typeName is how the front end calls a field's type in its complaints.
func typeName(f *field) string {
	switch f.kind {
	case kindBool:
		return "TYPE_BOOL"
	case kindInt32:
		return "TYPE_INT32"
	case kindFloat:
		return "TYPE_FLOAT"
	case kindEnum:
		return "type.googleapis.com/" + f.enum
	case kindDuration:
		return "type.googleapis.com/google.protobuf.Duration"
	case kindTimestamp:
		return "type.googleapis.com/google.protobuf.Timestamp"
	case kindMessage:
		return "type.googleapis.com/" + f.typ.name
	case kindStruct:
		return "type.googleapis.com/google.protobuf.Struct"
	case kindString, kindStringMap:
	}
	return "TYPE_STRING"
}

func (d *decoder) value(f *field, v any, path string) (any, bool) {
	obj, isObject := v.(object)
	switch f.kind {
	case kindMessage:
		if isObject {
			return d.message(f.typ, obj, path), true
		}
	case kindStruct:
		if isObject {
			return obj, true
		}
	case kindStringMap:
		if isObject {
			return d.entries(obj, path), true
		}
	default:
		if isObject {
			d.bad(path, typeName(f), "Starting an object on a scalar field")
			return nil, false
		}
		if out, why := d.scalar(f, v); why == "" {
			return out, true
		} else if why != "value" {
			d.bad(path, typeName(f), why)
			return nil, false
		}
	}
	d.bad(path, typeName(f), literal(v))
	return nil, false
}

// scalar converts v, or says why not: "value" stands for the value itself.
func (d *decoder) scalar(f *field, v any) (out any, why string) {
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	if isNumber {
		text = number.String()
	}
	switch f.kind {
	case kindString:
		if isText {
			return text, ""
		}
	case kindBool:
		if b, ok := v.(bool); ok {
			return b, ""
		}
		if isText && (text == "true" || text == "false") {
			return text == "true", ""
		}
	case kindInt32:
		// proto3 JSON takes 1, "1", 1.0 and 1e0.
		n, err := strconv.ParseFloat(text, 64)
		if (isText || isNumber) && err == nil && n == math.Trunc(n) && n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32(n), ""
		}
	case kindFloat:
		n, err := strconv.ParseFloat(text, 32)
		if (isText || isNumber) && err == nil {
			return n, ""
		}
	case kindEnum:
		return f.enumValue(text, isText, isNumber)
	case kindDuration:
		if isText {
			return d.parseDuration(text)
		}
	case kindTimestamp:
		if isText {
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, "Field '" + f.name + "', Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset."
			}
			return t, ""
		}
	case kindMessage, kindStruct, kindStringMap:
	}
	return nil, "value"
}

// enumValue takes a name in any case, as the API does ("high" and "HIGH"), or
// a number.
func (f *field) enumValue(text string, isText, isNumber bool) (any, string) {
	for i, name := range f.values {
		if isText && strings.EqualFold(name, text) || isNumber && text == strconv.Itoa(i) {
			return name, ""
		}
	}
	return nil, "value"
}

// parseDuration reads seconds with up to nine digits after the point. It
// keeps them all; the service rounds a ttl down later.
func (d *decoder) parseDuration(text string) (any, string) {
	m := d.rules.duration.FindStringSubmatch(text)
	if m == nil {
		if !strings.HasSuffix(text, "s") {
			return nil, "Illegal duration format; duration must end with 's'"
		}
		return nil, "Illegal duration format; duration is not a valid number of seconds"
	}
	// The pattern admits only digits; 12 of them exceed what a time.Duration
	// holds, so the value is held at a bound no check lets through.
	secs, _ := strconv.ParseInt(m[1], 10, 64)
	const most = int64(math.MaxInt64/time.Second) - 1
	secs = min(max(secs, -most), most)
	nanos, _ := strconv.ParseInt((m[2] + "000000000")[:9], 10, 64)
	if strings.HasPrefix(text, "-") {
		nanos = -nanos
	}
	return time.Duration(secs)*time.Second + time.Duration(nanos), ""
}

func (d *decoder) entries(obj object, path string) []entry {
	out := make([]entry, 0, len(obj))
	seen := make(map[string]int, len(obj))
	for i, m := range obj {
		at := path + "[" + strconv.Itoa(i) + "].value"
		text, ok := m.value.(string)
		_, isObject := m.value.(object)
		_, isList := m.value.([]any)
		switch {
		case isObject:
			d.bad(at, "TYPE_STRING", "Starting an object on a scalar field")
		case isList:
			d.unknown(path+"["+strconv.Itoa(i)+"]", "value", "Proto field is not repeating, cannot start list.")
		case !ok:
			d.bad(at, "TYPE_STRING", literal(m.value))
		default:
			if at, again := seen[m.name]; again {
				out[at].value = text // the last occurrence counts
				continue
			}
			seen[m.name] = len(out)
			out = append(out, entry{m.name, text})
		}
	}
	return out
}
