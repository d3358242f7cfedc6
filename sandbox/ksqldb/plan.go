package ksqldb

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// plan is a pull query ready to run.
type plan struct {
	src     *source
	columns []outColumn
	where   func(*evalRow) bool // nil means every row
	limit   int                 // -1 means none
}

// outColumn is one column of the answer.
type outColumn struct {
	name  string
	typ   sqlType
	key   bool
	value evaluator
}

// evaluator computes one value from a row; nil is NULL.
type evaluator func(*evalRow) any

// evalRow is a row under evaluation. The first value of the view that does not
// fit its column ends the query.
type evalRow struct {
	src *source
	row Row
	err error
}

// column returns a normalised value.
func (r *evalRow) column(i int) any {
	c := r.src.columns[i]
	if i >= len(r.row.Values) {
		r.fail(&valueError{c.name, c.typ, nil})
		return nil
	}
	v, ok := normalize(c.typ, r.row.Values[i])
	if !ok {
		r.fail(&valueError{c.name, c.typ, r.row.Values[i]})
		return nil
	}
	return v
}

func (r *evalRow) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// planner types one statement against one source.
type planner struct {
	src   *source
	alias string
	now   time.Time
}

// planOptions are the settings a request can override.
type planOptions struct {
	tableScan, rangeScan, limitClause bool
}

// planQuery parses and plans exactly one pull query.
func planQuery(sql string, sources map[string]*source, now time.Time, opts planOptions) (*plan, error) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	statements, err := splitStatements(sql, tokens)
	if err != nil {
		return nil, err
	}
	if len(statements) != 1 {
		return nil, refuse("Expected exactly one KSQL statement; found %d instead", len(statements))
	}
	switch first := statements[0][0]; {
	case first.kind == tokenWord && first.text == "PRINT":
		return nil, refuse("Could not find topic: the stand-in has no topics")
	case first.kind != tokenWord || first.text != "SELECT":
		if !startsStatement(first) {
			return nil, syntaxError(sql, first.from)
		}
		return nil, refuse("The %s statement cannot be sent to a query endpoint; use /ksql", first.text)
	}
	stmt, err := parseSelect(sql, statements[0])
	if err != nil {
		return nil, err
	}
	src := sources[stmt.source]
	if src == nil {
		return nil, refuse("%s does not exist.", stmt.source)
	}
	if src.kind == KindUnmaterialized {
		return nil, refuse("The %s table isn't queryable. To derive a queryable table, you can do 'CREATE TABLE QUERYABLE_%s AS SELECT * FROM %s'.",
			src.name, src.name, src.name)
	}
	if stmt.limit >= 0 && !opts.limitClause {
		return nil, refuse("LIMIT clause in pull queries is currently disabled.")
	}
	return buildPlan(stmt, src, now, opts)
}

