package ksqldb

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// version is what /info reports: a release whose queries work over HTTP/1.1.
const version = "8.3.0"

// routes builds the handler. Paths are compared as they are, because the ids of
// /status carry slashes and back-quotes.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /query-stream", s.query(false))
	mux.HandleFunc("POST /query", s.query(true))
	mux.HandleFunc("POST /ksql", s.ksql)
	mux.HandleFunc("POST /close-query", s.closeQuery)
	mux.HandleFunc("POST /inserts-stream", s.inserts)
	mux.HandleFunc("GET /info", s.info)
	mux.HandleFunc("GET /healthcheck", s.health)
	mux.HandleFunc("GET /status", s.statuses)
	mux.HandleFunc("GET /status/{type}/{entity}/{action}", s.status)
	mux.HandleFunc("GET /is_valid_property/{name}", s.validProperty)
	mux.HandleFunc("GET /v1/metadata", s.metadata)
	mux.HandleFunc("GET /v1/metadata/id", s.metadataID)
	mux.HandleFunc("GET /clusterStatus", empty404)
	mux.HandleFunc("POST /heartbeat", empty404)
	mux.HandleFunc("POST /lag", empty404)
	for _, path := range []string{"GET /chc/live", "GET /chc/ready"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, struct{}{}) })
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/info")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	return s.guard(mux)
}

// guard counts requests, lets Close wait for them and checks the password.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler) // the connection is going anyway
		}
		defer s.handlers.Done()
		s.stats.requests.Add(1)
		if !s.allowed(r) {
			s.stats.unauthorized.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="ksqlDB"`)
			writeFailure(w, &apiError{http.StatusUnauthorized, codeUnauthorized, "Unauthorized"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed checks HTTP Basic. A few paths are open on every server.
func (s *Server) allowed(r *http.Request) bool {
	switch r.URL.Path {
	case "/healthcheck", "/v1/metadata", "/v1/metadata/id", "/chc/live", "/chc/ready":
		return true
	}
	if s.cfg.Username == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	right := subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(s.cfg.Username+"\x00"+s.cfg.Password))
	return ok && right == 1
}

func empty404(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }

// closeQuery never finds the query: only push queries and pull queries on
// streams have an id that a server remembers, and the stand-in answers the
// latter at once.
func (s *Server) closeQuery(w http.ResponseWriter, r *http.Request) {
	var body struct {
		QueryID *string `json:"queryId"`
	}
	if json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&body) != nil || body.QueryID == nil {
		writeFailure(w, badRequest("Invalid JSON in request: Missing required creator property 'queryId'"))
		return
	}
	writeFailure(w, badRequest("No query with id %s", *body.QueryID))
}

// inserts refuses: over HTTP/1.1 as every server does, over HTTP/2 because a
// view is read-only.
func (s *Server) inserts(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		writeFailure(w, &apiError{http.StatusBadRequest, codeHTTP2Only, "This endpoint is only available when using HTTP2"})
		return
	}
	writeFailure(w, refuse("Cannot insert into a read-only source: the views of this stand-in are computed in Go"))
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"KsqlServerInfo": map[string]string{
		"version": version, "kafkaClusterId": "stand-in", "ksqlServiceId": "default_", "serverStatus": "RUNNING",
	}})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	type detail struct {
		IsHealthy bool `json:"isHealthy"`
	}
	well := !s.sick.Load()
	writeJSON(w, http.StatusOK, map[string]any{
		"isHealthy": well,
		"details": map[string]detail{
			"metastore": {well}, "kafka": {well}, "commandRunner": {true},
		},
		"serverState": "READY",
	})
}

func (s *Server) statuses(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	all := make(map[string]string, len(s.commands))
	for id, c := range s.commands {
		all[id] = c.status().Status
	}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"commandStatuses": all})
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	id := strings.Join([]string{r.PathValue("type"), r.PathValue("entity"), r.PathValue("action")}, "/")
	s.mu.Lock()
	c, ok := s.commands[id]
	var status commandStatus
	if ok {
		c.look()
		status = c.status()
	}
	s.mu.Unlock()
	if !ok {
		writeJSON(w, http.StatusNotFound, errorMessage{"generic_error", codeNotFound, "Command not found"})
		return
	}
	writeJSON(w, http.StatusOK, status)
}

func (s *Server) validProperty(w http.ResponseWriter, r *http.Request) {
	if kindOfProperty(r.PathValue("name")) == propertyUnknown {
		writeJSON(w, http.StatusBadRequest, errorMessage{"generic_error", codeBadRequest, "One or more properties overrides set locally are prohibited or unknown"})
		return
	}
	writeJSON(w, http.StatusOK, true)
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"version": version, "clusterId": clusterID()})
}

func (s *Server) metadataID(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, clusterID())
}

func clusterID() map[string]any {
	return map[string]any{"id": "", "scope": map[string]any{"path": []string{}, "clusters": map[string]string{
		"kafka-cluster": "stand-in", "ksql-cluster": "default_",
	}}}
}
