package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

// problemType is what the type of a problem starts with; a slug follows. The
// types are names to branch on, not addresses to fetch.
const problemType = "urn:bugle:problem:"

// problemMedia is the media type of RFC 9457.
const problemMedia = "application/problem+json"

// statusClientClosed stands in the log and the metrics for a request whose
// client did not wait for the answer; nobody is there to receive it.
const statusClientClosed = 499

// Problem is the body of every answer that is not a success (RFC 9457).
type Problem struct {
	Type   string `json:"type" doc:"Names the kind of problem; branch on this." example:"urn:bugle:problem:invalid"`
	Title  string `json:"title" doc:"The kind of problem in words, the same for every one of its type." example:"The request is not valid"`
	Status int    `json:"status" doc:"The HTTP status." example:"400"`
	Detail string `json:"detail,omitempty" doc:"What is wrong with this request."`
	// Instance is the request id, under which the log knows more.
	Instance string         `json:"instance,omitempty" doc:"The request id; quote it when asking for help."`
	Errors   []ProblemField `json:"errors,omitempty" doc:"Every part of the request that is wrong."`
}

// ProblemField is one wrong part of a request.
type ProblemField struct {
	Path    string `json:"path" doc:"Where the part stands." example:"body.target.value"`
	Message string `json:"message" doc:"What is wrong with it."`
}

// Error makes a problem an error, so that a handler can return it.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus tells huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return problemMedia }

// slugs and titles by status. The slugs of the fault kinds are the kinds' names.
func slugAndTitle(status int) (slug, title string) {
	switch status {
	case http.StatusBadRequest:
		return fault.Invalid.String(), "The request is not valid"
	case http.StatusUnauthorized:
		return fault.Unauthorized.String(), "The caller is not known"
	case http.StatusForbidden:
		return fault.Forbidden.String(), "The caller may not do this"
	case http.StatusNotFound:
		return fault.NotFound.String(), "There is no such thing"
	case http.StatusMethodNotAllowed:
		return "method_not_allowed", "The method is not allowed here"
	case http.StatusRequestTimeout:
		return "timeout", "The request took too long to arrive"
	case http.StatusConflict:
		return fault.Conflict.String(), "The request contradicts the present state"
	case http.StatusRequestEntityTooLarge:
		return "too_large", "The body is too large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type", "The body is not JSON"
	case http.StatusTooManyRequests:
		return fault.RateLimited.String(), "Too many requests"
	case http.StatusServiceUnavailable:
		return fault.Unavailable.String(), "The service is not available now"
	}
	return fault.Internal.String(), "Something went wrong here"
}

// statusOf is the one place where a kind of error becomes an HTTP status.
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Unauthorized:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.RateLimited:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Internal:
	}
	return http.StatusInternalServerError
}

func newProblem(ctx context.Context, status int, detail string, fields ...ProblemField) *Problem {
	slug, title := slugAndTitle(status)
	return &Problem{
		Type: problemType + slug, Title: title, Status: status, Detail: detail,
		Instance: requestID(ctx), Errors: fields,
	}
}

// ProblemOf turns any error into what the caller may see, as the answers of the
// API have it, and logs the rest: for pages that tell it in their own way.
func ProblemOf(ctx context.Context, log zerolog.Logger, err error) *Problem {
	return problemOf(ctx, log, err)
}

// problemOf turns any error into the answer that the caller may see, and logs
// the rest under the request id: internal errors as errors, unavailable
// dependencies as warnings.
func problemOf(ctx context.Context, log zerolog.Logger, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		stopped, ok := errors.AsType[*fault.Error](context.Cause(ctx))
		if !ok {
			return newProblem(ctx, statusClientClosed, "")
		}
		err = stopped // it was us, and the client waits for an answer
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			log.Warn().Err(err).Str("request_id", requestID(ctx)).Msg("request timed out")
			return newProblem(ctx, http.StatusServiceUnavailable, "the request took too long; try again")
		}
		f = &fault.Error{Kind: fault.Internal, Err: err}
	}
	status := statusOf(f.Kind)
	switch status {
	case http.StatusInternalServerError:
		log.Error().Err(err).Str("request_id", requestID(ctx)).Msg("request failed")
		return newProblem(ctx, status, "the request id leads to the cause in the log")
	case http.StatusServiceUnavailable:
		log.Warn().Err(err).Str("request_id", requestID(ctx)).Str("kind", f.Kind.String()).Msg("request refused")
	}
	fields := make([]ProblemField, 0, len(f.Fields))
	for _, field := range f.Fields {
		fields = append(fields, ProblemField{Path: field.Path, Message: field.Message})
	}
	return newProblem(ctx, status, f.Message, fields...)
}

// writeProblem answers with a problem outside of huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	h.Set("Content-Type", problemMedia)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	// The status is out: an error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(p)
}

// within puts the fields of an Invalid fault below a part of the request:
// a domain says "target.value", the caller sent it as "body.target.value".
func within(part string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || len(f.Fields) == 0 {
		return err
	}
	moved := *f
	moved.Fields = make([]fault.Field, 0, len(f.Fields))
	for _, field := range f.Fields {
		moved.Fields = append(moved.Fields, fault.Field{Path: part + "." + field.Path, Message: field.Message})
	}
	return &moved
}
