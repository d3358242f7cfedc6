package fcm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	// mintTimeout bounds one request to the token server. It is less than
	// MinTimeout, so that a send that waits for it still learns the reason.
	mintTimeout = 8 * time.Second
	// mintPause is how long a failed request is remembered before the next one:
	// without it each waiting send would ask in turn.
	mintPause = 5 * time.Second
	// expiryMargin is how long before its end a token is not used any more.
	expiryMargin = 30 * time.Second
	// freshFor is how long the successor of a refused token is not replaced when
	// it is refused as well.
	freshFor = time.Minute
)

// accessToken is an OAuth 2 access token.
type accessToken struct {
	value           string
	minted, expires time.Time
	// successor says that it replaced a token that Google refused.
	successor bool
}

// usable reports whether the token may be sent at a time.
func (t accessToken) usable(now time.Time) bool {
	return t.value != "" && now.Before(t.expires.Add(-expiryMargin))
}

// due reports whether it is time to replace the token: after five sixths of its
// life, 50 minutes of Google's hour.
func (t accessToken) due(now time.Time) bool {
	return now.After(t.minted.Add(t.expires.Sub(t.minted) / 6 * 5))
}

// tokens serves one access token to all sends and replaces it ahead of its end.
type tokens struct {
	mint  func(context.Context) (accessToken, error)
	log   zerolog.Logger
	count *prometheus.CounterVec

	mu      sync.Mutex
	current accessToken
	// minting is closed when the request under way is done; nil when there is none.
	minting chan struct{}
	// stop ends the request under way.
	stop context.CancelFunc
	// failure is the last request's error, nil after a success.
	failure  error
	failedAt time.Time
	// dropped says that the last token was dropped because Google refused it.
	dropped bool
	closed  bool
}

var errClosed = errors.New("sender is closed")

// get returns a usable token: the current one at once, even while its
// successor is being fetched; without one it waits for a fetch until ctx ends.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	now := time.Now()
	usable := t.current.usable(now)
	paused := t.failure != nil && now.Before(t.failedAt.Add(mintPause))
	if (!usable || t.current.due(now)) && t.minting == nil && !paused && !t.closed {
		t.start(ctx)
	}
	value, minting, failure := t.current.value, t.minting, t.failure
	closed := t.closed
	t.mu.Unlock()

	switch {
	case usable:
		return value, nil
	case closed:
		return "", &Error{Code: CodeTokenUnavailable, Err: errClosed}
	case minting == nil:
		return "", failure // paused
	}
	select {
	case <-minting:
	case <-ctx.Done():
		return "", &Error{Code: CodeTokenUnavailable, Err: fmt.Errorf("wait for access token: %w", ctx.Err())}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.usable(time.Now()) {
		return t.current.value, nil
	}
	if t.failure == nil {
		return "", &Error{Code: CodeTokenUnavailable, Detail: "the token server's token ends too soon"}
	}
	return "", t.failure
}

// start fetches a token in the background, because the send that found it due
// must not be the one to bear it, and its deadline is not the fetch's. The
// caller holds mu.
func (t *tokens) start(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), mintTimeout)
	done := make(chan struct{})
	t.minting, t.stop = done, stop
	go func() {
		defer close(done)
		defer stop()
		next, err := t.mint(ctx)
		t.finish(next, err)
	}()
}

// finish records what a fetch came to and logs a change.
func (t *tokens) finish(next accessToken, err error) {
	t.mu.Lock()
	before := t.failure
	t.minting, t.stop, t.failure = nil, nil, err
	if err == nil {
		next.successor, t.dropped = t.dropped, false
		t.current = next
	} else {
		t.failedAt = time.Now()
	}
	t.mu.Unlock()

	outcome := "ok"
	if e, ok := errors.AsType[*Error](err); ok {
		outcome = e.Code
	} else if err != nil {
		outcome = CodeTokenUnavailable
	}
	t.count.WithLabelValues(outcome).Inc()
	switch {
	case err == nil && before != nil:
		t.log.Info().Msg("access token fetched again")
	case err != nil && before == nil:
		t.log.Warn().Err(err).Str("reason", outcome).Msg("access token not fetched")
	}
}

// refused is told of a token that Google answered 401 to. It reports whether
// another token may help: then the refused one is dropped and the next send
// fetches its successor. A successor that is refused at once is kept for a
// while, so that a storm of refusals does not become a storm of fetches.
func (t *tokens) refused(value string) (stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.value != value {
		return true // replaced meanwhile
	}
	if t.current.successor && time.Since(t.current.minted) < freshFor {
		return false
	}
	t.current, t.dropped = accessToken{}, true
	return true
}

// close ends a fetch that is under way and waits for it until ctx ends.
func (t *tokens) close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	minting, stop := t.minting, t.stop
	t.mu.Unlock()
	if minting == nil {
		return nil
	}
	stop()
	select {
	case <-minting:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for token request: %w", ctx.Err())
	}
}
