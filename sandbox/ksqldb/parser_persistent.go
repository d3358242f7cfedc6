package ksqldb

// caseOrCast reads CASE WHEN ... END or CAST(... AS type).
func (p *parser) caseOrCast() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.keyword("CAST") {
		return p.castExpression()
	}
	p.keyword("CASE")
	var c caseWhen
	for p.keyword("WHEN") {
		when, err := p.boolean()
		if err != nil {
			return nil, err
		}
		if !p.keyword("THEN") {
			return nil, p.unexpected()
		}
		then, err := p.boolean()
		if err != nil {
			return nil, err
		}
		c.when, c.then = append(c.when, when), append(c.then, then)
	}
	if p.keyword("ELSE") {
		var err error
		if c.otherwise, err = p.boolean(); err != nil {
			return nil, err
		}
	}
	if len(c.when) == 0 {
		return nil, beyond("CASE with an operand")
	}
	if !p.keyword("END") {
		return nil, p.unexpected()
	}
	return c, nil
}

func (p *parser) castExpression() (expr, error) {
	if !p.accept("(") {
		return nil, p.unexpected()
	}
	operand, err := p.boolean()
	if err != nil {
		return nil, err
	}
	if !p.keyword("AS") {
		return nil, p.unexpected()
	}
	t, err := p.sqlType(0)
	if err == nil && !p.accept(")") {
		err = p.unexpected()
	}
	return cast{operand, t}, err
}

// structConstructor reads STRUCT(name := value, ...).
func (p *parser) structConstructor() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.keyword("STRUCT")
	if !p.accept("(") {
		return nil, p.unexpected()
	}
	var c construct
	for {
		name, err := p.identifier()
		if err != nil {
			return nil, err
		}
		if !p.accept(":=") {
			return nil, p.unexpected()
		}
		value, err := p.boolean()
		if err != nil {
			return nil, err
		}
		c.names, c.values = append(c.names, name), append(c.values, value)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, p.unexpected()
		}
		return c, nil
	}
}

// argument reads an argument of a function: an expression, or a lambda.
func (p *parser) argument() (expr, error) {
	if p.persistent && p.atIdentifier() {
		if after := p.tokens[p.pos+1]; after.kind == tokenSymbol && after.text == "=>" {
			name := p.next().text
			p.next()
			body, err := p.boolean()
			return lambda{[]string{name}, body}, err
		}
	}
	return p.boolean()
}
