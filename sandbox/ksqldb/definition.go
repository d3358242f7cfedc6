package ksqldb

import (
	"slices"
	"strings"
)

// definition is a parsed CREATE STREAM or CREATE TABLE.
type definition struct {
	table       bool
	name        string
	replace     bool
	ifNotExists bool
	readOnly    bool // CREATE SOURCE
	columns     []definedColumn
	with        map[string]literal
	query       *persistentQuery // nil without AS SELECT
}

type definedColumn struct {
	name    string
	typ     sqlType
	key     bool // KEY
	primary bool // PRIMARY KEY
}

// persistentQuery is the SELECT of a CREATE ... AS SELECT.
type persistentQuery struct {
	items       []selectItem
	from        namedSource
	join        *joinClause
	windowed    bool
	where       expr
	groupBy     []expr
	partitionBy expr
	having      expr
}

type namedSource struct{ name, alias string }

type joinClause struct {
	kind            string // INNER, LEFT, RIGHT or FULL
	right           namedSource
	leftOn, rightOn expr
}

// parseDefinition reads what follows CREATE [OR REPLACE] [SOURCE] STREAM|TABLE
// [IF NOT EXISTS].
func parseDefinition(p *parser, head change) (*definition, error) {
	p.persistent = true
	d := &definition{table: head.kind == "TABLE", name: head.name, replace: head.replace, ifNotExists: head.ifNotExists, readOnly: head.readOnly}
	var err error
	if p.accept("(") {
		if d.columns, err = p.definedColumns(); err != nil {
			return nil, err
		}
	}
	if p.keyword("WITH") {
		if d.with, err = p.withClause(); err != nil {
			return nil, err
		}
	}
	if p.keyword("AS") {
		if d.query, err = p.persistentSelect(); err != nil {
			return nil, err
		}
	}
	if p.peek().kind != tokenEnd || d.query != nil && d.columns != nil {
		return nil, p.unexpected()
	}
	return d, nil
}

func (p *parser) definedColumns() ([]definedColumn, error) {
	var columns []definedColumn
	for {
		name, err := p.identifier()
		if err != nil {
			return nil, err
		}
		t, err := p.sqlType(0)
		if err != nil {
			return nil, err
		}
		c := definedColumn{name: name, typ: t}
		c.primary = p.keyword("PRIMARY", "KEY")
		c.key = !c.primary && p.keyword("KEY")
		columns = append(columns, c)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return columns, nil
	}
}

// withClause reads WITH (NAME = literal, ...).
func (p *parser) withClause() (map[string]literal, error) {
	if !p.accept("(") {
		return nil, p.unexpected()
	}
	with := make(map[string]literal)
	for {
		t := p.next()
		if t.kind != tokenWord && t.kind != tokenString && t.kind != tokenQuoted {
			return nil, syntaxError(p.sql, t.from)
		}
		if !p.accept("=") {
			return nil, p.unexpected()
		}
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		value, ok := e.(literal)
		if !ok {
			return nil, p.unexpected()
		}
		with[strings.ToUpper(t.text)] = value
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return with, nil
	}
}

// persistentSelect reads the clauses in the order of the grammar.
func (p *parser) persistentSelect() (*persistentQuery, error) {
	if !p.keyword("SELECT") {
		return nil, p.unexpected()
	}
	q := new(persistentQuery)
	for {
		item, err := p.selectItem()
		if err != nil {
			return nil, err
		}
		q.items = append(q.items, item)
		if !p.accept(",") {
			break
		}
	}
	if err := p.sourcesClause(q); err != nil {
		return nil, err
	}
	var err error
	if p.keyword("WINDOW") {
		q.windowed = true
		if err := p.windowClause(); err != nil {
			return nil, err
		}
	}
	if p.keyword("WHERE") {
		if q.where, err = p.boolean(); err != nil {
			return nil, err
		}
	}
	if p.keyword("GROUP", "BY") {
		if q.groupBy, err = p.groupByClause(); err != nil {
			return nil, err
		}
	}
	if p.keyword("PARTITION", "BY") {
		if q.partitionBy, err = p.value(); err != nil {
			return nil, err
		}
	}
	if p.keyword("HAVING") {
		if q.having, err = p.boolean(); err != nil {
			return nil, err
		}
	}
	if p.keyword("EMIT", "FINAL") {
		return nil, beyond("EMIT FINAL")
	}
	p.keyword("EMIT", "CHANGES")
	if p.keyword("LIMIT") {
		return nil, refuse("CREATE AS SELECT statements don't support LIMIT clause.")
	}
	return q, nil
}

func (p *parser) sourcesClause(q *persistentQuery) error {
	if !p.keyword("FROM") {
		return p.unexpected()
	}
	var err error
	if q.from, err = p.namedSource(); err != nil {
		return err
	}
	kind := ""
	switch {
	case p.keyword("JOIN"), p.keyword("INNER", "JOIN"):
		kind = "INNER"
	default:
		for _, side := range []string{"LEFT", "RIGHT", "FULL"} {
			if p.keyword(side, "OUTER", "JOIN") || p.keyword(side, "JOIN") {
				kind = side
			}
		}
	}
	if kind == "" {
		return nil
	}
	j := &joinClause{kind: kind}
	if j.right, err = p.namedSource(); err != nil {
		return err
	}
	if !p.keyword("ON") {
		return p.unexpected()
	}
	on, err := p.boolean()
	if err != nil {
		return err
	}
	equal, ok := on.(comparison)
	if !ok || equal.op != "=" {
		return refuse("Only equality join criteria is supported.")
	}
	j.leftOn, j.rightOn = equal.left, equal.right
	q.join = j
	if t := p.peek(); t.kind == tokenWord && slices.Contains([]string{"JOIN", "INNER", "LEFT", "RIGHT", "FULL"}, t.text) {
		return beyond("joins of more than two sources")
	}
	return nil
}

func (p *parser) namedSource() (namedSource, error) {
	name, err := p.identifier()
	if err != nil {
		return namedSource{}, err
	}
	s := namedSource{name, name}
	clause := p.peek().kind == tokenWord && slices.Contains([]string{"EMIT", "PARTITION"}, p.peek().text)
	if p.keyword("AS") || p.atIdentifier() && !clause {
		s.alias, err = p.identifier()
	}
	return s, err
}

// windowClause reads TUMBLING (SIZE n unit [, RETENTION n unit] [, GRACE PERIOD n unit]).
func (p *parser) windowClause() error {
	if !p.keyword("TUMBLING") {
		return beyond("windows that are not TUMBLING")
	}
	if !p.accept("(") {
		return p.unexpected()
	}
	for first := true; ; first = false {
		ok := p.keyword("SIZE")
		if !first {
			ok = p.keyword("RETENTION") || p.keyword("GRACE", "PERIOD")
		}
		n, unit := p.next(), p.next()
		units := []string{"DAY", "DAYS", "HOUR", "HOURS", "MINUTE", "MINUTES", "SECOND", "SECONDS", "MILLISECOND", "MILLISECONDS"}
		if !ok || n.kind != tokenInteger || unit.kind != tokenWord || !slices.Contains(units, unit.text) {
			return syntaxError(p.sql, n.from)
		}
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return p.unexpected()
		}
		return nil
	}
}

func (p *parser) groupByClause() ([]expr, error) {
	parens := p.peek().text == "(" && p.peek().kind == tokenSymbol
	if parens {
		p.next()
	}
	var list []expr
	for {
		e, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.accept(",") {
			break
		}
	}
	if parens && !p.accept(")") {
		return nil, p.unexpected()
	}
	return list, nil
}
