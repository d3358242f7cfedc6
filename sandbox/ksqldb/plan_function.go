package ksqldb

import (
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"time"
)

// arithmetic types + - * over numbers and + over strings.
func (b *planner) arithmetic(e arithmetic) (sqlType, evaluator, error) {
	lt, left, err := b.value(e.left)
	if err != nil {
		return sqlType{}, nil, err
	}
	rt, right, err := b.value(e.right)
	if err != nil {
		return sqlType{}, nil, err
	}
	t, ok := arithmeticType(e.op, lt, rt)
	if !ok {
		return sqlType{}, nil, refuse("Error processing expression: unsupported arithmetic types. %s %s", lt, rt)
	}
	return t, func(r *evalRow) any {
		l, r2 := left(r), right(r)
		if l == nil || r2 == nil {
			return nil
		}
		return calculate(e.op, t, l, r2)
	}, nil
}

// arithmeticType returns the type of the result (ksqlDB: SqlTypes upcasting and
// DecimalUtil for precision and scale).
func arithmeticType(op string, l, r sqlType) (sqlType, bool) {
	if l.base == typeString && r.base == typeString && op == "+" {
		return l, true
	}
	if !l.isNumber() || !r.isNumber() {
		return sqlType{}, false
	}
	switch {
	case l.base == typeDouble || r.base == typeDouble:
		return sqlType{base: typeDouble}, true
	case l.base == typeDecimal || r.base == typeDecimal:
		l, r = asDecimal(l), asDecimal(r)
		t := sqlType{base: typeDecimal, scale: max(l.scale, r.scale)}
		t.precision = max(l.precision-l.scale, r.precision-r.scale) + t.scale + 1
		if op == "*" {
			t.precision, t.scale = l.precision+r.precision+1, l.scale+r.scale
		}
		return t, true
	case l.base == typeBigint || r.base == typeBigint:
		return sqlType{base: typeBigint}, true
	}
	return sqlType{base: typeInteger}, true
}

func asDecimal(t sqlType) sqlType {
	switch t.base {
	case typeInteger:
		return sqlType{base: typeDecimal, precision: 10}
	case typeBigint:
		return sqlType{base: typeDecimal, precision: 19}
	}
	return t
}

// calculate computes in the result's type. Integers wrap, as Java's do.
func calculate(op string, t sqlType, l, r any) any {
	switch t.base {
	case typeString:
		return l.(string) + r.(string)
	case typeDouble:
		return apply(op, floatOf(l), floatOf(r))
	case typeDecimal:
		z := new(big.Rat)
		switch op {
		case "+":
			return z.Add(ratOf(l), ratOf(r))
		case "-":
			return z.Sub(ratOf(l), ratOf(r))
		}
		return z.Mul(ratOf(l), ratOf(r))
	case typeInteger:
		return int64(apply(op, int32(l.(int64)), int32(r.(int64))))
	}
	return apply(op, l.(int64), r.(int64))
}

func apply[N int32 | int64 | float64](op string, l, r N) N {
	switch op {
	case "+":
		return l + r
	case "-":
		return l - r
	}
	return l * r
}

// call types a function call. Only functions that make sense in the WHERE
// clause of a pull query are here.
func (b *planner) call(c call) (sqlType, evaluator, error) {
	types := make([]sqlType, len(c.args))
	args := make([]evaluator, len(c.args))
	for i, arg := range c.args {
		var err error
		if types[i], args[i], err = b.value(arg); err != nil {
			return sqlType{}, nil, err
		}
	}
	switch c.name {
	case "UNIX_TIMESTAMP":
		return b.unixTimestamp(types, args)
	case "FROM_UNIXTIME":
		if len(args) == 1 && (types[0].base == typeBigint || types[0].base == typeInteger) {
			return sqlType{base: typeTimestamp}, mapped(args[0], func(ms int64) any { return time.UnixMilli(ms).UTC() }), nil
		}
	case "UCASE", "LCASE":
		if len(args) == 1 && types[0].base == typeString {
			change := strings.ToUpper
			if c.name == "LCASE" {
				change = strings.ToLower
			}
			return types[0], mapped(args[0], func(s string) any { return change(s) }), nil
		}
	case "CONCAT":
		return concat(types, args)
	case "TO_BYTES":
		if len(args) == 2 && types[0].base == typeString && types[1].base == typeString {
			return toBytes(args[0], c.args[1])
		}
	case "COALESCE", "IFNULL":
		return coalesce(c.name, types, args)
	default:
		return sqlType{}, nil, beyond("the function %s", c.name)
	}
	return sqlType{}, nil, noSuchFunction(c.name)
}

func noSuchFunction(name string) *apiError {
	return refuse("Function '%s' does not accept parameters of these types.", name)
}

// mapped applies f to what is not NULL.
func mapped[T any](arg evaluator, f func(T) any) evaluator {
	return func(r *evalRow) any {
		v, ok := arg(r).(T)
		if !ok {
			return nil
		}
		return f(v)
	}
}

func (b *planner) unixTimestamp(types []sqlType, args []evaluator) (sqlType, evaluator, error) {
	t := sqlType{base: typeBigint}
	switch {
	case len(args) == 0:
		now := b.now.UnixMilli()
		return t, func(*evalRow) any { return now }, nil
	case len(args) == 1 && types[0].base == typeTimestamp:
		return t, mapped(args[0], func(at time.Time) any { return at.UnixMilli() }), nil
	}
	return sqlType{}, nil, noSuchFunction("UNIX_TIMESTAMP")
}

// concat joins strings; NULLs count as empty.
func concat(types []sqlType, args []evaluator) (sqlType, evaluator, error) {
	for _, t := range types {
		if t.base != typeString {
			return sqlType{}, nil, noSuchFunction("CONCAT")
		}
	}
	if len(args) == 0 {
		return sqlType{}, nil, noSuchFunction("CONCAT")
	}
	return types[0], func(r *evalRow) any {
		var s strings.Builder
		for _, arg := range args {
			part, _ := arg(r).(string)
			s.WriteString(part)
		}
		return s.String()
	}, nil
}

// toBytes decodes text; the encoding has to be a literal here. What does not
// decode is NULL.
func toBytes(text evaluator, encoding expr) (sqlType, evaluator, error) {
	name, ok := encoding.(literal)
	if !ok {
		return sqlType{}, nil, beyond("an encoding that is not a literal")
	}
	decode := map[string]func(string) ([]byte, error){
		"hex":    hex.DecodeString,
		"base64": base64.StdEncoding.DecodeString,
		"utf8":   func(s string) ([]byte, error) { return []byte(s), nil },
		"ascii":  func(s string) ([]byte, error) { return []byte(s), nil },
	}[strings.ToLower(name.value.(string))]
	if decode == nil {
		return sqlType{}, nil, refuse("Unknown input encoding; supported are hex, utf8, ascii and base64")
	}
	return sqlType{base: typeBytes}, mapped(text, func(s string) any {
		b, err := decode(s)
		if err != nil {
			return nil
		}
		return b
	}), nil
}

// coalesce returns the first argument that is not NULL. All must have one type.
func coalesce(name string, types []sqlType, args []evaluator) (sqlType, evaluator, error) {
	if len(args) == 0 || name == "IFNULL" && len(args) != 2 {
		return sqlType{}, nil, noSuchFunction(name)
	}
	for _, t := range types {
		if t.String() != types[0].String() {
			return sqlType{}, nil, noSuchFunction(name)
		}
	}
	return types[0], func(r *evalRow) any {
		for _, arg := range args {
			if v := arg(r); v != nil {
				return v
			}
		}
		return nil
	}, nil
}
