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
		fate := s.draw()
		if !s.wait(r, fate.latency) || s.strikeEarly(w, r, fate.refusal) {
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
		s.send(w, f, p, rows, err, fate)
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
	return planQuery(sql, s.sources, s.cfg.Now(), opts)
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
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
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
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
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
	for row := range p.src.view.Rows() {
		r := &evalRow{src: p.src, row: row}
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

// send writes an answer of status 200 and lets its faults happen.
func (s *Server) send(w http.ResponseWriter, f framing, p *plan, rows [][]any, broken error, t fate) {
	total := len(rows)
	limited := false
	stop := 0
	s.dice(func(r *rand.Rand) {
		r.Shuffle(total, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		if limited = p.limit >= 0 && total >= p.limit; limited {
			rows = rows[:p.limit]
		}
		rows = s.disturb(rows, &t, r)
		stop = t.rowsBefore(len(rows), r)
	})
	if t.inStream || t.cut {
		rows = rows[:stop]
	}
	w.Header().Set("Content-Type", f.contentType())
	a := newAnswer(w, f, p.columns)
	a.header(fmt.Sprintf("query_%d", s.cfg.Now().UnixMilli()))
	for _, row := range rows {
		a.row(row)
	}
	s.stats.rowsSent.Add(uint64(len(rows)))
	switch {
	case t.cut:
		s.cut(w, a)
	case broken != nil:
		// The value that does not fit is the view's mistake, and a test of that
		// view wants to know which one.
		a.fail(codeServerError, broken.Error())
	case t.inStream:
		s.stats.inStream.Add(1)
		a.fail(t.code, "io.confluent.ksql.util.KsqlException: Exhausted standby hosts to try.")
	case !t.partial && !t.duplicate:
		s.stats.completed.Add(1)
	}
	a.end(finalMessage(p, limited, t.inStream || broken != nil))
	_ = a.flush() // a client that has left needs no answer
}

// disturb leaves rows out or repeats one. It clears the fate where there is
// nothing to disturb or a louder fault follows, so that a fault counts only if
// it happens.
func (s *Server) disturb(rows [][]any, t *fate, r *rand.Rand) [][]any {
	t.partial = t.partial && len(rows) > 0 && !t.inStream && !t.cut
	t.duplicate = t.duplicate && len(rows) > 0 && !t.inStream && !t.cut && !t.partial
	if t.duplicate {
		s.stats.doubled.Add(1)
		rows = append(rows[:len(rows):len(rows)], rows[r.IntN(len(rows))])
	}
	if t.partial {
		s.stats.partial.Add(1)
		rows = rows[:r.IntN(len(rows))]
	}
	return rows
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
