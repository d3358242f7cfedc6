package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
)

// readBody reads the body of an operation that has one, so that too large, too
// slow, cut off and not JSON each get an answer of their own. huma then parses
// what was read.
func (s *server) readBody(hctx huma.Context, next func(huma.Context)) {
	if op := hctx.Operation(); op.RequestBody == nil || op.Metadata[streamKey] != nil {
		next(hctx)
		return
	}
	r, w := humachi.Unwrap(hctx)
	ctx := hctx.Context()
	if !isJSON(r.Header.Values("Content-Type")) {
		w.Header().Set("Accept", "application/json")
		writeProblem(w, newProblem(ctx, http.StatusUnsupportedMediaType, "Content-Type must be application/json"))
		return
	}
	// A deadline of its own, since http.Server's covers the handler as well.
	// Writers that cannot set one (in tests) are as good without.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.bodyLimit))
	if err != nil {
		// The deadline stays: http.Server drains what is left of the body before
		// it answers, and would wait for ever for one that does not come.
		w.Header().Set("Connection", "close")
		writeProblem(w, s.bodyProblem(hctx, err))
		return
	}
	_ = control.SetReadDeadline(time.Time{})
	next(bodyContext{inner: hctx, body: bytes.NewReader(body)})
}

func (s *server) bodyProblem(hctx huma.Context, err error) *Problem {
	ctx := hctx.Context()
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(ctx, http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes", tooLarge.Limit))
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return newProblem(ctx, http.StatusRequestTimeout, fmt.Sprintf("a body must arrive within %s", s.bodyTimeout))
	}
	return newProblem(ctx, http.StatusBadRequest, "the body broke off")
}

// isJSON tells whether there is one Content-Type and it is JSON in UTF-8, the
// only encoding that RFC 8259 knows.
func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || media != "application/json" {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// inner keeps the embedded interface's name from hiding its method Context.
type inner = huma.Context

// bodyContext is a request whose body has been read already.
type bodyContext struct {
	inner
	body io.Reader
}

// BodyReader returns the body.
func (c bodyContext) BodyReader() io.Reader { return c.body }

// Unwrap lets humachi find the request.
func (c bodyContext) Unwrap() huma.Context { return c.inner }

// statusContext answers 400 where huma says 422: a body that breaks the schema
// and one that breaks a rule are the same mistake to a caller.
type statusContext struct{ inner }

// SetStatus sends the status.
func (c statusContext) SetStatus(status int) { c.inner.SetStatus(humaStatus(status)) }

// Unwrap lets humachi find the request.
func (c statusContext) Unwrap() huma.Context { return c.inner }

func humaStatus(status int) int {
	if status == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return status
}

// jsonFormat is huma's JSON, with errors that repeat nothing of the body.
func jsonFormat() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		},
		Unmarshal: func(data []byte, v any) error {
			err := json.Unmarshal(data, v)
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				return fmt.Errorf("malformed JSON at byte %d", syntax.Offset)
			}
			if err != nil {
				return errors.New("malformed JSON")
			}
			return nil
		},
	}
}

// problems is the huma.Transformer that turns what huma found wrong into a
// problem. It drops the values that huma would echo: one may be a token.
func (s *server) problems(hctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	ctx := hctx.Context()
	status := humaStatus(m.Status)
	if status >= http.StatusInternalServerError {
		return problemOf(ctx, s.log, m), nil
	}
	fields := make([]ProblemField, 0, len(m.Errors))
	for _, e := range m.Errors {
		fields = append(fields, ProblemField{Path: e.Location, Message: e.Message})
	}
	// huma finds unknown properties in the order of a map.
	slices.SortStableFunc(fields, func(a, b ProblemField) int { return strings.Compare(a.Path, b.Path) })
	detail := "the request does not fit the schema"
	if len(fields) == 0 {
		detail = m.Detail
	}
	return newProblem(ctx, status, detail, fields...), nil
}
