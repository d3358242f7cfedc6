package ksqldb

import (
	"slices"
	"strings"
)

// scope is what the names in a persistent query mean.
type scope struct {
	sources []scopeSource
	lambdas []scopeVariable
}

type scopeSource struct {
	alias string
	src   *source
}

type scopeVariable struct {
	name string
	typ  sqlType
}

// resolve finds a column. With two sources a bare name must be in one of them
// only.
func (s *scope) resolve(ref columnRef) (sqlType, error) {
	if ref.qualifier == "" {
		for _, v := range slices.Backward(s.lambdas) {
			if v.name == ref.name {
				return v.typ, nil
			}
		}
	}
	var found []sqlType
	known := false
	for _, from := range s.sources {
		if ref.qualifier != "" && ref.qualifier != from.alias {
			continue
		}
		known = true
		switch i := from.src.column(ref.name); {
		case i >= 0:
			found = append(found, from.src.columns[i].typ)
		case isPseudoTime(ref.name) && (ref.name == rowtimeName || from.src.windowed):
			found = append(found, sqlType{base: typeBigint})
		}
	}
	switch {
	case !known:
		return sqlType{}, refuse("'%s' is not a valid stream/table name or alias.", ref.qualifier)
	case len(found) == 0:
		return sqlType{}, refuse("Column '%s' cannot be resolved.", ref.name)
	case len(found) > 1:
		return sqlType{}, refuse("Column '%s' is ambiguous.", ref.name)
	}
	return found[0], nil
}

// typeOf types an expression of a persistent query. Predicates are BOOLEAN.
func (s *scope) typeOf(e expr) (sqlType, error) {
	switch e := e.(type) {
	case literal:
		return e.typ, nil
	case columnRef:
		return s.resolve(e)
	case negate:
		return s.arithmetic(arithmetic{"-", literal{sqlType{base: typeInteger}, int64(0)}, e.operand})
	case arithmetic:
		return s.arithmetic(e)
	case call:
		return s.call(e)
	case cast:
		return s.cast(e)
	case construct:
		return s.construct(e)
	case caseWhen:
		return s.caseWhen(e)
	case dereference:
		return s.dereference(e)
	case subscript:
		return s.subscript(e)
	case comparison:
		return s.comparison(e)
	case logical:
		return s.predicates(e.left, e.right)
	case negation:
		return s.predicates(e.operand)
	case nullTest:
		_, err := s.typeOf(e.operand)
		return sqlType{base: typeBoolean}, err
	case like:
		t, err := s.typeOf(e.operand)
		if err == nil && t.base != typeString {
			err = refuse("Like condition must be between strings")
		}
		return sqlType{base: typeBoolean}, err
	}
	return sqlType{}, beyond("this expression in a persistent query")
}

func (s *scope) predicates(operands ...expr) (sqlType, error) {
	for _, operand := range operands {
		t, err := s.typeOf(operand)
		if err != nil {
			return sqlType{}, err
		}
		if t.base != typeBoolean {
			return sqlType{}, refuse("Type error in WHERE expression: should evaluate to boolean but is %s instead.", t)
		}
	}
	return sqlType{base: typeBoolean}, nil
}

func (s *scope) arithmetic(e arithmetic) (sqlType, error) {
	lt, err := s.typeOf(e.left)
	if err != nil {
		return sqlType{}, err
	}
	rt, err := s.typeOf(e.right)
	if err != nil {
		return sqlType{}, err
	}
	t, ok := arithmeticType(e.op, lt, rt)
	if !ok {
		return sqlType{}, refuse("Error processing expression: unsupported arithmetic types. %s %s", lt, rt)
	}
	if t.base == typeDecimal {
		if e.op == "/" || e.op == "%" {
			return sqlType{}, beyond("the division of DECIMAL values")
		}
		// The server caps the precision of what it computes.
		t.precision = min(t.precision, 38)
	}
	return t, nil
}

func (s *scope) comparison(e comparison) (sqlType, error) {
	var types [2]sqlType
	for i, side := range []expr{e.left, e.right} {
		var err error
		if types[i], err = s.typeOf(side); err != nil {
			return sqlType{}, err
		}
	}
	if types[0].base == typeNull || types[1].base == typeNull {
		return sqlType{}, refuse("Comparison with NULL not supported: %s %s %s", types[0].base, e.op, types[1].base)
	}
	_, err := comparer(e, types[0], types[1])
	return sqlType{base: typeBoolean}, err
}

