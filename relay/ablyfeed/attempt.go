package ablyfeed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
)

// attempt is what is seen of one call on the wire. The SDK's errors do not tell
// whether a request left, and lose the code of an answer without a body.
type attempt struct {
	mu        sync.Mutex
	tries     int  // requests that were begun, at whichever host
	wrote     bool // the present one was handed to a connection
	uncertain bool // an earlier one may have been acted on
	status    int  // of the present one's answer, 0 for none
	code      int  // in the header of that answer
}

type attemptKey struct{}

// trace returns a context whose requests are seen by the attempt.
func (a *attempt) trace(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, attemptKey{}, a)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
		a.mu.Lock()
		a.wrote = true
		a.mu.Unlock()
	}})
}

func (a *attempt) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uncertain = a.uncertain || a.wrote && (a.status == 0 || a.status >= http.StatusInternalServerError)
	a.tries++
	a.wrote, a.status, a.code = false, 0, 0
}

func (a *attempt) end(resp *http.Response) {
	code, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get("X-Ably-ErrorCode")))
	if err != nil || code < 0 || code > 999_999 {
		code = 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.code = resp.StatusCode, code
}

// maxAnswer bounds the answer that is read.
const maxAnswer = 1 << 20

// watched is a transport that reports to the attempt in the request's context,
// and reads answers to their end: the SDK does not, and the connection of an
// answer that is not read is closed and not used again.
type watched struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	a, _ := req.Context().Value(attemptKey{}).(*attempt)
	if a != nil {
		a.begin()
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close() // it was read
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if a != nil {
		a.end(resp)
	}
	return resp, nil
}
