package ksqlclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Source describes a stream or table.
type Source struct {
	// Name as the server spells it.
	Name string
	// Type is STREAM or TABLE.
	Type string
	// Windowed is true when the key carries a window: the columns windowstart and
	// windowend then exist although they are not listed.
	Windowed bool
	// Columns in order, without pseudo columns such as rowtime.
	Columns []Column
}

// Column returns the column with the lower-case name, and whether there is one.
func (s Source) Column(name string) (Column, bool) {
	for _, c := range s.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// Describe returns the columns of a stream or table. The name is taken as SQL
// takes it: in upper case, unless it is given in back-quotes. A source that does
// not exist is an *Error with code 40001.
func (c *Client) Describe(ctx context.Context, name string) (Source, error) {
	quoted := name
	if !strings.HasPrefix(name, "`") {
		quoted = QuoteIdentifier(strings.ToUpper(name))
	}
	tokens, err := tokenize(quoted)
	if err != nil || len(tokens) != 1 || len(quoted) < 3 {
		return Source{}, fmt.Errorf("describe source: %w: not a source name", ErrStatement)
	}
	results, err := c.Exec(ctx, "DESCRIBE "+quoted+";", nil)
	if err != nil {
		return Source{}, fmt.Errorf("describe source %s: %w", quoted, err)
	}
	for _, r := range results {
		if r.Type == "sourceDescription" {
			s, err := parseSource(r.Raw)
			if err != nil {
				return Source{}, fmt.Errorf("describe source %s: %w: %w", quoted, ErrMalformed, err)
			}
			return s, nil
		}
	}
	return Source{}, fmt.Errorf("describe source %s: %w: no description in the answer", quoted, ErrMalformed)
}

// schemaInfo is the server's JSON form of a type.
type schemaInfo struct {
	Type       string         `json:"type"`
	Fields     []fieldInfo    `json:"fields"`
	Member     *schemaInfo    `json:"memberSchema"`
	Parameters map[string]any `json:"parameters"`
}

type fieldInfo struct {
	Name   string     `json:"name"`
	Schema schemaInfo `json:"schema"`
}

func parseSource(raw json.RawMessage) (Source, error) {
	var entity struct {
		Description *struct {
			Name       string      `json:"name"`
			Type       string      `json:"type"`
			WindowType *string     `json:"windowType"`
			Fields     []fieldInfo `json:"fields"`
		} `json:"sourceDescription"`
	}
	if err := json.Unmarshal(raw, &entity); err != nil {
		return Source{}, errors.New("description of unknown form")
	}
	d := entity.Description
	if d == nil || len(d.Fields) == 0 {
		return Source{}, errors.New("description without fields")
	}
	s := Source{Name: d.Name, Type: d.Type, Windowed: d.WindowType != nil && *d.WindowType != ""}
	for _, f := range d.Fields {
		t, err := f.Schema.toType(0)
		if err != nil {
			return Source{}, fmt.Errorf("field %q: %w", f.Name, err)
		}
		s.Columns = append(s.Columns, Column{Name: strings.ToLower(f.Name), Original: f.Name, Type: t})
	}
	return s, nil
}

func (s schemaInfo) toType(depth int) (Type, error) {
	if depth > maxTypeDepth {
		return Type{}, errors.New("nested too deeply")
	}
	kind := TypeKind(s.Type)
	switch kind {
	case TypeDecimal:
		// Older servers leave the parameters out.
		precision, _ := s.Parameters["precision"].(float64)
		scale, _ := s.Parameters["scale"].(float64)
		return Type{Kind: kind, Precision: int(precision), Scale: int(scale)}, nil
	case TypeArray, TypeMap:
		if s.Member == nil {
			return Type{}, fmt.Errorf("%s without member", kind)
		}
		elem, err := s.Member.toType(depth + 1)
		if err != nil {
			return Type{}, err
		}
		t := Type{Kind: kind, Elem: &elem}
		if kind == TypeMap {
			t.Key = &Type{Kind: TypeString} // the description does not carry it
		}
		return t, nil
	case TypeStruct:
		t := Type{Kind: kind}
		for _, f := range s.Fields {
			inner, err := f.Schema.toType(depth + 1)
			if err != nil {
				return Type{}, err
			}
			t.Fields = append(t.Fields, Field{Name: strings.ToLower(f.Name), Original: f.Name, Type: inner})
		}
		return t, nil
	default:
		return ParseType(s.Type)
	}
}
