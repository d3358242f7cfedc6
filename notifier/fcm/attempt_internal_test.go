package fcm

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests look inside, because Send's one request is guarded twice: either
// guard alone keeps the SDK from sending again.

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func request(t *testing.T, a *attempt) *http.Request {
	t.Helper()
	ctx := context.WithValue(t.Context(), attemptKey{}, a)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://fcm.test", strings.NewReader("{}"))
	require.NoError(t, err)
	return r
}

// TestOneShotShowsNoError: the SDK repeats every error of its transport.
func TestOneShotShowsNoError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	a := &attempt{transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, broken })}
	resp, err := oneShot{}.RoundTrip(request(t, a))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, statusRefused, resp.StatusCode)
	require.ErrorIs(t, a.err, broken)
}

// TestOneShotHides503: the SDK repeats a 503 unless the wait is beyond its
// patience; what Google asked for is kept.
func TestOneShotHides503(t *testing.T) {
	t.Parallel()
	a := &attempt{transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return buffered(r, 503, http.Header{"Retry-After": {"5"}}, nil), nil
	})}
	resp, err := oneShot{}.RoundTrip(request(t, a))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "86400", resp.Header.Get("Retry-After"))
	require.Equal(t, "5", a.answer.header.Get("Retry-After"))
}

// TestOneShotSendsOnce: a second request of the same attempt goes nowhere and
// changes nothing of the first one's answer.
func TestOneShotSendsOnce(t *testing.T) {
	t.Parallel()
	calls := 0
	a := &attempt{transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++
		return buffered(r, 200, http.Header{}, []byte(`{"name":"n"}`)), nil
	})}
	for range 3 {
		resp, err := oneShot{}.RoundTrip(request(t, a))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.Equal(t, 1, calls)
	require.Equal(t, 200, a.answer.status)
}

// TestOneShotNeedsAnAttempt: a request that Send did not make is not sent.
func TestOneShotNeedsAnAttempt(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://fcm.test", strings.NewReader("{}"))
	require.NoError(t, err)
	resp, err := oneShot{}.RoundTrip(r)
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorIs(t, err, errNoAttempt)
}
