package ksqldb

import "fmt"

// sourceDescription is the answer to DESCRIBE, as far as a stand-in without
// topics can know it.
type sourceDescription struct {
	Name                 string  `json:"name"`
	WindowType           *string `json:"windowType"`
	ReadQueries          []any   `json:"readQueries"`
	WriteQueries         []any   `json:"writeQueries"`
	Fields               []field `json:"fields"`
	Type                 string  `json:"type"`
	Timestamp            string  `json:"timestamp"`
	Statistics           string  `json:"statistics"`
	ErrorStats           string  `json:"errorStats"`
	Extended             bool    `json:"extended"`
	KeyFormat            string  `json:"keyFormat"`
	ValueFormat          string  `json:"valueFormat"`
	Topic                string  `json:"topic"`
	Partitions           int     `json:"partitions"`
	Replication          int     `json:"replication"`
	Statement            string  `json:"statement"`
	QueryOffsetSummaries []any   `json:"queryOffsetSummaries"`
	SourceConstraints    []any   `json:"sourceConstraints"`
}

// field is one column or struct field of a description. Only the columns of a
// key have a type of their own, KEY.
type field struct {
	Name   string      `json:"name"`
	Schema fieldSchema `json:"schema"`
	Type   string      `json:"type,omitempty"`
}

type fieldSchema struct {
	Type         string         `json:"type"`
	Fields       []field        `json:"fields"`
	MemberSchema *fieldSchema   `json:"memberSchema"`
	Parameters   map[string]int `json:"parameters,omitempty"`
}

func describeSource(src *source, extended bool) sourceDescription {
	d := sourceDescription{
		Name: src.name, Type: src.typeName(), Topic: src.topic, KeyFormat: src.keyFormat, ValueFormat: src.valueFormat, Partitions: src.partitions,
		ReadQueries: []any{}, WriteQueries: []any{}, QueryOffsetSummaries: []any{}, SourceConstraints: []any{},
		Extended:  extended,
		Statement: fmt.Sprintf("-- %s is computed by a stand-in", src.name),
	}
	if src.windowed {
		window := "TUMBLING"
		d.WindowType = &window
	}
	for _, c := range src.columns {
		if isWindowBound(c.name) {
			continue // implied by the window type
		}
		f := field{Name: c.name, Schema: schemaOf(c.typ)}
		if c.key {
			f.Type = "KEY"
		}
		d.Fields = append(d.Fields, f)
	}
	return d
}

func schemaOf(t sqlType) fieldSchema {
	s := fieldSchema{Type: t.base.String()}
	switch t.base {
	case typeDecimal:
		s.Parameters = map[string]int{"precision": t.precision, "scale": t.scale}
	case typeArray, typeMap:
		member := schemaOf(*t.elem)
		s.MemberSchema = &member
	case typeStruct:
		s.Fields = []field{}
		for _, f := range t.fields {
			s.Fields = append(s.Fields, field{Name: f.name, Schema: schemaOf(f.typ)})
		}
	}
	return s
}
