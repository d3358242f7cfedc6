package ksqldb

import (
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of expressions and types, and maxNodes their
// number, so that no statement can exhaust the stack.
const (
	maxDepth = 200
	maxNodes = 100_000
)

// parser reads one statement from its tokens.
type parser struct {
	sql    string
	tokens []token
	pos    int
	depth  int
	nodes  int
	// persistent reads the expressions of persistent queries too: CASE, CAST,
	// constructors, lambdas, division, NOT, IS NULL.
	persistent bool
}

func (p *parser) peek() token { return p.tokens[p.pos] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tokenEnd {
		p.pos++
	}
	return t
}

// accept consumes this symbol if it is next.
func (p *parser) accept(symbol string) bool {
	if t := p.peek(); t.kind == tokenSymbol && t.text == symbol {
		p.pos++
		return true
	}
	return false
}

// keyword consumes these words if they are next.
func (p *parser) keyword(words ...string) bool {
	for i, word := range words {
		if p.pos+i >= len(p.tokens) {
			return false
		}
		if t := p.tokens[p.pos+i]; t.kind != tokenWord || t.text != word {
			return false
		}
	}
	p.pos += len(words)
	return true
}

// unexpected is the syntax error at the next token.
func (p *parser) unexpected() *apiError { return syntaxError(p.sql, p.peek().from) }

// reserved are the words of the grammar that are identifiers only in back-quotes
// (ksqlDB: SqlBase.g4, tokens that the rule nonReserved does not list).
const reserved = " SELECT FROM AS ALL DISTINCT WHERE WITHIN WINDOW GROUP BY HAVING LIMIT AT OR AND IN NOT EXISTS " +
	"BETWEEN LIKE IS NULL TRUE FALSE MILLISECOND YEARS MONTHS DAYS HOURS MINUTES SECONDS MILLISECONDS TUMBLING " +
	"HOPPING SIZE ADVANCE RETENTION CASE WHEN THEN ELSE END JOIN FULL OUTER INNER LEFT RIGHT ON WITH VALUES CREATE " +
	"TABLE TOPIC STREAM STREAMS INSERT DELETE INTO DESCRIBE EXTENDED PRINT CAST LIST TOPICS QUERY QUERIES TERMINATE " +
	"LOAD DROP TO RENAME SAMPLE EXPORT CATALOG PROPERTIES BEGINNING UNSET RUN SCRIPT DECIMAL CONNECTOR CONNECTORS " +
	"NAMESPACE MATERIALIZED VIEW "

func isReserved(word string) bool { return strings.Contains(reserved, " "+word+" ") }

// atIdentifier reports whether an identifier is next.
func (p *parser) atIdentifier() bool {
	t := p.peek()
	return t.kind == tokenQuoted || t.kind == tokenWord && !isReserved(t.text)
}

// identifier reads a name: upper case, unless it was quoted.
func (p *parser) identifier() (string, error) {
	if p.peek().kind == tokenDigits {
		return "", refuse("identifiers must not start with a digit; surround the identifier with back-quotes")
	}
	if !p.atIdentifier() {
		return "", p.unexpected()
	}
	return p.next().text, nil
}

// parseSelect reads a pull query. Clauses that parse but that a pull query must
// not have are refused by name.
func parseSelect(sql string, tokens []token) (*selectStatement, error) {
	p := &parser{sql: sql, tokens: tokens}
	if !p.keyword("SELECT") {
		return nil, p.unexpected()
	}
	s := &selectStatement{limit: -1}
	for {
		item, err := p.selectItem()
		if err != nil {
			return nil, err
		}
		s.items = append(s.items, item)
		if !p.accept(",") {
			break
		}
	}
	if err := p.fromClause(s); err != nil {
		return nil, err
	}
	if p.keyword("WINDOW") {
		return nil, refuse("Pull queries don't support WINDOW clauses.")
	}
	if p.keyword("WHERE") {
		where, err := p.boolean()
		if err != nil {
			return nil, err
		}
		s.where = where
	}
	for _, clause := range [][]string{{"GROUP", "BY"}, {"PARTITION", "BY"}, {"HAVING"}} {
		if p.keyword(clause...) {
			return nil, refuse("Pull queries don't support %s clauses.", strings.Join(clause, " "))
		}
	}
	if p.keyword("EMIT", "CHANGES") || p.keyword("EMIT", "FINAL") {
		return nil, beyond("push queries (EMIT)")
	}
	if err := p.limitClause(s); err != nil {
		return nil, err
	}
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	return s, nil
}

func (p *parser) fromClause(s *selectStatement) error {
	if !p.keyword("FROM") {
		return p.unexpected()
	}
	var err error
	if s.source, err = p.identifier(); err != nil {
		return err
	}
	s.alias = s.source
	// EMIT and PARTITION may be names, but here they begin a clause.
	clause := p.peek().kind == tokenWord && slices.Contains([]string{"EMIT", "PARTITION"}, p.peek().text)
	if p.keyword("AS") || p.atIdentifier() && !clause {
		if s.alias, err = p.identifier(); err != nil {
			return err
		}
	}
	if t := p.peek(); t.kind == tokenWord && slices.Contains([]string{"JOIN", "INNER", "LEFT", "RIGHT", "FULL"}, t.text) {
		return refuse("Pull queries don't support JOIN clauses.")
	}
	return nil
}

func (p *parser) limitClause(s *selectStatement) error {
	if !p.keyword("LIMIT") {
		return nil
	}
	if p.accept("-") {
		return refuse("Pull queries don't support negative integers in the LIMIT clause.")
	}
	t := p.next()
	if t.kind != tokenInteger {
		return syntaxError(p.sql, t.from)
	}
	n, err := strconv.ParseInt(t.text, 10, 32)
	if err != nil {
		return refuse("Invalid limit: not an integer")
	}
	s.limit = int(n)
	return nil
}

func (p *parser) selectItem() (selectItem, error) {
	if p.accept("*") {
		return selectItem{star: true}, nil
	}
	e, err := p.value()
	if err != nil {
		return selectItem{}, err
	}
	item := selectItem{expr: e}
	if p.keyword("AS") || p.atIdentifier() {
		if item.alias, err = p.identifier(); err != nil {
			return selectItem{}, err
		}
		return item, nil
	}
	if p.atPredicate() {
		return selectItem{}, beyond("predicates in the SELECT list")
	}
	return item, nil
}

// atPredicate reports whether what follows makes a predicate of a value.
func (p *parser) atPredicate() bool {
	t := p.peek()
	switch t.kind {
	case tokenSymbol:
		return slices.Contains([]string{"=", "<>", "!=", "<", "<=", ">", ">="}, t.text)
	case tokenWord:
		return slices.Contains([]string{"NOT", "BETWEEN", "IN", "LIKE", "IS", "AND", "OR"}, t.text)
	}
	return false
}

// enter guards one level of recursion; leave ends it.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return refuse("statement is nested too deeply")
	}
	return p.grow()
}

