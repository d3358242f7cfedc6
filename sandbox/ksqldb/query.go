package ksqldb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// maxBody bounds what the server reads of a request.
const maxBody = 8 << 20

// queryRequest has the fields of both query endpoints. What is unknown is
// ignored, as on the real server.
type queryRequest struct {
	SQL               *string                    `json:"sql"`
	Properties        map[string]json.RawMessage `json:"properties"`
	KSQL              string                     `json:"ksql"`
	StreamsProperties map[string]json.RawMessage `json:"streamsProperties"`
	SessionVariables  map[string]json.RawMessage `json:"sessionVariables"`
	AfterCommand      *int64                     `json:"commandSequenceNumber"`
}

// readRequest decodes a body.
func readRequest(r *http.Request) (*queryRequest, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, badRequest("Invalid JSON in request: cannot read body")
	}
	req := new(queryRequest)
	if err := json.Unmarshal(body, req); err != nil {
		return nil, badRequest("Invalid JSON in request: not a JSON object of the right form")
	}
	return req, nil
}

// query answers /query-stream and, with legacy field names, /query.
func (s *Server) query(legacy bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.stats.queries.Add(1)
		f, status := chooseFraming(r.Header.Values("Accept"), legacy)
		if status != 0 {
			http.Error(w, http.StatusText(status), status)
			return
		}
		req, err := readRequest(r)
		if err != nil {
			s.refuseQuery(w, err)
			return
		}
		fate, dice := s.draw()
		if !wait(r, fate.latency) || s.strikeEarly(w, r, fate.refusal) {
			return
		}
		p, err := s.planRequest(req, legacy)
		if err != nil {
			s.refuseQuery(w, err)
			return
		}
		if s.strikeLate(w, fate.refusal) {
			return
		}
		rows, err := p.run()
		s.send(w, &result{f, p, rows, err, fate, dice})
	}
}

// planRequest turns a request into a plan.
func (s *Server) planRequest(req *queryRequest, legacy bool) (*plan, error) {
	sql, properties := req.KSQL, req.StreamsProperties
	if !legacy {
		if req.SQL == nil {
			return nil, badRequest("Invalid JSON in request: Missing required creator property 'sql'")
		}
		sql, properties = *req.SQL, req.Properties
	}
	if s.cfg.OnQuery != nil {
		s.cfg.OnQuery(sql)
	}
	if len(req.SessionVariables) > 0 {
		return nil, beyond("sessionVariables")
	}
	opts, err := readProperties(properties, legacy)
	if err != nil {
		return nil, err
	}
	return planQuery(sql, s.known.Load().sources, s.cfg.Now(), opts)
}

func (s *Server) refuseQuery(w http.ResponseWriter, err error) {
	s.stats.refused.Add(1)
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{http.StatusInternalServerError, codeServerError, genericServerError}
	}
	writeFailure(w, e)
}

// wait sleeps for the latency and reports whether the client is still there.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done(): // the client has left, or Close has closed its connection
		return false
	}
}

// strikeEarly applies the faults that come before the SQL is looked at.
func (s *Server) strikeEarly(w http.ResponseWriter, r *http.Request, f refusal) bool {
	switch f {
	case refuseForbidden:
		s.stats.forbidden.Add(1)
		writeFailure(w, &apiError{http.StatusForbidden, codeForbidden, "Forbidden"})
	case refuseInitialising:
		s.stats.initialising.Add(1)
		writeFailure(w, &apiError{http.StatusServiceUnavailable, codeStarting, "KSQL is not yet ready to serve requests."})
	case refuseRateLimited:
		s.stats.rateLimited.Add(1)
		writeFailure(w, &apiError{http.StatusTooManyRequests, codeRateLimited, "Host is at rate limit for pull queries. Currently set to 1 qps."})
	case refuseHang:
		s.stats.hung.Add(1)
		<-r.Context().Done() // the client has left, or Close has closed its connection
	default:
		return false
	}
	return true
}

// strikeLate applies the faults that come after the query was accepted.
func (s *Server) strikeLate(w http.ResponseWriter, f refusal) bool {
	switch f {
	case refuseNotAvailable:
		s.stats.notAvailable.Add(1)
		writeFailure(w, refuse("Error starting pull query: Materialized data for key [hidden] is not available yet. Please try again later."))
	case refuseInternal:
		s.stats.internal.Add(1)
		writeFailure(w, &apiError{http.StatusInternalServerError, codeServerError, genericServerError})
	default:
		return false
	}
	return true
}

