package ksqldb

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// value reads a sum of products.
func (p *parser) value() (expr, error) {
	return p.operators([]string{"+", "-", "||"}, func() (expr, error) {
		return p.operators([]string{"*", "/", "%"}, p.unary)
	})
}

// operators reads operands joined by symbols that associate to the left.
func (p *parser) operators(symbols []string, operand func() (expr, error)) (expr, error) {
	left, err := operand()
	for err == nil {
		t := p.peek()
		if t.kind != tokenSymbol || !slices.Contains(symbols, t.text) {
			break
		}
		p.next()
		if (t.text == "/" || t.text == "%") && !p.persistent {
			return nil, beyond("the operator %s", t.text)
		}
		var right expr
		if right, err = operand(); err == nil {
			err = p.grow()
		}
		if t.text == "||" {
			t.text = "+"
		}
		left = arithmetic{t.text, left, right}
	}
	return left, err
}

func (p *parser) unary() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	switch {
	case p.accept("+"):
		return p.unary()
	case p.accept("-"):
		if t := p.peek(); t.kind == tokenInteger || t.kind == tokenDecimal || t.kind == tokenFloat {
			p.next()
			return numberLiteral("-"+t.text, t.kind)
		}
		e, err := p.unary()
		return negate{e}, err
	}
	e, err := p.primary()
	for err == nil {
		switch {
		case p.accept("->"):
			var field string
			field, err = p.identifier()
			e = dereference{e, field}
		case p.accept("["):
			var index expr
			if index, err = p.value(); err == nil && !p.accept("]") {
				err = p.unexpected()
			}
			e = subscript{e, index}
		default:
			return e, nil
		}
		if err == nil {
			err = p.grow()
		}
	}
	return nil, err
}

func (p *parser) primary() (expr, error) {
	t := p.peek()
	switch t.kind {
	case tokenString:
		p.next()
		return literal{sqlType{base: typeString}, t.text}, nil
	case tokenInteger, tokenDecimal, tokenFloat:
		p.next()
		return numberLiteral(t.text, t.kind)
	case tokenSymbol:
		if p.accept("(") {
			e, err := p.boolean()
			if err == nil && !p.accept(")") {
				err = p.unexpected()
			}
			return e, err
		}
	case tokenVariable:
		return nil, refuse("Variable is not defined")
	case tokenWord:
		if e, ok, err := p.keywordValue(t.text); ok || err != nil {
			return e, err
		}
		return p.named()
	case tokenQuoted, tokenDigits:
		return p.named()
	}
	return nil, p.unexpected()
}

// keywordValue reads a value that begins with a keyword.
func (p *parser) keywordValue(word string) (expr, bool, error) {
	switch word {
	case "TRUE", "FALSE":
		p.next()
		return literal{sqlType{base: typeBoolean}, word == "TRUE"}, true, nil
	case "NULL":
		p.next()
		return literal{sqlType{base: typeNull}, nil}, true, nil
	case "DECIMAL":
		p.next()
		t := p.next()
		if t.kind != tokenString {
			return nil, false, syntaxError(p.sql, t.from)
		}
		e, err := decimalLiteral(t.text)
		return e, true, err
	case "CASE", "CAST":
		if p.persistent {
			e, err := p.caseOrCast()
			return e, true, err
		}
		return nil, false, beyond("%s", word)
	case "ARRAY", "MAP", "STRUCT":
		if p.persistent && word == "STRUCT" {
			e, err := p.structConstructor()
			return e, true, err
		}
		if after := p.tokens[p.pos+1]; after.kind == tokenSymbol && (after.text == "[" || after.text == "(") {
			return nil, false, beyond("%s constructors", word)
		}
	}
	return nil, false, nil
}

// named reads what begins with an identifier: a column, a function call or a
// typed literal, of which DECIMAL is the only type there is.
func (p *parser) named() (expr, error) {
	quoted := p.peek().kind == tokenQuoted
	name, err := p.identifier()
	if err != nil {
		return nil, err
	}
	if p.peek().kind == tokenString {
		return nil, refuse("Unknown type: %s", name)
	}
	if !quoted && p.accept("(") {
		return p.arguments(name)
	}
	if p.accept(".") {
		column, err := p.identifier()
		return columnRef{name, column}, err
	}
	return columnRef{"", name}, nil
}

func (p *parser) arguments(name string) (expr, error) {
	c := call{name: name}
	if p.accept(")") {
		return c, nil
	}
	if p.persistent && p.accept("*") {
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return c, nil // COUNT(*)
	}
	for {
		arg, err := p.argument()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return c, nil
	}
}

// numberLiteral makes an INTEGER, BIGINT, DECIMAL or DOUBLE: the form of the
// number decides, and for integers its size.
func numberLiteral(text string, kind tokenKind) (expr, error) {
	switch kind {
	case tokenDecimal:
		return decimalLiteral(text)
	case tokenFloat:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, refuse("Invalid numeric literal")
		}
		return literal{sqlType{base: typeDouble}, f}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, refuse("Invalid numeric literal")
	}
	t := sqlType{base: typeBigint}
	if math.MinInt32 <= n && n <= math.MaxInt32 {
		t.base = typeInteger
	}
	return literal{t, n}, nil
}

// decimalLiteral makes a DECIMAL with the precision and scale it was written in.
func decimalLiteral(text string) (expr, error) {
	digits := strings.TrimLeft(text, "+-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" || len(digits) > 1000 {
		return nil, refuse("Invalid numeric literal")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, refuse("Invalid numeric literal")
	}
	precision := max(len(strings.TrimLeft(whole, "0"))+len(fraction), 1)
	return literal{sqlType{base: typeDecimal, precision: precision, scale: len(fraction)}, r}, nil
}
