package ksqlclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Conditions that callers branch on, for errors.Is.
var (
	// ErrTruncated means that the answer ended before its end: the connection was
	// cut, the deadline passed while reading, or the body stopped inside a line.
	// Rows that were yielded before are not the whole result.
	ErrTruncated = errors.New("answer ended before its end")
	// ErrMalformed means that the answer breaks the protocol: no header, a row of
	// another length than the header, a value that does not fit its type.
	ErrMalformed = errors.New("answer does not follow the protocol")
	// ErrTooLarge means that the answer passed a bound of the Config.
	ErrTooLarge = errors.New("answer is larger than the configured bound")
	// ErrInStream matches an *Error that the server sent inside a body it had
	// begun with status 200.
	ErrInStream = errors.New("error inside the result")
	// ErrUnauthorized matches an *Error with status 401 or code 40100.
	ErrUnauthorized = errors.New("credentials were not accepted")
	// ErrForbidden matches an *Error with status 403 or a 403xx code.
	ErrForbidden = errors.New("not permitted")
	// ErrUnavailable matches an *Error with status 503: the server is starting,
	// shutting down or waiting for a command.
	ErrUnavailable = errors.New("server is not available")
	// ErrUnhealthy is returned by Health when the server says that it is not
	// healthy.
	ErrUnhealthy = errors.New("server is unhealthy")
	// ErrStatement means that a statement was refused before it was sent: it does
	// not tokenize, is empty, or is of a kind that the call does not take.
	ErrStatement = errors.New("invalid statement")
	// ErrParam means that a statement and its parameters do not fit together.
	ErrParam = errors.New("invalid parameter")
	// ErrScan means that a column does not fit the Go field it is read into.
	ErrScan = errors.New("column does not fit the field")
)

// Class says whether sending the same request again can succeed.
type Class int

const (
	// Permanent means that the same request will fail again.
	Permanent Class = iota
	// Ambiguous means that the server uses one code for mistakes and for passing
	// conditions. A pull query is refused with HTTP 400 and code 40001 when it
	// does not parse, and also while partitions move ("Cannot determine which host
	// contains the required partitions") or a new table is not ready
	// ("Materialized data ... is not available yet"); code 40000 covers bad
	// properties and the hourly bandwidth limit. The texts are no contract, so
	// they are not looked at: retry a bounded number of times, then treat it as
	// permanent.
	Ambiguous
	// Transient means that the condition passes by itself.
	Transient
)

// String returns the class in lower case.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Ambiguous:
		return "ambiguous"
	case Permanent:
		return "permanent"
	}
	return "unknown"
}

// Kind names the call that an Error belongs to.
type Kind string

// The kinds of calls.
const (
	KindPull   Kind = "pull"
	KindExec   Kind = "exec"
	KindStatus Kind = "status"
	KindInfo   Kind = "info"
	KindHealth Kind = "health"
)

// Codes of the server that are not simply HTTP status x 100
// (io.confluent.ksql.rest.Errors).
const (
	CodeBadRequest      = 40000
	CodeBadStatement    = 40001
	CodeQueryEndpoint   = 40002
	CodeMaxPushQueries  = 40003
	CodeHTTP2Required   = 40004
	CodeUnauthorized    = 40100
	CodeForbidden       = 40300
	CodeForbiddenKafka  = 40301
	CodeNotFound        = 40400
	CodeTooManyRequests = 42900
	CodeServerError     = 50000
	CodeCommandTimeout  = 50301
	CodeNotReady        = 50302
	CodeShuttingDown    = 50303
	CodeShutDown        = 50304
)

// Error is a refusal by the server, or by a proxy in front of it.
type Error struct {
	// Kind is the call that failed.
	Kind Kind
	// Status is the HTTP status; 200 for an error inside a result.
	Status int
	// Code is the server's error_code, and 0 when the answer did not carry one
	// (the page of a proxy, for example).
	Code int
	// Message is the server's text, shortened, on one line, with every bound
	// parameter value and the credentials masked.
	Message string
	// InStream is true when the error followed status 200. The rows before it are
	// not the whole result.
	InStream bool
}

// Error describes the refusal. It contains no bound value and no credential.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ksqldb %s: ", e.Kind)
	if e.InStream {
		b.WriteString("inside the result")
	} else {
		fmt.Fprintf(&b, "status %d", e.Status)
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Is matches the sentinels ErrInStream, ErrUnauthorized, ErrForbidden and
// ErrUnavailable.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrInStream:
		return e.InStream
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized || e.Code/100 == http.StatusUnauthorized
	case ErrForbidden:
		return e.Status == http.StatusForbidden || e.Code/100 == http.StatusForbidden
	case ErrUnavailable:
		return e.Status == http.StatusServiceUnavailable || e.Code/100 == http.StatusServiceUnavailable
	}
	return false
}

// Class classifies the refusal by its code and status, never by its text.
//
//   - Transient: 429 (rate limits, full queues), every 5xx (the server answers
//     50000 with a generic text for its limit of concurrent pull queries too),
//     408, and 40003 (too many push queries).
//   - Ambiguous: 40000 and 40001 of a pull query, and an error inside a result
//     with another code than the transient ones: the statement had been accepted.
//   - Permanent: the rest, 401, 403, 404, 417, 421 and 428 among them, and
//     40000 and 40001 of a statement.
func (e *Error) Class() Class {
	status := e.Status
	if e.Code != 0 {
		// A code is its HTTP status x 100 + n. Inside a result it is all there is;
		// no live host is 503 with 50000, transient by either.
		status = e.Code / 100
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		status >= 500, e.Status >= 500, e.Code == CodeMaxPushQueries:
		return Transient
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Permanent
	case e.InStream:
		return Ambiguous
	case e.Kind == KindPull && (e.Code == CodeBadRequest || e.Code == CodeBadStatement):
		return Ambiguous
	}
	return Permanent
}

// Retryable reports whether trying again may help: Class is not Permanent.
func (e *Error) Retryable() bool { return e.Class() != Permanent }

// Classify gives the class of any error of this package. Cut answers, network
// errors and passed deadlines are transient; a context that the caller
// cancelled, certificates that do not verify, local refusals, malformed and too
// large answers are permanent. It is about the condition: whether a statement
// may run twice is for the caller to know.
func Classify(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class()
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Permanent
	}
	if _, ok := errors.AsType[net.Error](err); ok && !errors.Is(err, context.Canceled) {
		return Transient
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Permanent
	case errors.Is(err, ErrTruncated), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUnhealthy):
		return Transient
	}
	return Permanent
}

// Retryable reports whether Classify gives another class than Permanent.
func Retryable(err error) bool { return Classify(err) != Permanent }
