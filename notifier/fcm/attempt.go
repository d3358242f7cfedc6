package fcm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// maxAnswer is the most bytes read of an answer; FCM's have less than two thousand.
const maxAnswer = 64 << 10

// statusRefused is the status of the answer that the SDK sees when there was
// none: one that it neither repeats (503, and every transport error) nor takes
// for success.
const statusRefused = 599

// attempt is one request: how to make it and what came of it. It travels to the
// transport in the request's context, because the SDK shows neither the request
// nor a lost answer's circumstances.
type attempt struct {
	transport http.RoundTripper
	bearer    string
	// fid says that the target is a Firebase installation id.
	fid bool

	// begun says that a request was made. It is never made twice.
	begun bool
	// wrote says that the header was handed to a connection: from here on the
	// message may be accepted. net/http sets it from its own goroutines.
	wrote atomic.Bool
	// answer is valid when err is nil.
	answer answer
	err    error
}

type attemptKey struct{}

// oneShot is the http.RoundTripper under the SDK. It makes one request per
// attempt and never reports an error: the SDK repeats all of them.
type oneShot struct{}

// errNoAttempt is a programmer's error: a request that Send did not make.
var errNoAttempt = errors.New("fcm: request outside of Send")

// RoundTrip implements http.RoundTripper.
func (oneShot) RoundTrip(req *http.Request) (*http.Response, error) {
	a, ok := req.Context().Value(attemptKey{}).(*attempt)
	if !ok || a.begun {
		if req.Body != nil {
			_ = req.Body.Close() // as RoundTripper demands; there is nothing to learn from it
		}
		if !ok {
			return nil, errNoAttempt
		}
		return refused(req), nil
	}
	a.begun = true
	a.answer, a.err = a.do(req)
	if a.err != nil {
		return refused(req), nil
	}
	return a.answer.response(req), nil
}

// do makes the request and reads the answer to its end.
func (a *attempt) do(req *http.Request) (answer, error) {
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteHeaders: func() { a.wrote.Store(true) },
	})
	out := req.WithContext(ctx)
	out.Header = req.Header.Clone()
	out.Header.Set("Authorization", "Bearer "+a.bearer)
	if a.fid {
		if err := renameToken(out); err != nil {
			return answer{}, err
		}
	}
	resp, err := a.transport.RoundTrip(out)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// response is the answer as the SDK may see it. It repeats a 503 unless told to
// wait for more than two minutes; the true Retry-After stays in the answer.
func (a answer) response(req *http.Request) *http.Response {
	header := a.header
	if a.status == http.StatusServiceUnavailable {
		header = header.Clone()
		header.Set("Retry-After", "86400")
	}
	return buffered(req, a.status, header, a.body)
}

// refused is the answer that the SDK sees when there was none.
func refused(req *http.Request) *http.Response {
	return buffered(req, statusRefused, http.Header{"Content-Type": {"application/json"}}, []byte(`{"error":{"status":"UNKNOWN"}}`))
}

// buffered makes a response whose body is in memory.
func buffered(req *http.Request, status int, header http.Header, body []byte) *http.Response {
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode: status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// renameToken makes message.token message.fid.
//
// The SDK has no field for a Firebase installation id before 4.21.0. Delete
// this function, attempt.fid and the import of encoding/json when go.mod
// requires that or later, and set messaging.Message.Fid in build instead.
func renameToken(req *http.Request) error {
	b, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	var root struct {
		Message map[string]json.RawMessage `json:"message"`
	}
	if err := json.Unmarshal(b, &root); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	root.Message["fid"] = root.Message["token"]
	delete(root.Message, "token")
	if b, err = json.Marshal(root); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	req.ContentLength = int64(len(b))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	req.Body, err = req.GetBody()
	return err
}

// lost turns the error of an attempt that got no answer into a code: whether
// nothing was written, the time was up, or the connection broke.
func (a *attempt) lost(ctx context.Context) *Error {
	switch {
	case !a.wrote.Load():
		return &Error{Code: CodeNotSent, Err: a.err}
	case ctx.Err() != nil:
		return &Error{Code: CodeTimeout, Err: ctx.Err()}
	}
	return &Error{Code: CodeConnectionLost, Err: a.err}
}
