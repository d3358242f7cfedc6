package ablypush_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/slowtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
)

// What decided about a push is too old when a place or a connection has taken its time: a user may have
// been suppressed meanwhile.
func TestARequestThatWouldBeginTooLateIsNotMade(t *testing.T) {
	t.Parallel()
	t.Run("the connection is late", func(t *testing.T) {
		t.Parallel()
		server := slowtest.Server(t, http.HandlerFunc(accept), tooLong)
		s := newSender(t, server.URL, func(c *ablypush.Config) { c.TLS = server.Client().Transport.(*http.Transport).TLSClientConfig })
		p := push()
		p.BeginBy = time.Now().Add(100 * time.Millisecond)
		out := s.Send(t.Context(), p)
		require.Equal(t, notifier.VerdictRetry, out.Verdict, "%v", out.Err)
		require.Equal(t, ablypush.CodeNotSent, out.Code)
		p.BeginBy = time.Now().Add(time.Minute)
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	})
	t.Run("the place is late", func(t *testing.T) {
		t.Parallel()
		free := make(chan struct{})
		g := newService(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-free:
			case <-r.Context().Done():
			}
			accept(w, r)
		})
		s := newSender(t, g.URL, func(c *ablypush.Config) { c.MaxInFlight, c.Timeout = 1, time.Minute })
		first := make(chan notifier.Outcome, 1)
		go func() { // it begins in time, so that its answer is waited for
			p := push()
			p.BeginBy = time.Now().Add(time.Minute)
			first <- s.Send(t.Context(), p)
		}()
		require.Eventually(t, func() bool { return g.publishes.Load() == 1 }, time.Minute, time.Millisecond)
		p := push()
		p.BeginBy = time.Now().Add(50 * time.Millisecond)
		require.Equal(t, ablypush.CodeNotSent, s.Send(t.Context(), p).Code)
		close(free)
		require.Equal(t, notifier.VerdictSent, (<-first).Verdict)
		require.EqualValues(t, 1, g.publishes.Load())
	})
}

// tooLong is how long a connection takes here; what must have begun earlier has not.
const tooLong = 400 * time.Millisecond
