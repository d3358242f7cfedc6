package ksqldb

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// commandStatus is what /status says of one statement.
type commandStatus struct {
	Status  string  `json:"status"`
	Message string  `json:"message"`
	QueryID *string `json:"queryId"`
}

// command is a statement that was accepted.
type command struct {
	done    commandStatus
	pending int    // looks at /status until it is done
	finish  func() // what it does then
}

// look is a look at /status, the last of which ends the command.
func (c *command) look() {
	if c.pending == 0 {
		return
	}
	if c.pending--; c.pending == 0 {
		c.finish()
	}
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
	s.mu.Lock()
	behind := req.AfterCommand != nil && *req.AfterCommand >= s.sequence
	s.mu.Unlock()
	if behind {
		return nil, &apiError{http.StatusServiceUnavailable, codeCommandWait, "Timed out while waiting for a previous command to execute. command sequence number: hidden"}
	}
	// Each statement is checked against what those before it will have made.
	known := s.known.Load().clone()
	var runs []func(last bool) any
	for _, tokens := range list {
		s.stats.statements.Add(1)
		text := req.KSQL[tokens[0].from:tokens[len(tokens)-1].to] + ";"
		run, err := s.statement(known, &parser{sql: req.KSQL, tokens: tokens}, text)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	entities := []any{}
	for i, run := range runs {
		if e := run(i == len(runs)-1); e != nil {
			entities = append(entities, e)
		}
	}
	return entities, nil
}

// nothing is a statement without an entity.
func nothing(bool) any { return nil }

// always is a statement that does the same wherever it stands.
func always(run func() any, err error) (func(bool) any, error) {
	if err != nil {
		return nil, err
	}
	return func(bool) any { return run() }, nil
}

// statement checks one statement and returns what runs it, which is told whether
// it is the last of its request.
func (s *Server) statement(known *catalogue, p *parser, text string) (func(last bool) any, error) {
	switch {
	case p.keyword("SELECT"), p.keyword("PRINT"):
		return nil, &apiError{http.StatusBadRequest, codeQueryAtKSQL, "The following statement types should be issued to the websocket endpoint '/query': SELECT, PRINT"}
	case p.keyword("SET"), p.keyword("UNSET"), p.keyword("DEFINE"), p.keyword("UNDEFINE"):
		return nothing, nil // they would live for this request only, and nothing here depends on them
	case p.keyword("LIST"), p.keyword("SHOW"):
		return always(s.list(p, text))
	case p.keyword("DESCRIBE"):
		return always(s.describe(known, p, text))
	case startsStatement(p.peek()):
		return s.change(known, p, text)
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
	known := s.known.Load()
	for _, name := range known.names() {
		src := known.sources[name]
		if (src.kind == KindStream) == streams {
			items = append(items, sourceItem{src.typeName(), name, src.topic, src.keyFormat, src.valueFormat, src.windowed})
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

func (s *Server) describe(known *catalogue, p *parser, text string) (func() any, error) {
	name, err := p.identifier()
	if err != nil {
		return nil, err
	}
	extended := p.keyword("EXTENDED")
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	src := known.sources[name]
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

// change checks what changes the catalogue.
func (s *Server) change(known *catalogue, p *parser, text string) (func(last bool) any, error) {
	if !s.cfg.DDL {
		return s.refuseChange(known, p, text)
	}
	e, err := known.change(p)
	if err != nil {
		return nil, err
	}
	switch {
	case e.warning != "":
		return warning(e.warning, text), nil
	case e.insert != nil:
		return func(bool) any {
			s.insert(e.insert)
			return nil // INSERT INTO ... VALUES has no entity
		}, nil
	}
	return func(last bool) any { return s.run(e, text, last) }, nil
}

// refuseChange is the answer of a server whose views are computed in Go: what
// exists may be created if it does not exist, and nothing else.
func (s *Server) refuseChange(known *catalogue, p *parser, text string) (func(bool) any, error) {
	c, err := parseChange(p)
	if err != nil {
		return nil, err
	}
	if old := known.sources[c.name]; c.verb == "CREATE" && old != nil && c.kind != "TYPE" && c.kind != "CONNECTOR" && !c.replace {
		message := fmt.Sprintf("Cannot add %s `%s`: A %s with the same name already exists.", strings.ToLower(c.kind), c.name, strings.ToLower(old.typeName()))
		if !c.ifNotExists {
			return nil, refuse("%s", message)
		}
		return warning(message, text), nil
	}
	return nil, refuse("The views of this stand-in are computed in Go; it cannot run %s statements", c.verb)
}

// warning is the entity of IF NOT EXISTS on what exists.
func warning(message, text string) func(bool) any {
	return func(bool) any {
		return struct {
			entity
			Message string `json:"message"`
		}{entityOf("warning_entity", text), message}
	}
}

func (s *Server) insert(in *insertion) {
	row := in.row
	if row.Time.IsZero() {
		row.Time = s.cfg.Now()
	}
	in.into.log.add(row, time.Now().Add(s.cfg.TableLag))
}

// run puts a statement into the command topic.
func (s *Server) run(e effect, text string, last bool) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	status := commandStatus{Status: "SUCCESS", Message: e.message()}
	if e.asSelect {
		id := fmt.Sprintf("C%cAS_%s_%d", e.kind[0], e.name, s.sequence)
		status.Message, status.QueryID = "Created query with ID "+id, &id
	}
	finish := func() { s.finish(e) }
	if s.cfg.FailCommand != nil && s.cfg.FailCommand(text) {
		s.stats.commandsFailed.Add(1)
		status = commandStatus{Status: "ERROR", Message: "io.confluent.ksql.util.KsqlServerException: the stand-in was told to fail this command"}
		finish = func() {}
	}
	id := fmt.Sprintf("%s/`%s`/%s", strings.ToLower(e.kind), e.name, strings.ToLower(e.verb))
	done := &command{done: status, finish: finish}
	if last {
		done.pending = s.cfg.QueuedPolls
	}
	if done.pending == 0 {
		finish()
	}
	s.commands[id] = done
	return struct {
		entity
		CommandID     string        `json:"commandId"`
		CommandStatus commandStatus `json:"commandStatus"`
		Sequence      int64         `json:"commandSequenceNumber"`
	}{entityOf("currentStatus", text), id, done.status(), s.sequence - 1}
}

// finish does what a command says. Two commands may have been checked before
// either was done, so the second of two that make one source changes nothing.
func (s *Server) finish(e effect) {
	next := s.known.Load().clone()
	switch {
	case e.made != nil && next.sources[e.name] == nil:
		next.add(e.made)
	case e.verb == "DROP":
		delete(next.sources, e.name)
	}
	s.known.Store(next)
}