// run reads the view and returns the rows that match, in the view's order. On
// an error it returns the rows before it.
func (p *plan) run() ([][]any, error) {
	var rows [][]any
	r := &evalRow{src: p.src}
	for r.row = range p.src.view.Rows() {
		if p.where != nil && !p.where(r) {
			if r.err != nil {
				return rows, r.err
			}
			continue
		}
		values := make([]any, len(p.columns))
		for i, c := range p.columns {
			values[i] = c.value(r)
		}
		if r.err != nil {
			return rows, r.err
		}
		rows = append(rows, values)
	}
	return rows, nil
}

// result is what a query found and what shall happen to it on its way out.
type result struct {
	framing framing
	plan    *plan
	rows    [][]any
	broken  error // a value of the view that does not fit its column
	fate    fate
	dice    *rand.Rand
}

// send writes an answer of status 200 and lets its faults happen.
func (s *Server) send(w http.ResponseWriter, q *result) {
	limited := q.arrange()
	s.disturb(q)
	if t := q.fate; t.inStream || t.cut {
		q.rows = q.rows[:t.rowsBefore(len(q.rows), q.dice)]
	}
	w.Header().Set("Content-Type", q.framing.contentType())
	// The server never knows the length of an answer in advance. Without this
	// flush net/http would send short ones with a Content-Length.
	_ = http.NewResponseController(w).Flush()
	a := newAnswer(w, q.framing, q.plan.columns)
	a.header(fmt.Sprintf("query_%d", s.cfg.Now().UnixMilli()))
	for _, row := range q.rows {
		a.row(row)
	}
	s.stats.rowsSent.Add(uint64(len(q.rows)))
	switch {
	case q.fate.cut:
		s.cut(w, a)
	case q.broken != nil:
		// The value that does not fit is the view's mistake, and a test of that
		// view wants to know which one.
		a.fail(codeServerError, q.broken.Error())
	case q.fate.inStream:
		s.stats.inStream.Add(1)
		a.fail(q.fate.code, "io.confluent.ksql.util.KsqlException: Exhausted standby hosts to try.")
	case !q.fate.partial && !q.fate.duplicate:
		s.stats.completed.Add(1)
	}
	a.end(finalMessage(q.plan, limited, q.fate.inStream || q.broken != nil))
	_ = a.flush() // a client that has left needs no answer
}

// arrange puts the rows in no particular order, so that LIMIT takes no
// particular ones, and reports whether the limit was reached.
func (q *result) arrange() bool {
	q.dice.Shuffle(len(q.rows), func(i, j int) { q.rows[i], q.rows[j] = q.rows[j], q.rows[i] })
	if q.plan.limit < 0 || len(q.rows) < q.plan.limit {
		return false
	}
	q.rows = q.rows[:q.plan.limit]
	return true
}

// disturb leaves rows out or repeats one. It clears the fate where there is
// nothing to disturb or a louder fault follows, so that a fault counts only if
// it happens.
func (s *Server) disturb(q *result) {
	n := len(q.rows)
	quiet := n > 0 && !q.fate.inStream && !q.fate.cut && q.broken == nil
	q.fate.partial = q.fate.partial && quiet
	q.fate.duplicate = q.fate.duplicate && quiet && !q.fate.partial
	switch {
	case q.fate.partial:
		s.stats.partial.Add(1)
		q.rows = q.rows[:q.dice.IntN(n)]
	case q.fate.duplicate:
		s.stats.doubled.Add(1)
		q.rows = append(q.rows[:n:n], q.rows[q.dice.IntN(n)])
	}
}

// cut sends what there is and then loses the connection.
func (s *Server) cut(w http.ResponseWriter, a *answer) {
	s.stats.cut.Add(1)
	if a.flush() == nil {
		_ = http.NewResponseController(w).Flush() // if it does not work, there is even less of a body
	}
	panic(http.ErrAbortHandler) // net/http closes the connection or resets the stream
}

// finalMessage ends a pull query on a stream in v1+json.
func finalMessage(p *plan, limited, failed bool) string {
	switch {
	case p.src.kind != KindStream || failed:
		return ""
	case limited:
		return "Limit Reached"
	}
	return "Query Completed"
}
