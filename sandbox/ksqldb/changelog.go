package ksqldb

import (
	"iter"
	"sync"
	"time"
)

// changelog is what INSERT ... VALUES has written to a source.
type changelog struct {
	mu   sync.Mutex
	rows []loggedRow
}

type loggedRow struct {
	row     Row
	visible time.Time // to tables, by the machine's clock
}

func (l *changelog) add(row Row, visible time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, loggedRow{row, visible})
}

// read returns what is visible now.
func (l *changelog) read(now time.Time) []Row {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rows []Row
	for _, r := range l.rows {
		if !r.visible.After(now) {
			rows = append(rows, r.row)
		}
	}
	return rows
}

// materialize returns the rows of a source. A stream has what was inserted. The
// latest values by key of such a stream are computed; what any other query would
// yield is beyond the stand-in, whose sources then stay empty.
func (c *catalogue) materialize(d *definition, src *source) View {
	columns := make([]Column, len(src.columns))
	for i, col := range src.columns {
		columns[i] = Column{Name: col.name, Type: col.typ.String(), Key: col.key}
	}
	rows := func() iter.Seq[Row] { return func(func(Row) bool) {} }
	switch {
	case d.query == nil && src.kind == KindStream:
		rows = func() iter.Seq[Row] { return all(src.log.read(time.Now())) }
	case d.query != nil:
		if latest := c.latest(d.query, src); latest != nil {
			rows = latest
		}
	}
	return &definedView{Func(src.name, columns, rows), src.kind}
}

// definedView is a View of a source that a statement made.
type definedView struct {
	View
	kind Kind
}

// Kind returns how it answers pull queries.
func (v *definedView) Kind() Kind { return v.kind }

func all(rows []Row) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
}

// latest computes SELECT key, LATEST_BY_OFFSET(column), ... GROUP BY key; nil
// for any other query.
func (c *catalogue) latest(q *persistentQuery, src *source) func() iter.Seq[Row] {
	base := c.sources[q.from.name]
	if base.log == nil || base.kind != KindStream || q.join != nil || q.where != nil || q.having != nil || q.windowed || len(q.groupBy) != 1 {
		return nil
	}
	key, ok := q.groupBy[0].(columnRef)
	if !ok {
		return nil
	}
	from := make([]int, len(src.columns))
	for i, col := range src.columns {
		from[i] = -1
		for _, item := range q.items {
			ref, isRef := item.expr.(columnRef)
			if f, isCall := item.expr.(call); isCall && f.name == "LATEST_BY_OFFSET" && len(f.args) == 1 {
				ref, isRef = f.args[0].(columnRef)
			}
			if isRef && (item.alias == col.name || item.alias == "" && ref.name == col.name) {
				from[i] = base.column(ref.name)
			}
		}
		if from[i] < 0 {
			return nil
		}
	}
	at := base.column(key.name)
	return func() iter.Seq[Row] {
		var order []any
		byKey := make(map[any]Row)
		for _, r := range base.log.read(time.Now()) {
			k := r.Values[at]
			row, known := byKey[k]
			if !known {
				order = append(order, k)
				row.Values = make([]any, len(from))
			}
			row.Time = r.Time
			for i, n := range from {
				if v := r.Values[n]; v != nil { // it ignores NULL
					row.Values[i] = v
				}
			}
			byKey[k] = row
		}
		return func(yield func(Row) bool) {
			for _, k := range order {
				if !yield(byKey[k]) {
					return
				}
			}
		}
	}
}

// insertion is a checked INSERT ... VALUES.
type insertion struct {
	into *source
	row  Row // Time is zero unless the statement gave ROWTIME
}

// insertion reads [(columns)] VALUES (literals).
func (c *catalogue) insertion(p *parser, head change) (*insertion, error) {
	src := c.sources[head.name]
	switch {
	case !head.values:
		return nil, beyond("INSERT INTO ... SELECT")
	case src == nil:
		return nil, refuse("Cannot insert values into an unknown stream/table: %s", head.name)
	case !src.created:
		return nil, refuse("The views of this stand-in are computed in Go; it cannot insert into them")
	case src.readOnly, src.windowed:
		return nil, refuse("Cannot insert values into read-only or windowed source: %s", head.name)
	}
	names, err := p.insertColumns(src)
	if err != nil {
		return nil, err
	}
	values, err := p.insertValues()
	if err != nil {
		return nil, err
	}
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	if len(values) != len(names) {
		return nil, refuse("Expected a value for each column. Expected Columns: %d. Got: %d", len(names), len(values))
	}
	in := &insertion{into: src, row: Row{Values: make([]any, len(src.columns))}}
	for i, name := range names {
		if name == rowtimeName {
			ms, ok := values[i].value.(int64)
			if !ok {
				return nil, refuse("Invalid type for ROWTIME")
			}
			in.row.Time = time.UnixMilli(ms)
			continue
		}
		at := src.column(name)
		if at < 0 {
			return nil, refuse("Column name `%s` does not exist.", name)
		}
		v, ok := inserted(src.columns[at].typ, values[i])
		if !ok {
			return nil, refuse("Expected type %s for field `%s` but got %s", src.columns[at].typ, name, values[i].typ)
		}
		in.row.Values[at] = v
	}
	for _, key := range src.keys() {
		if src.isTable() && in.row.Values[src.column(key)] == nil {
			return nil, refuse("Failed to insert values into '%s'. Value for primary key column(s) `%s` is required for tables", src.name, key)
		}
	}
	return in, nil
}

func (p *parser) insertColumns(src *source) ([]string, error) {
	var names []string
	if !p.accept("(") {
		for _, col := range src.columns {
			names = append(names, col.name)
		}
		return names, nil
	}
	for {
		name, err := p.identifier()
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return names, nil
	}
}

func (p *parser) insertValues() ([]literal, error) {
	if !p.keyword("VALUES") || !p.accept("(") {
		return nil, p.unexpected()
	}
	var values []literal
	for {
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		v, ok := e.(literal)
		if !ok {
			return nil, beyond("expressions in INSERT ... VALUES")
		}
		values = append(values, v)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return values, nil
	}
}

// inserted turns a literal into a value of a column.
func inserted(t sqlType, l literal) (any, bool) {
	switch {
	case l.value == nil:
		return nil, true
	case t.base == typeTimestamp && l.typ.base == typeString:
		return func() (any, bool) { at, ok := parseTimestamp(l.value.(string)); return at, ok }()
	case t.base == typeDouble && l.typ.isNumber():
		return floatOf(l.value), true
	case t.base == typeDecimal && l.typ.isNumber() && l.typ.base != typeDouble:
		return normalize(t, ratOf(l.value))
	}
	return normalize(t, l.value)
}
