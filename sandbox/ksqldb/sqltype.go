package ksqldb

import (
	"fmt"
	"strconv"
	"strings"
)

// base is the kind of a SQL type.
type base int

const (
	typeNull base = iota // the type of the literal NULL
	typeBoolean
	typeInteger
	typeBigint
	typeDouble
	typeDecimal
	typeString
	typeBytes
	typeTimestamp
	typeDate
	typeTime
	typeArray
	typeMap
	typeStruct
)

// baseNames are the names of the types that have no parameters.
func baseNames() map[string]base {
	return map[string]base{
		"BOOLEAN": typeBoolean, "INTEGER": typeInteger, "INT": typeInteger, "BIGINT": typeBigint,
		"DOUBLE": typeDouble, "STRING": typeString, "VARCHAR": typeString, "BYTES": typeBytes,
		"TIMESTAMP": typeTimestamp, "DATE": typeDate, "TIME": typeTime,
	}
}

// sqlType is a parsed SQL type.
type sqlType struct {
	base             base
	precision, scale int
	key, elem        *sqlType // key of a MAP, element of an ARRAY or MAP
	fields           []structField
}

type structField struct {
	name string
	typ  sqlType
}

func (t sqlType) isNumber() bool {
	return t.base == typeInteger || t.base == typeBigint || t.base == typeDouble || t.base == typeDecimal
}

func (t sqlType) isTime() bool {
	return t.base == typeTimestamp || t.base == typeDate || t.base == typeTime
}

// String returns the type as ksqlDB prints it.
func (t sqlType) String() string {
	switch t.base {
	case typeDecimal:
		return fmt.Sprintf("DECIMAL(%d, %d)", t.precision, t.scale)
	case typeArray:
		return "ARRAY<" + t.elem.String() + ">"
	case typeMap:
		return "MAP<" + t.key.String() + ", " + t.elem.String() + ">"
	case typeStruct:
		parts := make([]string, len(t.fields))
		for i, f := range t.fields {
			parts[i] = "`" + f.name + "` " + f.typ.String()
		}
		return "STRUCT<" + strings.Join(parts, ", ") + ">"
	default:
		return t.base.String()
	}
}

func (b base) String() string {
	switch b {
	case typeNull:
		return "NULL"
	case typeBoolean:
		return "BOOLEAN"
	case typeInteger:
		return "INTEGER"
	case typeBigint:
		return "BIGINT"
	case typeDouble:
		return "DOUBLE"
	case typeDecimal:
		return "DECIMAL"
	case typeString:
		return "STRING"
	case typeBytes:
		return "BYTES"
	case typeTimestamp:
		return "TIMESTAMP"
	case typeDate:
		return "DATE"
	case typeTime:
		return "TIME"
	case typeArray:
		return "ARRAY"
	case typeMap:
		return "MAP"
	case typeStruct:
		return "STRUCT"
	}
	return "UNKNOWN"
}

// parseType reads a type such as MAP<STRING, ARRAY<STRUCT<`A` DECIMAL(9, 3)>>>.
func parseType(s string) (sqlType, error) {
	tokens, err := lex(s)
	if err != nil {
		return sqlType{}, err
	}
	p := &parser{sql: s, tokens: tokens}
	t, err := p.sqlType(0)
	if err != nil {
		return sqlType{}, err
	}
	if p.peek().kind != tokenEnd {
		return sqlType{}, p.unexpected()
	}
	return t, nil
}

// sqlType reads one type. The depth is bounded because recursion is.
func (p *parser) sqlType(depth int) (sqlType, error) {
	if depth > maxDepth {
		return sqlType{}, refuse("type is nested too deeply")
	}
	word := p.peek()
	if word.kind != tokenWord {
		return sqlType{}, p.unexpected()
	}
	p.next()
	if b, ok := baseNames()[word.text]; ok {
		return sqlType{base: b}, nil
	}
	switch word.text {
	case "DECIMAL":
		return p.decimalType()
	case "ARRAY", "MAP":
		return p.containerType(word.text == "MAP", depth)
	case "STRUCT":
		return p.structType(depth)
	}
	return sqlType{}, refuse("Cannot resolve unknown type: %s", word.text)
}

func (p *parser) decimalType() (sqlType, error) {
	var n [2]int
	for i, punctuation := range []string{"(", ","} {
		if !p.accept(punctuation) {
			return sqlType{}, p.unexpected()
		}
		digits := p.peek()
		if digits.kind != tokenInteger {
			return sqlType{}, p.unexpected()
		}
		p.next()
		v, err := strconv.Atoi(digits.text)
		if err != nil || v > 1000 {
			return sqlType{}, refuse("DECIMAL precision or scale is out of range: %s", digits.text)
		}
		n[i] = v
	}
	if !p.accept(")") {
		return sqlType{}, p.unexpected()
	}
	if n[0] < 1 || n[1] > n[0] {
		return sqlType{}, refuse("DECIMAL precision must be >= 1 and >= scale: DECIMAL(%d, %d)", n[0], n[1])
	}
	return sqlType{base: typeDecimal, precision: n[0], scale: n[1]}, nil
}

func (p *parser) containerType(isMap bool, depth int) (sqlType, error) {
	if !p.accept("<") {
		return sqlType{}, p.unexpected()
	}
	t := sqlType{base: typeArray}
	if isMap {
		t.base = typeMap
		key, err := p.sqlType(depth + 1)
		if err != nil {
			return sqlType{}, err
		}
		if !p.accept(",") {
			return sqlType{}, p.unexpected()
		}
		t.key = &key
	}
	elem, err := p.sqlType(depth + 1)
	if err != nil {
		return sqlType{}, err
	}
	t.elem = &elem
	if !p.accept(">") {
		return sqlType{}, p.unexpected()
	}
	return t, nil
}

func (p *parser) structType(depth int) (sqlType, error) {
	t := sqlType{base: typeStruct}
	if p.accept("<>") { // an empty struct lexes as one operator
		return t, nil
	}
	if !p.accept("<") {
		return sqlType{}, p.unexpected()
	}
	for {
		name, err := p.identifier()
		if err != nil {
			return sqlType{}, err
		}
		typ, err := p.sqlType(depth + 1)
		if err != nil {
			return sqlType{}, err
		}
		t.fields = append(t.fields, structField{name, typ})
		if p.accept(",") {
			continue
		}
		if !p.accept(">") {
			return sqlType{}, p.unexpected()
		}
		return t, nil
	}
}
