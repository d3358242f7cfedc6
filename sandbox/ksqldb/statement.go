package ksqldb

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// commandStatus is what /status says of one statement.
type commandStatus struct {
	Status  string  `json:"status"`
	Message string  `json:"message"`
	QueryID *string `json:"queryId"`
}

// command is a statement that was acknowledged.
type command struct {
	done    commandStatus
	pending int // looks at /status until it is done
}

// status returns what the server says of the command now.
func (c *command) status() commandStatus {
	if c.pending > 0 {
		return commandStatus{Status: "QUEUED", Message: "Statement written to command topic"}
	}
	return c.done
}

// entity has the fields that every element of an answer of /ksql has.
type entity struct {
	Type          string `json:"@type"`
	StatementText string `json:"statementText"`
	Warnings      []any  `json:"warnings"`
}

func entityOf(kind, text string) entity { return entity{kind, text, []any{}} }

// startsStatement reports whether a token begins some statement of the grammar.
func startsStatement(t token) bool {
	switch t.text {
	case "LIST", "SHOW", "DESCRIBE", "TERMINATE", "SET", "UNSET", "ALTER", "DEFINE", "UNDEFINE", "CREATE",
		"INSERT", "DROP", "EXPLAIN", "ASSERT", "PAUSE", "RESUME", "SELECT", "PRINT":
		return t.kind == tokenWord
	}
	return false
}

// ksql answers POST /ksql. All statements are checked before the first one
// runs.
func (s *Server) ksql(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err == nil {
		_, err = readProperties(req.StreamsProperties, true)
	}
	if e, ok := errors.AsType[*apiError](err); ok {
		s.stats.statementsRefused.Add(1)
		writeJSON(w, e.status, errorMessage{"generic_error", e.code, e.message})
		return
	}
	entities, err := s.statements(req)
	if e, ok := errors.AsType[*apiError](err); ok {
		s.stats.statementsRefused.Add(1)
		writeJSON(w, e.status, statementError{errorMessage{"statement_error", e.code, e.message}, req.KSQL, []any{}})
		return
	}
	writeJSON(w, http.StatusOK, entities)
}

