package fcm_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/slowtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// What decided about a push is too old when a token or a connection has taken its time: a user may have
// been suppressed meanwhile.
func TestARequestThatWouldBeginTooLateIsNotMade(t *testing.T) {
	t.Parallel()
	t.Run("the token is late", func(t *testing.T) {
		t.Parallel()
		g := newGoogle(t, accept)
		g.token = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(tooLong)
			giveToken(w)
		}
		s := newSender(t, g, nil)
		p := push()
		p.BeginBy = time.Now().Add(50 * time.Millisecond)
		out := s.Send(t.Context(), p)
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
		require.Zero(t, g.sends.Load())
		p.BeginBy = time.Now().Add(time.Minute)
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
		require.EqualValues(t, 1, g.tokens.Load())
	})
	t.Run("the connection is late", func(t *testing.T) {
		t.Parallel()
		g := newGoogle(t, accept)
		fcmServer := slowtest.Server(t, g.Config.Handler, tooLong)
		s := newSender(t, g, func(c *fcm.Config) {
			c.URL = fcmServer.URL
			c.TLS = fcmServer.Client().Transport.(*http.Transport).TLSClientConfig
		})
		p := push()
		p.BeginBy = time.Now().Add(100 * time.Millisecond)
		out := s.Send(t.Context(), p)
		require.Equal(t, notifier.VerdictRetry, out.Verdict, "%v", out.Err)
		require.Equal(t, fcm.CodeNotSent, out.Code)
		require.Zero(t, g.sends.Load())
		p.BeginBy = time.Now().Add(time.Minute)
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	})
	t.Run("the answer is late", func(t *testing.T) {
		t.Parallel()
		const inTime = 2 * time.Second // on a busy machine too
		g := newGoogle(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(inTime + tooLong):
			case <-r.Context().Done():
			}
			accept(w, r)
		})
		s := newSender(t, g, func(c *fcm.Config) { c.Timeout = time.Minute })
		require.Equal(t, notifier.VerdictSent, s.Send(context.WithoutCancel(t.Context()), push()).Verdict, "the token is there now")
		p := push()
		p.BeginBy = time.Now().Add(inTime)
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict, "what has begun in time is waited for")
	})
}

// tooLong is how long everybody takes here; what must have begun earlier has not.
const tooLong = 400 * time.Millisecond
