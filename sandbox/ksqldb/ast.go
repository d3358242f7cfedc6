package ksqldb

// expr is a node of a parsed expression.
type expr any

type (
	// columnRef names a column, perhaps qualified by the source or its alias.
	columnRef struct{ qualifier, name string }
	// literal is a constant with its type.
	literal struct {
		typ   sqlType
		value any
	}
	// arithmetic is one of + - * over two operands.
	arithmetic struct {
		op          string
		left, right expr
	}
	// negate is a minus in front of something that is not a number literal.
	negate struct{ operand expr }
	// call is a function call.
	call struct {
		name string
		args []expr
	}
	// dereference is a field of a struct.
	dereference struct {
		operand expr
		field   string
	}
	// subscript is an element of an array or a map.
	subscript struct{ operand, index expr }

	// comparison is one of = <> < <= > >=.
	comparison struct {
		op          string
		left, right expr
	}
	// logical is AND or OR.
	logical struct {
		and         bool
		left, right expr
	}
	// like is a LIKE predicate; escape is empty if there is none.
	like struct {
		operand, pattern expr
		escape           string
	}
	// refusedPredicate is a predicate that parses and that pull queries refuse,
	// such as NOT and IS NULL.
	refusedPredicate struct{ what string }
)

// Nodes of persistent queries alone.
type (
	// negation is NOT, and IS NOT NULL.
	negation struct{ operand expr }
	// nullTest is IS NULL.
	nullTest struct{ operand expr }
	// caseWhen is a searched CASE; otherwise is nil without ELSE.
	caseWhen struct {
		when, then []expr
		otherwise  expr
	}
	// cast is CAST(operand AS typ).
	cast struct {
		operand expr
		typ     sqlType
	}
	// construct is STRUCT(name := value, ...).
	construct struct {
		names  []string
		values []expr
	}
	// lambda is (params) => body, an argument of a function.
	lambda struct {
		params []string
		body   expr
	}
)

// selectItem is one entry of the SELECT list.
type selectItem struct {
	star  bool
	expr  expr
	alias string // empty if there is none
}

// selectStatement is a parsed pull query.
type selectStatement struct {
	items  []selectItem
	source string
	alias  string
	where  expr // nil if there is none
	limit  int  // -1 if there is none
}

// flip returns the operator that says the same with its sides exchanged.
func flip(op string) string {
	switch op {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return op
}
