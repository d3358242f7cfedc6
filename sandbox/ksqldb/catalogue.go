package ksqldb

import (
	"maps"
	"slices"
	"strings"
)

// catalogue is what a server knows: the sources and the topics beneath them. A
// catalogue in use is never changed; a statement makes a new one.
type catalogue struct {
	sources map[string]*source
	topics  map[string]int // partitions; 0 when not known
}

func newCatalogue(sources map[string]*source, topics map[string]int) *catalogue {
	c := &catalogue{sources: sources, topics: maps.Clone(topics)}
	if c.topics == nil {
		c.topics = make(map[string]int)
	}
	return c
}

func (c *catalogue) clone() *catalogue {
	return &catalogue{sources: maps.Clone(c.sources), topics: maps.Clone(c.topics)}
}

// names returns the names of the sources in order.
func (c *catalogue) names() []string { return slices.Sorted(maps.Keys(c.sources)) }

// add registers a source and its topic.
func (c *catalogue) add(src *source) {
	c.sources[src.name] = src
	if src.partitions > 0 {
		c.topics[src.topic] = src.partitions
	}
}

// readers returns the sources whose queries read this one.
func (c *catalogue) readers(name string) []string {
	var found []string
	for _, n := range c.names() {
		if slices.Contains(c.sources[n].reads, name) {
			found = append(found, n)
		}
	}
	return found
}

// Source is what a statement defines: see Define.
type Source struct {
	// Name as the server prints it.
	Name string
	// Kind says whether it is a stream, a table that can be queried, or one that
	// cannot.
	Kind Kind
	// Topic, KeyFormat and ValueFormat are those of its records.
	Topic, KeyFormat, ValueFormat string
	// Partitions of the topic, 0 when the statement does not say.
	Partitions int
	// Columns, the key first. Those of a windowed table have WINDOWSTART and
	// WINDOWEND after the key.
	Columns []Column
}

// Define runs the statements of a file as a Server with Config.DDL would, without
// a server, and returns the sources that exist afterwards, by name: those of the
// views and those that the statements made. The error is the refusal of the first
// statement that such a server would not take. Variables must have been replaced.
func Define(sql string, views ...View) (map[string]Source, error) {
	sources, err := buildSources(views)
	if err != nil {
		return nil, err
	}
	c := newCatalogue(sources, nil)
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	list, err := splitStatements(sql, tokens)
	if err != nil {
		return nil, err
	}
	for _, tokens := range list {
		p := &parser{sql: sql, tokens: tokens}
		switch first := p.peek().text; first {
		case "SET", "UNSET", "DEFINE", "UNDEFINE":
			continue
		case "SELECT", "PRINT", "LIST", "SHOW", "DESCRIBE":
			return nil, refuse("The %s statement defines nothing", first)
		}
		if _, err := c.change(p); err != nil {
			return nil, err
		}
	}
	out := make(map[string]Source, len(c.sources))
	for name, src := range c.sources {
		s := Source{Name: name, Kind: src.kind, Topic: src.topic, KeyFormat: src.keyFormat, ValueFormat: src.valueFormat, Partitions: src.partitions}
		for _, col := range src.columns {
			s.Columns = append(s.Columns, Column{Name: col.name, Type: col.typ.String(), Key: col.key})
		}
		out[name] = s
	}
	return out, nil
}

// effect is what a statement did.
type effect struct {
	change
	made    *source // CREATE of a source
	warning string  // IF NOT EXISTS on what exists
	insert  *insertion
}

// change checks a statement against the catalogue and applies it.
func (c *catalogue) change(p *parser) (effect, error) {
	head, err := parseChange(p)
	if err != nil {
		return effect{}, err
	}
	e := effect{change: head}
	source := head.kind == "STREAM" || head.kind == "TABLE"
	switch {
	case head.verb == "CREATE" && source:
		return c.create(p, e)
	case head.verb == "INSERT":
		e.insert, err = c.insertion(p, head)
		return e, err
	case head.verb == "DROP" && source:
		return e, c.drop(p, head)
	case head.verb == "TERMINATE":
		return e, nil
	}
	return effect{}, beyond("%s %s", head.verb, head.kind)
}

func (c *catalogue) create(p *parser, e effect) (effect, error) {
	d, err := parseDefinition(p, e.change)
	if err != nil {
		return e, err
	}
	if old := c.sources[d.name]; old != nil {
		kind := strings.ToLower(e.kind)
		message := "Cannot add " + kind + " `" + d.name + "`: A " + strings.ToLower(old.typeName()) + " with the same name already exists."
		switch {
		case d.ifNotExists:
			e.warning = message
			return e, nil
		case !d.replace:
			return e, refuse("%s", message)
		}
		return e, beyond("CREATE OR REPLACE of a source that exists")
	}
	if e.made, err = c.define(d); err != nil {
		return e, err
	}
	e.asSelect = d.query != nil
	c.add(e.made)
	return e, nil
}

func (c *catalogue) drop(p *parser, head change) error {
	if p.keyword("DELETE", "TOPIC") && p.peek().kind != tokenEnd {
		return p.unexpected()
	}
	src := c.sources[head.name]
	switch {
	case p.peek().kind != tokenEnd:
		return p.unexpected()
	case src == nil && head.ifExists:
		return nil
	case src == nil:
		return refuse("Source %s does not exist.", head.name)
	case !src.created:
		return refuse("The views of this stand-in are computed in Go; it cannot drop them")
	case src.typeName() != head.kind:
		return refuse("Incompatible data source type is %s, but statement was DROP %s", src.typeName(), head.kind)
	}
	if readers := c.readers(head.name); len(readers) > 0 {
		return refuse("Cannot drop %s. The following streams and/or tables read from this source: [%s]. You need to drop them before dropping %s.",
			head.name, strings.Join(readers, ", "), head.name)
	}
	delete(c.sources, head.name)
	return nil
}
