// Package fault gives errors a kind, so that one place (package api) can turn
// any error into an answer and every other package stays free of HTTP.
//
// An error without a kind is Internal: its text is for the log of the
// operator, never for the caller.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an error is. The zero value is Internal.
type Kind uint8

// The kinds. The set is closed: metrics and answers use it as a label.
const (
	// Internal is a failure of ours; its detail is not shown to callers.
	Internal Kind = iota
	// Invalid is input that can never work as it is.
	Invalid
	// NotFound is a thing that does not exist, or not for this caller.
	NotFound
	// Conflict is a request that contradicts the present state.
	Conflict
	// Unauthorized is a caller who has not proven who they are.
	Unauthorized
	// Forbidden is a known caller who may not do this.
	Forbidden
	// RateLimited is a caller who must wait.
	RateLimited
	// Unavailable is a dependency that does not answer now; trying again helps.
	Unavailable
)

var kindNames = [...]string{
	Internal: "internal", Invalid: "invalid", NotFound: "not_found", Conflict: "conflict",
	Unauthorized: "unauthorized", Forbidden: "forbidden", RateLimited: "rate_limited", Unavailable: "unavailable",
}

// String returns the kind in the spelling used by logs, metrics and answers.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Field points at one part of an input and says what is wrong with it.
type Field struct {
	// Path is where the value stands, e.g. "rules[1].schedule" or "body.target.value".
	Path string
	// Message says what is wrong, and where possible how to mend it.
	Message string
}

// Error is an error with a kind and a message that the caller may see.
type Error struct {
	Kind    Kind
	Message string
	// Fields lists the parts of the input that are wrong; empty when it is not about a part.
	Fields []Field
	// Err is the cause, for the log only; nil when there is none.
	Err error
}

// New returns an error of the kind with a message that the caller may see.
func New(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Newf is New with a format.
func Newf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of the kind around err. The message is for the caller, err for the log.
func Wrap(kind Kind, err error, message string) *Error {
	return &Error{Kind: kind, Message: message, Err: err}
}

// InvalidFields returns an Invalid error that lists every wrong part of an input.
func InvalidFields(message string, fields ...Field) *Error {
	return &Error{Kind: Invalid, Message: message, Fields: fields}
}

// Error joins the message, the fields and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, f := range e.Fields {
		b.WriteString("; ")
		b.WriteString(f.Path)
		b.WriteString(": ")
		b.WriteString(f.Message)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
