package fcm_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// reset breaks the connection after the whole request was read.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// TestOneAttempt: whatever happens after the body left, there is one request.
func TestOneAttempt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		send http.HandlerFunc
		code string
	}{
		{"reset", reset, fcm.CodeConnectionLost},
		{"cut answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"name":`)
			_ = http.NewResponseController(w).Flush()
			reset(w, r)
		}, fcm.CodeConnectionLost},
		{"503 with Retry-After 0", answerWith(503, map[string]string{"Retry-After": "0"}, ""), fcm.CodeUnavailable},
		{"503", answerWith(503, nil, ""), fcm.CodeUnavailable},
		{"redirect with the body", answerWith(308, map[string]string{"Location": "messages:send"}, ""), fcm.CodeUnexpectedAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGoogle(t, tc.send)
			s := newSender(t, g, func(c *fcm.Config) { c.Timeout = fcm.DefaultTimeout })
			start := time.Now()
			out := s.Send(t.Context(), push())
			require.Equal(t, tc.code, out.Code, "%v", out.Err)
			require.EqualValues(t, 1, g.sends.Load())
			require.Less(t, time.Since(start), 6*time.Second, "the SDK waited as if to repeat: 7 s in all")

			// Again over what may be a connection used before.
			s.Send(t.Context(), push())
			require.EqualValues(t, 2, g.sends.Load())
		})
	}
}

// TestLostAnswersAreUnknown: a message that may have been taken is not a retry.
func TestLostAnswersAreUnknown(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, reset)
	out := newSender(t, g, nil).Send(t.Context(), push())
	require.Equal(t, notifier.VerdictUnknown, out.Verdict)
	require.Zero(t, out.Status)
	require.Zero(t, out.After)
}

// hang answers only when the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestDeadline(t *testing.T) {
	t.Parallel()
	t.Run("the configured timeout", func(t *testing.T) {
		t.Parallel()
		g := newGoogle(t, hang)
		s := newSender(t, g, func(c *fcm.Config) { c.Timeout = 3 * time.Second })
		start := time.Now()
		out := s.Send(t.Context(), push())
		require.Less(t, time.Since(start), 30*time.Second)
		require.Equal(t, notifier.VerdictUnknown, out.Verdict)
		require.Equal(t, fcm.CodeTimeout, out.Code)
		require.ErrorIs(t, out.Err, context.DeadlineExceeded)
		require.EqualValues(t, 1, g.sends.Load())
	})
	t.Run("the caller's context", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		g := newGoogle(t, func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			hang(w, r)
		})
		s := newSender(t, g, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		out := s.Send(ctx, push())
		require.Equal(t, notifier.VerdictUnknown, out.Verdict)
		require.Equal(t, fcm.CodeTimeout, out.Code)
		require.ErrorIs(t, out.Err, context.Canceled)
	})
	t.Run("no slot before it", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		g := newGoogle(t, func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			hang(w, r)
		})
		s := newSender(t, g, func(c *fcm.Config) { c.MaxInFlight = 1 })
		first, cancel := context.WithCancel(t.Context())
		done := make(chan notifier.Outcome)
		go func() { done <- s.Send(first, push()) }()
		<-begun
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		out := s.Send(ctx, push())
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
		require.Equal(t, fcm.CodeNotSent, out.Code)
		cancel()
		require.Equal(t, fcm.CodeTimeout, (<-done).Code)
		require.EqualValues(t, 1, g.sends.Load())
	})
	t.Run("ended before the call", func(t *testing.T) {
		t.Parallel()
		g := newGoogle(t, accept)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out := newSender(t, g, nil).Send(ctx, push())
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
		require.Zero(t, g.sends.Load())
	})
}

// TestNotSent: a failure before the request was written cannot have been accepted.
func TestNotSent(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, accept)
	dead, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	mute, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and never speaks TLS
	require.NoError(t, err)
	defer mute.Close()

	for name, url := range map[string]string{
		"connection refused": "http://" + dead.Addr().String(),
		"TLS handshake":      "https://" + mute.Addr().String(),
		"certificate":        "https://" + g.Listener.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSender(t, g, func(c *fcm.Config) { c.URL, c.Timeout = url, 500*time.Millisecond })
			out := s.Send(t.Context(), push())
			require.Equal(t, notifier.VerdictRetry, out.Verdict, "%v", out.Err)
			require.Equal(t, fcm.CodeNotSent, out.Code)
			require.Zero(t, g.sends.Load())
		})
	}
}