func buildPlan(stmt *selectStatement, src *source, now time.Time, opts planOptions) (*plan, error) {
	b := &planner{src: src, alias: stmt.alias, now: now}
	p := &plan{src: src, limit: stmt.limit}
	var err error
	if p.columns, err = b.projection(stmt.items); err != nil {
		return nil, err
	}
	if stmt.where != nil {
		if p.where, err = b.predicate(stmt.where); err != nil {
			return nil, err
		}
		if src.kind != KindStream {
			err = checkAccess(stmt.where, src, opts)
		}
	} else if src.kind != KindStream && !opts.tableScan {
		err = refuse("Missing WHERE clause. Pull queries require one while table scans are off.")
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// projection types the SELECT list and names its columns.
func (b *planner) projection(items []selectItem) ([]outColumn, error) {
	for _, item := range items {
		if item.star && len(items) > 1 {
			return nil, refuse("Pull queries only support wildcards in the projects if they are the only expression")
		}
	}
	if items[0].star {
		return b.everything(), nil
	}
	var columns []outColumn
	taken := make(map[string]bool)
	for _, c := range b.src.columns {
		taken[c.name] = true // a generated name avoids the names of the source
	}
	seen := make(map[string]bool)
	for _, item := range items {
		t, eval, err := b.value(item.expr)
		if err != nil {
			return nil, err
		}
		if t.base == typeNull {
			return nil, beyond("NULL in the SELECT list")
		}
		name, err := b.columnName(item, taken)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, refuse("Duplicate columns found in schema: %s", name)
		}
		seen[name], taken[name] = true, true
		columns = append(columns, outColumn{name, t, b.isKey(name), eval})
	}
	return columns, nil
}

// everything is SELECT *: the key columns, the window bounds, the values.
func (b *planner) everything() []outColumn {
	var keys, bounds, values []outColumn
	for i, c := range b.src.columns {
		out := outColumn{c.name, c.typ, c.key, func(r *evalRow) any { return r.column(i) }}
		switch {
		case c.name == windowStartName || c.name == windowEndName:
			bounds = append(bounds, out)
		case c.key:
			keys = append(keys, out)
		default:
			values = append(values, out)
		}
	}
	return append(append(keys, bounds...), values...)
}

// isKey reports whether a column of this name counts as a key in the answer.
// The name decides, not what it holds, as in the server's QueryProjectNode.
func (b *planner) isKey(name string) bool {
	i := b.src.column(name)
	return i >= 0 && b.src.columns[i].key
}

// columnName returns the alias, or the name the server makes up.
func (b *planner) columnName(item selectItem, taken map[string]bool) (string, error) {
	ref, isRef := item.expr.(columnRef)
	if item.alias == "" {
		switch e := item.expr.(type) {
		case columnRef:
			return e.name, nil
		case dereference:
			return generate(e.field, "", 0, taken), nil
		}
		return generate("KSQL_COL", "_", -1, taken), nil
	}
	for _, name := range []string{rowtimeName, "ROWPARTITION", "ROWOFFSET", windowStartName, windowEndName} {
		if strings.EqualFold(item.alias, name) && !(isRef && strings.EqualFold(ref.name, name)) {
			return "", refuse("`%s` is a reserved column name. You cannot use it as an alias for a column.", name)
		}
	}
	return item.alias, nil
}

// generate finds a free name: NAME or NAME_1 for a field, KSQL_COL_0 and so on
// for an expression (from is -1).
func generate(prefix, sep string, from int, taken map[string]bool) string {
	if from == 0 && !taken[prefix] {
		return prefix
	}
	if sep == "" {
		sep = "_"
	}
	for n := from + 1; ; n++ {
		if name := prefix + sep + strconv.Itoa(n); !taken[name] {
			return name
		}
	}
}

// value types an expression that is not a predicate.
func (b *planner) value(e expr) (sqlType, evaluator, error) {
	switch e := e.(type) {
	case literal:
		return e.typ, func(*evalRow) any { return e.value }, nil
	case columnRef:
		return b.columnRef(e)
	case negate:
		return b.arithmetic(arithmetic{"-", literal{sqlType{base: typeInteger}, int64(0)}, e.operand})
	case arithmetic:
		return b.arithmetic(e)
	case call:
		return b.call(e)
	case dereference:
		return b.dereference(e)
	case subscript:
		return b.subscript(e)
	case refusedPredicate:
		return sqlType{}, nil, unsupportedWhere(e.what)
	}
	return sqlType{}, nil, beyond("a predicate as a value")
}

func (b *planner) columnRef(e columnRef) (sqlType, evaluator, error) {
	if e.qualifier != "" && e.qualifier != b.alias {
		return sqlType{}, nil, refuse("'%s' is not a valid stream/table name or alias.", e.qualifier)
	}
	switch e.name {
	case rowtimeName:
		return sqlType{base: typeBigint}, func(r *evalRow) any {
			if r.row.Time.IsZero() {
				return nil
			}
			return r.row.Time.UnixMilli()
		}, nil
	case "ROWPARTITION", "ROWOFFSET":
		return sqlType{}, nil, refuse("Pull queries don't support the following columns in SELECT and WHERE clauses: `%s`", e.name)
	}
	i := b.src.column(e.name)
	if i < 0 {
		return sqlType{}, nil, refuse("Column '%s' cannot be resolved.", e.name)
	}
	return b.src.columns[i].typ, func(r *evalRow) any { return r.column(i) }, nil
}

func (b *planner) dereference(e dereference) (sqlType, evaluator, error) {
	t, operand, err := b.value(e.operand)
	if err != nil {
		return sqlType{}, nil, err
	}
	if t.base != typeStruct {
		return sqlType{}, nil, refuse("Expected STRUCT type, got: %s", t)
	}
	for _, f := range t.fields {
		if f.name == e.field {
			return f.typ, func(r *evalRow) any {
				m, _ := operand(r).(map[string]any) // NULL has no fields
				return m[f.name]
			}, nil
		}
	}
	return sqlType{}, nil, refuse("Could not find field '%s' in struct.", e.field)
}

// subscript reads an element: arrays count from one and, with a negative index,
// from the end; what is not there is NULL.
func (b *planner) subscript(e subscript) (sqlType, evaluator, error) {
	t, operand, err := b.value(e.operand)
	if err != nil {
		return sqlType{}, nil, err
	}
	it, index, err := b.value(e.index)
	if err != nil {
		return sqlType{}, nil, err
	}
	switch {
	case t.base == typeArray && (it.base == typeInteger || it.base == typeBigint):
		return *t.elem, func(r *evalRow) any {
			list, _ := operand(r).([]any)
			n, ok := index(r).(int64)
			if n < 0 {
				n += int64(len(list)) + 1
			}
			if !ok || n < 1 || n > int64(len(list)) {
				return nil
			}
			return list[n-1]
		}, nil
	case t.base == typeMap && it.base == typeString:
		return *t.elem, func(r *evalRow) any {
			m, _ := operand(r).(map[string]any)
			key, ok := index(r).(string)
			if !ok {
				return nil
			}
			return m[key]
		}, nil
	}
	return sqlType{}, nil, refuse("Subscript %s is not supported on %s", it, t)
}

// ratOf and floatOf widen a number.
func ratOf(v any) *big.Rat {
	switch n := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(n)
	case *big.Rat:
		return n
	}
	return new(big.Rat)
}

func floatOf(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case float64:
		return n
	case *big.Rat:
		f, _ := n.Float64()
		return f
	}
	return 0
}
