package ksqlclient

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TypeKind is the outermost constructor of a Type, spelled as in SQL.
type TypeKind string

// The kinds of types that ksqlDB reports; INT appears as INTEGER, VARCHAR as
// STRING, and custom types are expanded.
const (
	TypeBoolean   TypeKind = "BOOLEAN"
	TypeInteger   TypeKind = "INTEGER"
	TypeBigint    TypeKind = "BIGINT"
	TypeDouble    TypeKind = "DOUBLE"
	TypeDecimal   TypeKind = "DECIMAL"
	TypeString    TypeKind = "STRING"
	TypeBytes     TypeKind = "BYTES"
	TypeTimestamp TypeKind = "TIMESTAMP"
	TypeDate      TypeKind = "DATE"
	TypeTime      TypeKind = "TIME"
	TypeArray     TypeKind = "ARRAY"
	TypeMap       TypeKind = "MAP"
	TypeStruct    TypeKind = "STRUCT"
)

// Type is a parsed SQL type.
type Type struct {
	// Kind is the outermost constructor.
	Kind TypeKind
	// Precision and Scale belong to DECIMAL.
	Precision, Scale int
	// Key is the key type of a MAP.
	Key *Type
	// Elem is the element type of an ARRAY, or the value type of a MAP.
	Elem *Type
	// Fields are those of a STRUCT, in order.
	Fields []Field
}

// Field is a field of a STRUCT.
type Field struct {
	// Name is in lower case; it is the key in the map that holds the value.
	Name string
	// Original is the name as the server spells it.
	Original string
	// Type of the field.
	Type Type
}

// String returns the type as ksqlDB prints it.
func (t Type) String() string {
	switch t.Kind {
	case TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d, %d)", t.Precision, t.Scale)
	case TypeArray:
		return "ARRAY<" + t.Elem.String() + ">"
	case TypeMap:
		return "MAP<" + t.Key.String() + ", " + t.Elem.String() + ">"
	case TypeStruct:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = "`" + f.Original + "` " + f.Type.String()
		}
		return "STRUCT<" + strings.Join(parts, ", ") + ">"
	default:
		return string(t.Kind)
	}
}

// maxTypeDepth bounds the nesting of a type, so that a hostile header cannot
// exhaust the stack.
const maxTypeDepth = 64

// ParseType parses a type as ksqlDB prints it, for example
// "MAP<STRING, STRUCT<`ID` BIGINT, `PRICE` DECIMAL(9, 3)>>". INT and VARCHAR are
// taken as INTEGER and STRING.
func ParseType(s string) (Type, error) {
	p := typeParser{rest: s}
	t, err := p.parse(0)
	if err == nil && p.trim() != "" {
		err = errors.New("text after the type")
	}
	if err != nil {
		return Type{}, fmt.Errorf("parse type %.200q: %w", s, err)
	}
	return t, nil
}

type typeParser struct{ rest string }

func (p *typeParser) trim() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest
}

func (p *typeParser) take(symbol string) bool {
	rest, ok := strings.CutPrefix(p.trim(), symbol)
	p.rest = rest
	return ok
}

func (p *typeParser) word() string {
	n := span(p.trim(), isWordByte)
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

func (p *typeParser) parse(depth int) (Type, error) {
	if depth > maxTypeDepth {
		return Type{}, errors.New("nested too deeply")
	}
	name := strings.ToUpper(p.word())
	switch kind := TypeKind(name); kind {
	case TypeBoolean, TypeInteger, TypeBigint, TypeDouble, TypeString, TypeBytes, TypeTimestamp, TypeDate, TypeTime:
		return Type{Kind: kind}, nil
	case TypeDecimal:
		return p.decimal()
	case TypeArray:
		elem, err := p.inner(depth, "<", ">")
		return Type{Kind: kind, Elem: &elem}, err
	case TypeMap:
		key, err := p.inner(depth, "<", ",")
		if err != nil {
			return Type{}, err
		}
		elem, err := p.inner(depth, "", ">")
		return Type{Kind: kind, Key: &key, Elem: &elem}, err
	case TypeStruct:
		return p.structure(depth)
	}
	switch name {
	case "INT":
		return Type{Kind: TypeInteger}, nil
	case "VARCHAR":
		return Type{Kind: TypeString}, nil
	case "":
		return Type{}, errors.New("a type name is missing")
	}
	return Type{}, fmt.Errorf("unknown type %q", name)
}

// inner parses a type between two symbols.
func (p *typeParser) inner(depth int, open, end string) (Type, error) {
	if !p.take(open) {
		return Type{}, fmt.Errorf("%q is missing", open)
	}
	t, err := p.parse(depth + 1)
	if err != nil {
		return Type{}, err
	}
	if !p.take(end) {
		return Type{}, fmt.Errorf("%q is missing", end)
	}
	return t, nil
}

func (p *typeParser) decimal() (Type, error) {
	number := func(open string) (int, bool) {
		if !p.take(open) {
			return 0, false
		}
		n, err := strconv.Atoi(p.word())
		return n, err == nil && n >= 0 && n <= maxDecimalDigits
	}
	precision, ok1 := number("(")
	scale, ok2 := number(",")
	if !ok1 || !ok2 || !p.take(")") {
		return Type{}, errors.New("DECIMAL without (precision, scale)")
	}
	return Type{Kind: TypeDecimal, Precision: precision, Scale: scale}, nil
}

func (p *typeParser) structure(depth int) (Type, error) {
	t := Type{Kind: TypeStruct}
	if !p.take("<") {
		return Type{}, errors.New(`"<" is missing`)
	}
	if p.take(">") {
		return t, nil
	}
	seen := map[string]bool{}
	for {
		name, err := p.fieldName()
		if err != nil {
			return Type{}, err
		}
		inner, err := p.parse(depth + 1)
		if err != nil {
			return Type{}, err
		}
		f := Field{Name: strings.ToLower(name), Original: name, Type: inner}
		if seen[f.Name] {
			return Type{}, errors.New("two fields differ in case only")
		}
		seen[f.Name] = true
		t.Fields = append(t.Fields, f)
		if p.take(">") {
			return t, nil
		}
		if !p.take(",") {
			return Type{}, errors.New(`"," or ">" is missing`)
		}
	}
}

// fieldName reads a name, with or without back-quotes. The server does not
// double a back-quote inside a name, so the name ends at one before a space.
func (p *typeParser) fieldName() (string, error) {
	if !p.take("`") {
		if name := p.word(); name != "" {
			return name, nil
		}
		return "", errors.New("a field name is missing")
	}
	end := strings.Index(p.rest, "` ")
	if end <= 0 {
		return "", errors.New("a field name does not end")
	}
	name := p.rest[:end]
	p.rest = p.rest[end+1:]
	return name, nil
}
