package fcm

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// These tests look inside to give the source a token server in virtual time.

// mintServer is a token server in a bubble.
type mintServer struct {
	calls atomic.Int64
	// takes is how long a request takes, lives how long its token lives.
	takes, lives time.Duration
	// fail, when set, is the answer.
	fail atomic.Pointer[Error]
}

func (s *mintServer) mint(ctx context.Context) (accessToken, error) {
	n := s.calls.Add(1)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return accessToken{}, &Error{Code: CodeTokenUnavailable, Err: ctx.Err()}
	}
	if e := s.fail.Load(); e != nil {
		return accessToken{}, e
	}
	now := time.Now()
	return accessToken{value: "t" + strconv.FormatInt(n, 10), minted: now, expires: now.Add(s.lives)}, nil
}

func (s *mintServer) tokens(t *testing.T) *tokens {
	t.Helper()
	m, err := newMetrics(nil)
	require.NoError(t, err)
	return &tokens{mint: s.mint, log: zerolog.Nop(), count: m.tokenFetches}
}

func TestTokenIsSharedAndReplacedAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &mintServer{takes: time.Second, lives: time.Hour}
		ts := s.tokens(t)

		// A burst at the start makes one request.
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				v, err := ts.get(t.Context())
				if err != nil || v != "t1" {
					t.Errorf("got %q, %v", v, err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, s.calls.Load())

		time.Sleep(49 * time.Minute)
		v, err := ts.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, "t1", v)
		synctest.Wait()
		require.EqualValues(t, 1, s.calls.Load())

		// Due: the old one is served at once, the new one is fetched meanwhile.
		time.Sleep(2 * time.Minute)
		start := time.Now()
		v, err = ts.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, "t1", v)
		require.Zero(t, time.Since(start))
		time.Sleep(2 * time.Second)
		v, err = ts.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, "t2", v)
		require.EqualValues(t, 2, s.calls.Load())
		require.NoError(t, ts.close(t.Context()))
	})
}

func TestTokenSurvivesAnOutageOfItsServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &mintServer{takes: time.Second, lives: time.Hour}
		ts := s.tokens(t)
		_, err := ts.get(t.Context())
		require.NoError(t, err)

		s.fail.Store(&Error{Code: CodeTokenUnavailable, Status: 503})
		for range 59*60 - 30 - 1 {
			time.Sleep(time.Second)
			v, err := ts.get(t.Context())
			require.NoError(t, err)
			require.Equal(t, "t1", v)
		}
		require.Less(t, s.calls.Load(), int64(9*60/5+2), "one request in five seconds at most")

		// The token has ended: an error at once, not one more request per send.
		time.Sleep(2 * time.Minute)
		_, err = ts.get(t.Context())
		require.Error(t, err)
		calls := s.calls.Load()
		for range 50 {
			_, err = ts.get(t.Context())
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, CodeTokenUnavailable, e.Code)
		}
		require.Equal(t, calls, s.calls.Load())

		s.fail.Store(nil)
		time.Sleep(mintPause)
		v, err := ts.get(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, "t1", v)
		require.NoError(t, ts.close(t.Context()))
	})
}

func TestTokenWaitEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &mintServer{takes: time.Hour, lives: time.Hour}
		ts := s.tokens(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		_, err := ts.get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))

		// Another caller learns that the request itself timed out.
		_, err = ts.get(t.Context())
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, CodeTokenUnavailable, e.Code)
		require.Equal(t, mintTimeout, time.Since(start))
		require.EqualValues(t, 1, s.calls.Load())
	})
}

func TestTokenRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &mintServer{takes: time.Second, lives: time.Hour}
		ts := s.tokens(t)
		v, err := ts.get(t.Context())
		require.NoError(t, err)
		require.True(t, ts.refused(v))
		require.True(t, ts.refused(v), "the refusals of a burst")
		next, err := ts.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, "t2", next)
		require.True(t, ts.refused(v), "a late refusal of the old one says nothing about the new one")

		// The successor is refused as well: it is not the token.
		for range 50 {
			again, err := ts.get(t.Context())
			require.NoError(t, err)
			require.Equal(t, next, again)
			require.False(t, ts.refused(next))
		}
		require.EqualValues(t, 2, s.calls.Load())

		// Later it may be.
		time.Sleep(freshFor)
		require.True(t, ts.refused(next))
		_, err = ts.get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, s.calls.Load())

		// One that came in the ordinary way and grew old is replaced at once.
		time.Sleep(55 * time.Minute)
		_, err = ts.get(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		v, err = ts.get(t.Context())
		require.NoError(t, err)
		require.True(t, ts.refused(v))
	})
}

func TestTokenClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &mintServer{takes: time.Hour, lives: time.Hour}
		ts := s.tokens(t)
		got := make(chan error, 1)
		go func() {
			_, err := ts.get(t.Context())
			got <- err
		}()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, ts.close(t.Context()))
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, <-got, context.Canceled)
		time.Sleep(time.Minute)
		_, err := ts.get(t.Context())
		require.ErrorIs(t, err, errClosed)
		require.EqualValues(t, 1, s.calls.Load())
		require.NotErrorIs(t, err, context.Canceled)
	})
}