// TestRefusedWithoutAsking: some pushes never reach Google.
func TestRefusedWithoutAsking(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*notifier.Push)
		code   string
	}{
		{"expired", func(p *notifier.Push) { p.Message.ExpiresAt = time.Now() }, fcm.CodeExpired},
		{"no expiry", func(p *notifier.Push) { p.Message.ExpiresAt = time.Time{} }, fcm.CodeExpired},
		{"from", func(p *notifier.Push) { p.Message.Data = map[string]string{"from": "x"} }, fcm.CodeReservedDataKey},
		{"google", func(p *notifier.Push) { p.Message.Data = map[string]string{"google.c.a": "x"} }, fcm.CodeReservedDataKey},
		{"gcm", func(p *notifier.Push) { p.Message.Data = map[string]string{"gcm_x": "x"} }, fcm.CodeReservedDataKey},
		{"ours", func(p *notifier.Push) { p.Message.Data = map[string]string{"nid": "x"} }, fcm.CodeReservedDataKey},
		{"too large", func(p *notifier.Push) { p.Message.Data = map[string]string{"a": string(make([]byte, 5000))} }, fcm.CodePayloadTooLarge},
		{"thread", func(p *notifier.Push) { p.Message.Thread = "race/1" }, fcm.CodeInvalidMessage},
		{"Ably's target", func(p *notifier.Push) { p.Target.Kind = devices.AblyDevice }, fcm.CodeUnsupportedTarget},
		{"no target", func(p *notifier.Push) { p.Target.Value = "" }, fcm.CodeUnsupportedTarget},
		{"platform", func(p *notifier.Push) { p.Platform = "tv" }, fcm.CodeUnsupportedTarget},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGoogle(t, accept)
			p := push()
			tc.change(&p)
			out := newSender(t, g, nil).Send(t.Context(), p)
			require.Equal(t, notifier.VerdictRejected, out.Verdict)
			require.Equal(t, tc.code, out.Code)
			require.Zero(t, g.sends.Load())
			require.Zero(t, g.tokens.Load())
		})
	}
}

// TestExpiresWhileWaiting: the last look at the expiry is after the wait for a
// connection.
func TestExpiresWhileWaiting(t *testing.T) {
	t.Parallel()
	begun, free := make(chan struct{}), make(chan struct{})
	g := newGoogle(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-free
		accept(w, r)
	})
	s := newSender(t, g, func(c *fcm.Config) { c.MaxInFlight = 1 })
	done := make(chan notifier.Outcome)
	go func() { done <- s.Send(t.Context(), push()) }()
	<-begun
	p := push()
	p.Message.ExpiresAt = time.Now().Add(100 * time.Millisecond)
	time.AfterFunc(300*time.Millisecond, func() { close(free) })
	out := s.Send(t.Context(), p)
	require.Equal(t, fcm.CodeExpired, out.Code)
	require.Equal(t, notifier.VerdictSent, (<-done).Verdict)
	require.EqualValues(t, 1, g.sends.Load())
}

// TestInstallationID: a FID goes out as message.fid, everything else unchanged.
func TestInstallationID(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, accept)
	s := newSender(t, g, nil)
	p := push()
	p.Message.Data["token"] = "stays" // a name inside data is not the target
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	p.Target = devices.Target{Kind: devices.FCMFID, Value: "fVu5xVgVQTyZ8b1m2n3o4p"}
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)

	require.Len(t, g.bodies, 2)
	var byToken, byFID struct {
		Message map[string]any `json:"message"`
	}
	require.NoError(t, json.Unmarshal(g.bodies[0], &byToken))
	require.NoError(t, json.Unmarshal(g.bodies[1], &byFID))
	require.Equal(t, testToken, byToken.Message["token"])
	require.NotContains(t, byToken.Message, "fid")
	require.Equal(t, "fVu5xVgVQTyZ8b1m2n3o4p", byFID.Message["fid"])
	require.NotContains(t, byFID.Message, "token")
	require.Equal(t, byToken.Message["data"], byFID.Message["data"])
	require.Equal(t, byToken.Message["notification"], byFID.Message["notification"])
}
