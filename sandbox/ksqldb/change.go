package ksqldb

import "slices"

// change is the head of a statement that changes the catalogue.
type change struct {
	verb, kind, name string
	replace          bool
	readOnly         bool // CREATE SOURCE
	ifNotExists      bool
	ifExists         bool
	asSelect         bool // CREATE ... AS SELECT
	values           bool // INSERT ... VALUES
}

// message is what a status says of a statement that is done.
func (c change) message() string {
	switch c.verb {
	case "CREATE":
		return map[string]string{"STREAM": "Stream created", "TABLE": "Table created"}[c.kind]
	case "DROP":
		return "Source `" + c.name + "` was dropped."
	case "TERMINATE":
		return "Query terminated."
	}
	return ""
}

func parseChange(p *parser) (change, error) {
	c := change{verb: p.next().text}
	switch c.verb {
	case "CREATE":
		c.replace = p.keyword("OR", "REPLACE")
		c.readOnly = p.keyword("SOURCE")
	case "INSERT":
		if !p.keyword("INTO") {
			return c, p.unexpected()
		}
		c.kind = "STREAM"
	case "TERMINATE":
		c.kind = "TERMINATE"
	case "DROP", "ALTER":
	default:
		return c, beyond("%s", c.verb)
	}
	if c.kind == "" {
		t := p.next()
		if t.kind != tokenWord || !slices.Contains([]string{"STREAM", "TABLE", "TYPE", "CONNECTOR"}, t.text) {
			return c, syntaxError(p.sql, t.from)
		}
		c.kind = t.text
	}
	c.ifNotExists = p.keyword("IF", "NOT", "EXISTS")
	c.ifExists = p.keyword("IF", "EXISTS")
	if c.verb == "TERMINATE" && p.keyword("ALL") {
		c.name = "ALL"
		return c, nil
	}
	var err error
	if c.name, err = p.identifier(); err != nil {
		return c, err
	}
	for i, t := range p.tokens[p.pos:] {
		if t.kind != tokenWord {
			continue
		}
		after := p.tokens[min(p.pos+i+1, len(p.tokens)-1)]
		c.asSelect = c.asSelect || c.verb == "CREATE" && t.text == "AS" && after.kind == tokenWord && after.text == "SELECT"
		c.values = c.values || t.text == "VALUES"
	}
	return c, nil
}