func (s *scope) cast(e cast) (sqlType, error) {
	t, err := s.typeOf(e.operand)
	if err != nil {
		return sqlType{}, err
	}
	scalar := func(t sqlType) bool { return t.isNumber() || t.base == typeString }
	switch {
	case scalar(t) && scalar(e.typ), t.base == typeNull, t.String() == e.typ.String():
	case e.typ.base == typeString && t.base < typeArray:
	case t.base == typeString && (e.typ.isTime() || e.typ.base == typeBoolean):
	case t.base == typeTimestamp && e.typ.isTime(), t.base == typeDate && e.typ.base == typeTimestamp:
	default:
		return sqlType{}, refuse("Cast of %s to %s is not supported", t, e.typ)
	}
	return e.typ, nil
}

func (s *scope) construct(e construct) (sqlType, error) {
	t := sqlType{base: typeStruct}
	for i, value := range e.values {
		ft, err := s.typeOf(value)
		if err != nil {
			return sqlType{}, err
		}
		if slices.ContainsFunc(t.fields, func(f structField) bool { return f.name == e.names[i] }) {
			return sqlType{}, refuse("Duplicate field names found in STRUCT: %s", e.names[i])
		}
		t.fields = append(t.fields, structField{e.names[i], ft})
	}
	return t, nil
}

// caseWhen wants one type for all results; NULL is of any type.
func (s *scope) caseWhen(e caseWhen) (sqlType, error) {
	if _, err := s.predicates(e.when...); err != nil {
		return sqlType{}, err
	}
	results := e.then
	if e.otherwise != nil {
		results = append(slices.Clone(results), e.otherwise)
	}
	out := sqlType{base: typeNull}
	for _, result := range results {
		t, err := s.typeOf(result)
		if err != nil {
			return sqlType{}, err
		}
		switch {
		case out.base == typeNull:
			out = t
		case t.base != typeNull && t.String() != out.String():
			return sqlType{}, refuse("Invalid Case expression. Type for all 'THEN' clauses should be the same: %s and %s", out, t)
		}
	}
	if out.base == typeNull {
		return sqlType{}, refuse("Invalid Case expression. All case branches have a NULL type")
	}
	return out, nil
}

func (s *scope) dereference(e dereference) (sqlType, error) {
	t, err := s.typeOf(e.operand)
	if err != nil {
		return sqlType{}, err
	}
	for _, f := range t.fields {
		if f.name == e.field {
			return f.typ, nil
		}
	}
	return sqlType{}, refuse("Could not find field '%s' in %s.", e.field, t)
}

func (s *scope) subscript(e subscript) (sqlType, error) {
	t, err := s.typeOf(e.operand)
	if err != nil {
		return sqlType{}, err
	}
	if _, err := s.typeOf(e.index); err != nil {
		return sqlType{}, err
	}
	if t.elem == nil {
		return sqlType{}, refuse("Subscript is not supported on %s", t)
	}
	return *t.elem, nil
}

// isAggregate reports whether a function is one of the aggregates known here,
// and whether it can be undone, which a table as its source needs (ksqlDB:
// SchemaKGroupedTable, TableUdaf).
func isAggregate(name string) (known, undoable bool) {
	switch name {
	case "COUNT", "SUM", "AVG", "COLLECT_LIST", "HISTOGRAM", "STDDEV_SAMP", "STDDEV_SAMPLE", "CORRELATION", "ATTR":
		return true, true
	case "MIN", "MAX", "LATEST_BY_OFFSET", "EARLIEST_BY_OFFSET", "COLLECT_SET", "COUNT_DISTINCT", "TOPK", "TOPKDISTINCT":
		return true, false
	}
	return false, false
}

// call types a function. It knows those that migrations have had a use for.
func (s *scope) call(c call) (sqlType, error) {
	if c.name == "TRANSFORM" {
		return s.transform(c)
	}
	types := make([]sqlType, len(c.args))
	for i, arg := range c.args {
		var err error
		if types[i], err = s.typeOf(arg); err != nil {
			return sqlType{}, err
		}
	}
	t, known := functionType(c.name, types)
	switch {
	case !known:
		return sqlType{}, beyond("the function %s", c.name)
	case t.base == typeNull:
		return sqlType{}, noSuchFunction(c.name)
	}
	return t, nil
}

// transform types TRANSFORM(array, x => body).
func (s *scope) transform(c call) (sqlType, error) {
	if len(c.args) != 2 {
		return sqlType{}, noSuchFunction(c.name)
	}
	list, err := s.typeOf(c.args[0])
	if err != nil {
		return sqlType{}, err
	}
	f, ok := c.args[1].(lambda)
	if !ok || list.base != typeArray || len(f.params) != 1 {
		return sqlType{}, noSuchFunction(c.name)
	}
	s.lambdas = append(s.lambdas, scopeVariable{f.params[0], *list.elem})
	elem, err := s.typeOf(f.body)
	s.lambdas = s.lambdas[:len(s.lambdas)-1]
	return sqlType{base: typeArray, elem: &elem}, err
}