func (p *parser) leave() { p.depth-- }

// grow counts one node.
func (p *parser) grow() error {
	if p.nodes++; p.nodes > maxNodes {
		return refuse("statement is too large")
	}
	return nil
}

// boolean reads operands joined by OR.
func (p *parser) boolean() (expr, error) {
	return p.chain("OR", func() (expr, error) { return p.chain("AND", p.negated) })
}

// chain reads operands joined by one word, which associates to the left.
func (p *parser) chain(word string, operand func() (expr, error)) (expr, error) {
	left, err := operand()
	for err == nil && p.keyword(word) {
		var right expr
		if right, err = operand(); err == nil {
			err = p.grow()
		}
		left = logical{word == "AND", left, right}
	}
	return left, err
}

func (p *parser) negated() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.keyword("NOT") {
		e, err := p.negated()
		if err != nil {
			return nil, err
		}
		return p.not(e), nil
	}
	return p.predicated()
}

// predicated reads a value and the predicate on it, if there is one.
func (p *parser) predicated() (expr, error) {
	left, err := p.value()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind == tokenSymbol && p.atPredicate() {
		p.next()
		right, err := p.value()
		if err != nil {
			return nil, err
		}
		op := t.text
		if op == "!=" {
			op = "<>"
		}
		return comparison{op, left, right}, nil
	}
	if p.keyword("IS") {
		return p.isPredicate(left)
	}
	not := p.keyword("NOT")
	e, err := p.wordPredicate(left, not)
	if err == nil && not {
		e = p.not(e)
	}
	return e, err
}

// not negates a predicate, which pull queries do not take.
func (p *parser) not(e expr) expr {
	if p.persistent {
		return negation{e}
	}
	return refusedPredicate{"NOT"}
}

func (p *parser) isPredicate(left expr) (expr, error) {
	not := p.keyword("NOT")
	if p.keyword("NULL") {
		switch {
		case p.persistent && not:
			return negation{nullTest{left}}, nil
		case p.persistent:
			return nullTest{left}, nil
		case not:
			return refusedPredicate{"IS NOT NULL"}, nil
		}
		return refusedPredicate{"IS NULL"}, nil
	}
	if p.keyword("DISTINCT", "FROM") {
		return nil, beyond("IS DISTINCT FROM")
	}
	return nil, p.unexpected()
}

// wordPredicate reads BETWEEN, IN or LIKE. BETWEEN becomes two comparisons and
// IN an OR of equalities, as the server rewrites them.
func (p *parser) wordPredicate(left expr, not bool) (expr, error) {
	switch {
	case p.keyword("BETWEEN"):
		low, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.keyword("AND") {
			return nil, p.unexpected()
		}
		high, err := p.value()
		if err != nil {
			return nil, err
		}
		return logical{true, comparison{">=", left, low}, comparison{"<=", left, high}}, nil
	case p.keyword("IN"):
		return p.inList(left)
	case p.keyword("LIKE"):
		pattern, err := p.value()
		if err != nil {
			return nil, err
		}
		escape := ""
		if p.keyword("ESCAPE") {
			t := p.next()
			if t.kind != tokenString {
				return nil, syntaxError(p.sql, t.from)
			}
			if len([]rune(t.text)) != 1 {
				return nil, refuse("Expected a single escape character")
			}
			escape = t.text
		}
		return like{left, pattern, escape}, nil
	case not:
		return nil, p.unexpected()
	}
	return left, nil
}

func (p *parser) inList(left expr) (expr, error) {
	if !p.accept("(") {
		return nil, p.unexpected()
	}
	var e expr
	for {
		right, err := p.boolean()
		if err != nil {
			return nil, err
		}
		if err := p.grow(); err != nil {
			return nil, err
		}
		equal := comparison{"=", left, right}
		if e == nil {
			e = equal
		} else {
			e = logical{false, e, equal}
		}
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return e, nil
	}
}
