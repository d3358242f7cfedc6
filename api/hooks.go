package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay/bets"
)

const (
	// DefaultHookLimit is the largest webhook, in bytes. Ably batches up to 100 messages of at
	// most 256 KiB (Pro; Ably: "Limits"), which JSON may make larger. What is refused for its size
	// comes again and holds up what is behind it, so that this is not meant to be reached.
	DefaultHookLimit = 64 << 20
	// hookTimeout bounds how long a webhook may take to arrive. With the work for it, it must be
	// answered within writeTimeout.
	hookTimeout = 15 * time.Second
	// hookDrain is how long the body of a refused one may go on.
	hookDrain = time.Second
	// hookMemory bounds what all webhooks hold that are being read or taken. Anybody can begin
	// one: its signature can be checked only when all of it is there.
	hookMemory = 2 * DefaultHookLimit
	// hookChunk is how much is read at once, and so what one holds that sends nothing: so little
	// that thousands of them leave room for Ably's.
	hookChunk = 4 << 10
)

// Hook takes the webhooks of Ably.
type Hook interface {
	// Admit tells whether a request may be read at all, by what its headers say about its
	// signature. It returns an Unauthorized fault otherwise.
	Admit(key, signature string) error
	// Receive takes a webhook; nil when it is kept for good. It returns an Unauthorized fault for
	// a wrong signature, and another kind when it could not be kept.
	Receive(ctx context.Context, d bets.Delivery) error
}

// hookServer serves POST /v1/hooks/ably. It is no operation for apps, and answers
// nobody but Ably, so that the OpenAPI document does not know it.
type hookServer struct {
	hook    Hook
	log     zerolog.Logger
	limit   int64
	timeout time.Duration
	held    atomic.Int64 // bytes
}

func (s *hookServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), hookTimeout+s.timeout)
	defer cancel()
	if err := s.take(ctx, w, r); err != nil {
		p := problemOf(ctx, s.log, err)
		if p.Status == http.StatusUnauthorized {
			// RFC 9110, section 11.6.1: a 401 must name a scheme.
			w.Header().Set("WWW-Authenticate", `Ably-Signature realm="bugle-hooks"`)
			s.log.Debug().Str("request_id", requestID(ctx)).Str("reason", p.Detail).Msg("webhook refused")
		}
		writeProblem(w, p)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *hookServer) take(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	d := bets.Delivery{
		Key: r.Header.Get("X-Ably-Key"), Signature: r.Header.Get("X-Ably-Signature"), ContentType: r.Header.Get("Content-Type"),
	}
	control := http.NewResponseController(w)
	if err := s.hook.Admit(d.Key, d.Signature); err != nil {
		// http.Server drains what is left of a body before it answers: not for long.
		_ = control.SetReadDeadline(time.Now().Add(hookDrain))
		w.Header().Set("Connection", "close")
		return err
	}
	_ = control.SetReadDeadline(time.Now().Add(hookTimeout))
	var held int64
	defer func() { s.held.Add(-held) }()
	body, err := s.read(http.MaxBytesReader(w, r.Body, s.limit), &held)
	if err != nil {
		// As in readBody: the deadline stays, the server drains what is left.
		w.Header().Set("Connection", "close")
		return s.readProblem(ctx, err)
	}
	_ = control.SetReadDeadline(time.Time{})
	d.Body = body
	return s.hook.Receive(ctx, d)
}

// errHookMemory says that too much is being read at once.
var errHookMemory = fault.New(fault.Unavailable, "too many webhooks at once; try again")

// read reads a body piece by piece, as long as all bodies together are not too much.
func (s *hookServer) read(r io.Reader, held *int64) ([]byte, error) {
	var body bytes.Buffer
	for {
		if s.held.Add(hookChunk) > hookMemory {
			s.held.Add(-hookChunk)
			return nil, errHookMemory
		}
		*held += hookChunk
		n, err := io.CopyN(&body, r, hookChunk)
		switch {
		case errors.Is(err, io.EOF):
			return body.Bytes(), nil
		case err != nil:
			return nil, err
		case n < hookChunk:
			return nil, io.ErrUnexpectedEOF
		}
	}
}

func (s *hookServer) readProblem(ctx context.Context, err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(ctx, http.StatusRequestEntityTooLarge, fmt.Sprintf("a webhook may have %d bytes", tooLarge.Limit))
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return newProblem(ctx, http.StatusRequestTimeout, fmt.Sprintf("a webhook must arrive within %s", hookTimeout))
	}
	if errors.Is(err, errHookMemory) {
		return err
	}
	return newProblem(ctx, http.StatusBadRequest, "the body was cut off")
}