// functionType returns the type of a function's result; the NULL type when it
// does not take these arguments.
func functionType(name string, types []sqlType) (t sqlType, known bool) {
	is := func(want ...base) bool {
		if len(types) != len(want) {
			return false
		}
		for i, b := range want {
			number := b == typeDouble && types[i].isNumber() // widened
			if types[i].base != b && !number {
				return false
			}
		}
		return true
	}
	alike := func() bool {
		for _, t := range types {
			if t.String() != types[0].String() {
				return false
			}
		}
		return len(types) > 0
	}
	plain := func(b base, ok bool) (sqlType, bool) {
		if !ok {
			b = typeNull
		}
		return sqlType{base: b}, true
	}
	first := func(ok bool) (sqlType, bool) {
		if !ok {
			return sqlType{}, true
		}
		return types[0], true
	}
	switch name {
	case "COUNT":
		return plain(typeBigint, len(types) <= 1)
	case "SUM":
		return first(len(types) == 1 && types[0].isNumber())
	case "AVG":
		return plain(typeDouble, len(types) == 1 && types[0].isNumber())
	case "MIN", "MAX":
		return first(len(types) == 1)
	case "LATEST_BY_OFFSET", "EARLIEST_BY_OFFSET":
		return first(len(types) == 1 || len(types) == 2 && types[1].base == typeBoolean)
	case "COLLECT_LIST", "COLLECT_SET":
		// Simple types only, by the documentation; newer sources take any.
		if len(types) != 1 || types[0].base >= typeArray {
			return sqlType{}, true
		}
		return sqlType{base: typeArray, elem: &types[0]}, true
	case "COALESCE":
		return first(alike())
	case "IFNULL", "NULLIF":
		return first(alike() && len(types) == 2)
	case "GREATEST", "LEAST":
		return first(alike())
	case "ABS":
		return first(len(types) == 1 && types[0].isNumber())
	case "ROUND":
		if is(typeDouble) && types[0].base == typeDouble {
			return sqlType{base: typeBigint}, true
		}
		return first(len(types) == 2 && types[1].base == typeInteger && (types[0].base == typeDouble || types[0].base == typeDecimal))
	case "ARRAY_SORT":
		return first(len(types) >= 1 && types[0].base == typeArray && types[0].elem.base < typeArray)
	case "ARRAY_CONTAINS":
		return plain(typeBoolean, len(types) == 2 && types[0].base == typeArray && types[0].elem.String() == types[1].String())
	case "TO_JSON_STRING":
		return plain(typeString, len(types) == 1)
	case "EXTRACTJSONFIELD":
		return plain(typeString, is(typeString, typeString))
	case "UCASE", "LCASE", "TRIM":
		return plain(typeString, is(typeString))
	case "CONCAT":
		return plain(typeString, alike() && types[0].base == typeString)
	case "UNIX_TIMESTAMP":
		return plain(typeBigint, len(types) == 0 || is(typeTimestamp))
	case "FROM_UNIXTIME":
		return plain(typeTimestamp, is(typeBigint))
	case "AS_VALUE":
		return first(len(types) == 1)
	}
	return sqlType{}, false
}

// aggregates returns the aggregate calls in an expression.
func aggregates(e expr) []call {
	var found []call
	walk(e, func(e expr) bool {
		c, ok := e.(call)
		if !ok {
			return true
		}
		if known, _ := isAggregate(c.name); known {
			found = append(found, c)
			return false
		}
		return true
	})
	return found
}

// walk visits an expression and what is in it, as long as visit says so.
func walk(e expr, visit func(expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	for _, part := range parts(e) {
		walk(part, visit)
	}
}

func parts(e expr) []expr {
	switch e := e.(type) {
	case negate:
		return []expr{e.operand}
	case arithmetic:
		return []expr{e.left, e.right}
	case call:
		return e.args
	case cast:
		return []expr{e.operand}
	case construct:
		return e.values
	case caseWhen:
		return append(append(slices.Clone(e.when), e.then...), e.otherwise)
	case lambda:
		return []expr{e.body}
	case dereference:
		return []expr{e.operand}
	case subscript:
		return []expr{e.operand, e.index}
	case comparison:
		return []expr{e.left, e.right}
	case logical:
		return []expr{e.left, e.right}
	case negation:
		return []expr{e.operand}
	case nullTest:
		return []expr{e.operand}
	case like:
		return []expr{e.operand, e.pattern}
	}
	return nil
}

// textOf writes an expression so that equal ones are written alike. It leaves out
// qualifiers, which make no difference where there is one source.
func textOf(e expr) string {
	var b strings.Builder
	writeExpr(&b, e)
	return b.String()
}