// statements runs the statements of a request in order.
func (s *Server) statements(req *queryRequest) ([]any, error) {
	tokens, err := lex(req.KSQL)
	if err != nil {
		return nil, err
	}
	list, err := splitStatements(req.KSQL, tokens)
	if err != nil {
		return nil, err
	}
	if len(req.SessionVariables) > 0 {
		return nil, beyond("sessionVariables")
	}
	var runs []func() any
	for _, tokens := range list {
		s.stats.statements.Add(1)
		text := req.KSQL[tokens[0].from:tokens[len(tokens)-1].to] + ";"
		run, err := s.statement(&parser{sql: req.KSQL, tokens: tokens}, text)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	entities := []any{}
	for _, run := range runs {
		if e := run(); e != nil {
			entities = append(entities, e)
		}
	}
	return entities, nil
}

// nothing is a statement without an entity.
func nothing() any { return nil }

// statement checks one statement and returns what runs it.
func (s *Server) statement(p *parser, text string) (func() any, error) {
	switch {
	case p.keyword("SELECT"), p.keyword("PRINT"):
		return nil, &apiError{http.StatusBadRequest, codeQueryAtKSQL, "The following statement types should be issued to the websocket endpoint '/query': SELECT, PRINT"}
	case p.keyword("SET"), p.keyword("UNSET"), p.keyword("DEFINE"), p.keyword("UNDEFINE"):
		return nothing, nil // they would live for this request only, and nothing here depends on them
	case p.keyword("LIST"), p.keyword("SHOW"):
		return s.list(p, text)
	case p.keyword("DESCRIBE"):
		return s.describe(p, text)
	case startsStatement(p.peek()):
		return s.change(p, text)
	}
	return nil, p.unexpected()
}

// sourceItem is an element of LIST STREAMS and LIST TABLES.
type sourceItem struct {
	Type        string `json:"type"`
	Name        string `json:"name"`
	Topic       string `json:"topic"`
	KeyFormat   string `json:"keyFormat"`
	ValueFormat string `json:"valueFormat"`
	IsWindowed  bool   `json:"isWindowed"`
}

func (s *Server) list(p *parser, text string) (func() any, error) {
	what := p.next()
	extended := p.keyword("EXTENDED")
	if p.peek().kind != tokenEnd || what.kind != tokenWord {
		return nil, p.unexpected()
	}
	if extended {
		return nil, beyond("LIST ... EXTENDED")
	}
	switch what.text {
	case "STREAMS":
		return func() any {
			return struct {
				entity
				Streams []sourceItem `json:"streams"`
			}{entityOf("streams", text), s.items(true)}
		}, nil
	case "TABLES":
		return func() any {
			return struct {
				entity
				Tables []sourceItem `json:"tables"`
			}{entityOf("tables", text), s.items(false)}
		}, nil
	case "QUERIES":
		return func() any {
			return struct {
				entity
				Queries []any `json:"queries"`
			}{entityOf("queries", text), []any{}}
		}, nil
	}
	return nil, beyond("LIST %s", what.text)
}

func (s *Server) items(streams bool) []sourceItem {
	items := []sourceItem{}
	for _, name := range s.names {
		src := s.sources[name]
		if (src.kind == KindStream) == streams {
			items = append(items, sourceItem{src.typeName(), name, name, "KAFKA", "JSON", src.windowed})
		}
	}
	return items
}

func (s *source) typeName() string {
	if s.kind == KindStream {
		return "STREAM"
	}
	return "TABLE"
}

func (s *Server) describe(p *parser, text string) (func() any, error) {
	name, err := p.identifier()
	if err != nil {
		return nil, err
	}
	extended := p.keyword("EXTENDED")
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	src := s.sources[name]
	if src == nil {
		return nil, refuse("Could not find STREAM/TABLE '%s' in the Metastore", name)
	}
	return func() any {
		return struct {
			entity
			SourceDescription sourceDescription `json:"sourceDescription"`
		}{entityOf("sourceDescription", text), describeSource(src, extended)}
	}, nil
}

// change checks what would change the catalogue. The views are computed in Go,
// so nothing here ever does; see Config.AcknowledgeDDL.
func (s *Server) change(p *parser, text string) (func() any, error) {
	c, err := parseChange(p)
	if err != nil {
		return nil, err
	}
	if c.verb == "CREATE" && s.sources[c.name] != nil && c.kind != "TYPE" && c.kind != "CONNECTOR" && !c.replace {
		message := fmt.Sprintf("Cannot add %s `%s`: A %s with the same name already exists.", strings.ToLower(c.kind), c.name,
			strings.ToLower(s.sources[c.name].typeName()))
		if !c.ifNotExists {
			return nil, refuse("%s", message)
		}
		return func() any {
			return struct {
				entity
				Message string `json:"message"`
			}{entity{"warning_entity", text, []any{}}, message}
		}, nil
	}
	if !s.cfg.AcknowledgeDDL {
		return nil, refuse("The views of this stand-in are computed in Go; it cannot run %s statements", c.verb)
	}
	if c.verb == "INSERT" && c.values {
		return nothing, nil // INSERT INTO ... VALUES has no entity
	}
	return func() any { return s.acknowledge(c, text) }, nil
}

// acknowledge records a statement as done.
func (s *Server) acknowledge(c change, text string) any {
	status := commandStatus{Status: "SUCCESS", Message: c.message()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	if c.asSelect {
		id := fmt.Sprintf("C%cAS_%s_%d", c.kind[0], c.name, s.sequence)
		status.Message, status.QueryID = "Created query with ID "+id, &id
	}
	id := fmt.Sprintf("%s/`%s`/%s", strings.ToLower(c.kind), c.name, strings.ToLower(c.verb))
	done := &command{status, s.cfg.QueuedPolls}
	s.commands[id] = done
	return struct {
		entity
		CommandID     string        `json:"commandId"`
		CommandStatus commandStatus `json:"commandStatus"`
		Sequence      int64         `json:"commandSequenceNumber"`
	}{entityOf("currentStatus", text), id, done.status(), s.sequence - 1}
}
