package ksqldb

import (
	"bufio"
	"io"
	"strings"
)

// flushSize is how much of a pull answer the server collects before it writes.
const flushSize = 5 << 10

// answer writes the body of one query in its framing. Write errors stay in the
// buffered writer and come out of flush.
type answer struct {
	w       *bufio.Writer
	framing framing
	columns []outColumn
	types   []sqlType
	scratch []byte
}

func newAnswer(w io.Writer, f framing, columns []outColumn) *answer {
	a := &answer{w: bufio.NewWriterSize(w, flushSize), framing: f, columns: columns}
	for _, c := range columns {
		a.types = append(a.types, c.typ)
	}
	return a
}

// header writes the first element: the names and types of the columns.
func (a *answer) header(queryID string) {
	if a.framing == framingKSQL {
		parts := make([]string, len(a.columns))
		for i, c := range a.columns {
			parts[i] = "`" + c.name + "` " + c.typ.String()
			if c.key {
				parts[i] += " KEY"
			}
		}
		type header struct {
			QueryID string `json:"queryId"`
			Schema  string `json:"schema"`
		}
		a.raw("[")
		a.object(map[string]header{"header": {queryID, strings.Join(parts, ", ")}})
		return
	}
	header := struct {
		QueryID     string   `json:"queryId"`
		ColumnNames []string `json:"columnNames"`
		ColumnTypes []string `json:"columnTypes"`
	}{QueryID: queryID}
	for _, c := range a.columns {
		header.ColumnNames = append(header.ColumnNames, c.name)
		header.ColumnTypes = append(header.ColumnTypes, c.typ.String())
	}
	if a.framing == framingArray {
		a.raw("[")
	}
	a.object(header)
	if a.framing == framingDelimited {
		a.raw("\n")
	}
}

// row writes one row of normalised values.
func (a *answer) row(values []any) {
	b := a.scratch[:0]
	switch a.framing {
	case framingKSQL:
		b = append(b, ",\n"+`{"row":{"columns":`...)
	case framingArray:
		b = append(b, ',')
	}
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, a.types[i], v, false)
	}
	b = append(b, ']')
	switch a.framing {
	case framingKSQL:
		b = append(b, "}}"...)
	case framingDelimited:
		b = append(b, '\n')
	}
	_, _ = a.w.Write(b) // the error is kept and returned by flush
	a.scratch = b
}

// fail writes an error as the last element.
func (a *answer) fail(code int, message string) {
	e := errorMessage{"generic_error", code, message}
	switch a.framing {
	case framingKSQL:
		a.raw(",\n")
		a.object(map[string]errorMessage{"errorMessage": e})
	case framingArray:
		a.raw(",")
		a.object(e)
	default:
		a.object(e)
		a.raw("\n")
	}
}

// end closes the body. Only v1+json has a final message, and only streams have
// one there.
func (a *answer) end(finalMessage string) {
	if a.framing == framingDelimited {
		return
	}
	if a.framing == framingKSQL && finalMessage != "" {
		a.raw(",\n")
		a.object(map[string]string{"finalMessage": finalMessage})
	}
	a.raw("]")
}

func (a *answer) flush() error { return a.w.Flush() }

func (a *answer) raw(s string) { _, _ = a.w.WriteString(s) } // the error is kept and returned by flush

func (a *answer) object(v any) {
	b, _ := marshal(v) // structs of strings and numbers always encode
	_, _ = a.w.Write(b)
}
