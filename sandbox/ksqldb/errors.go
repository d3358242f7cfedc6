package ksqldb

import (
	"fmt"
	"net/http"
)

// Error codes of the REST API: the HTTP status times one hundred plus a number
// (ksqlDB: Errors.java in ksqldb-rest-model).
const (
	codeBadRequest   = 40000
	codeBadStatement = 40001
	codeQueryAtKSQL  = 40002
	codeHTTP2Only    = 40004
	codeUnauthorized = 40100
	codeForbidden    = 40300
	codeNotFound     = 40400
	codeRateLimited  = 42900
	codeServerError  = 50000
	codeCommandWait  = 50301
	codeStarting     = 50302
)

// genericServerError is all that /query-stream tells about an internal error.
const genericServerError = "The server encountered an internal error when processing the query. Please consult the server logs for more information."

// apiError is an answer other than 200.
type apiError struct {
	status  int
	code    int
	message string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.message) }

// refuse returns a 400/40001, the answer to a statement that the server
// understands too well or not at all.
func refuse(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, codeBadStatement, fmt.Sprintf(format, args...)}
}

// beyond refuses SQL that a real server would accept and this one does not
// compute. The text says so, lest anyone blames ksqlDB.
func beyond(format string, args ...any) *apiError {
	return refuse("The stand-in does not support %s, although ksqlDB may", fmt.Sprintf(format, args...))
}

func badRequest(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, codeBadRequest, fmt.Sprintf(format, args...)}
}

// errorMessage is the body of an error and of an in-stream error object.
type errorMessage struct {
	Type    string `json:"@type"`
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

// statementError is the body of an error of /ksql.
type statementError struct {
	errorMessage
	StatementText string `json:"statementText"`
	Entities      []any  `json:"entities"`
}

// writeFailure answers as the server's FailureHandler does: without a
// Content-Type.
func writeFailure(w http.ResponseWriter, e *apiError) {
	body, _ := marshal(errorMessage{"generic_error", e.code, e.message}) // cannot fail: a struct of strings and a number
	w.Header()["Content-Type"] = nil                                     // keeps net/http from sniffing one
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // a client that has left needs no answer
}

// writeJSON answers an endpoint of the old API, which always says
// application/json.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := marshal(v)
	if err != nil {
		writeFailure(w, &apiError{http.StatusInternalServerError, codeServerError, "encode answer"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has left needs no answer
}
