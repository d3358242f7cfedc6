package ablypush_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
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

// hang answers only when the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestRequest: what goes over the wire besides the body, which has golden files.
func TestRequest(t *testing.T) {
	t.Parallel()
	g := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(testKey)) ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Ably-Version") == "" || r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		accept(w, r)
	})
	s := newSender(t, g.URL+"/", func(c *ablypush.Config) { c.Key = "\n " + testKey + "\n" })
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), push()).Verdict)
	p := push()
	p.Target = devices.Target{Kind: devices.AblyClient, Value: testClient}
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)

	var first, second map[string]any
	require.NoError(t, json.Unmarshal(g.bodies[0], &first))
	require.NoError(t, json.Unmarshal(g.bodies[1], &second))
	require.Equal(t, map[string]any{"deviceId": testDevice}, first["recipient"])
	require.Equal(t, map[string]any{"clientId": testClient}, second["recipient"])
	require.Equal(t, first["data"], second["data"])
	require.Equal(t, first["apns"], second["apns"])
}

// TestOneAttempt: whatever happens after the body left, there is one request.
func TestOneAttempt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		publish http.HandlerFunc
		code    string
	}{
		{"reset", reset, ablypush.CodeConnectionLost},
		{"cut answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"error":`)
			_ = http.NewResponseController(w).Flush()
			reset(w, r)
		}, ablypush.CodeConnectionLost},
		{"503 with Retry-After 0", answerWith(503, map[string]string{"Retry-After": "0"}, ""), ablypush.CodeServerError},
		{"429", answerWith(429, nil, failure(42918)), ablypush.CodeRateLimited},
		{"401", answerWith(401, nil, failure(40142)), ablypush.CodeUnauthenticated},
		{"redirect with the body", answerWith(308, map[string]string{"Location": "/push/publish"}, ""), ablypush.CodeUnexpectedAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, tc.publish)
			s := newSender(t, g.URL, nil)
			out := s.Send(t.Context(), push())
			require.Equal(t, tc.code, out.Code, "%v", out.Err)
			require.EqualValues(t, 1, g.publishes.Load())

			// Again over what may be a connection used before.
			s.Send(t.Context(), push())
			require.EqualValues(t, 2, g.publishes.Load())
		})
	}
}

// TestLostAnswersAreUnknown: a message that may have been taken is not a retry.
func TestLostAnswersAreUnknown(t *testing.T) {
	t.Parallel()
	g := newService(t, reset)
	out := newSender(t, g.URL, nil).Send(t.Context(), push())
	require.Equal(t, notifier.VerdictUnknown, out.Verdict)
	require.Zero(t, out.Status)
	require.Zero(t, out.After)
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	t.Run("the configured timeout", func(t *testing.T) {
		t.Parallel()
		g := newService(t, hang)
		s := newSender(t, g.URL, func(c *ablypush.Config) { c.Timeout = 3 * time.Second })
		start := time.Now()
		out := s.Send(t.Context(), push())
		require.Less(t, time.Since(start), 30*time.Second)
		require.Equal(t, notifier.VerdictUnknown, out.Verdict)
		require.Equal(t, ablypush.CodeTimeout, out.Code)
		require.ErrorIs(t, out.Err, context.DeadlineExceeded)
		require.EqualValues(t, 1, g.publishes.Load())
	})
	t.Run("the caller's context", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		g := newService(t, func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			hang(w, r)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		out := newSender(t, g.URL, nil).Send(ctx, push())
		require.Equal(t, notifier.VerdictUnknown, out.Verdict)
		require.Equal(t, ablypush.CodeTimeout, out.Code)
		require.ErrorIs(t, out.Err, context.Canceled)
	})
	t.Run("no place before it", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		g := newService(t, func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			hang(w, r)
		})
		s := newSender(t, g.URL, func(c *ablypush.Config) { c.MaxInFlight = 1 })
		first, cancel := context.WithCancel(t.Context())
		done := make(chan notifier.Outcome)
		go func() { done <- s.Send(first, push()) }()
		<-begun
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		out := s.Send(ctx, push())
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
		require.Equal(t, ablypush.CodeNotSent, out.Code)
		cancel()
		require.Equal(t, ablypush.CodeTimeout, (<-done).Code)
		require.EqualValues(t, 1, g.publishes.Load())
	})
	t.Run("ended before the call", func(t *testing.T) {
		t.Parallel()
		g := newService(t, accept)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out := newSender(t, g.URL, nil).Send(ctx, push())
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
		require.Equal(t, ablypush.CodeNotSent, out.Code)
		require.Zero(t, g.publishes.Load())
	})
}

// TestNotSent: a failure before the request was written cannot have been accepted.
func TestNotSent(t *testing.T) {
	t.Parallel()
	g := newService(t, accept)
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
			s := newSender(t, url, func(c *ablypush.Config) { c.Timeout = 500 * time.Millisecond })
			out := s.Send(t.Context(), push())
			require.Equal(t, notifier.VerdictRetry, out.Verdict, "%v", out.Err)
			require.Equal(t, ablypush.CodeNotSent, out.Code)
			require.False(t, out.Throttled)
			require.Zero(t, g.publishes.Load())
		})
	}
}

// TestRefusedWithoutAsking: some pushes never reach Ably.
func TestRefusedWithoutAsking(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*notifier.Push)
		code   string
	}{
		{"expired", func(p *notifier.Push) { p.Message.ExpiresAt = time.Now() }, ablypush.CodeExpired},
		{"no expiry", func(p *notifier.Push) { p.Message.ExpiresAt = time.Time{} }, ablypush.CodeExpired},
		{"from", func(p *notifier.Push) { p.Message.Data = map[string]string{"from": "x"} }, ablypush.CodeReservedDataKey},
		{"aps", func(p *notifier.Push) { p.Message.Data = map[string]string{"aps": "x"} }, ablypush.CodeReservedDataKey},
		{"ours", func(p *notifier.Push) { p.Message.Data = map[string]string{"nid": "x"} }, ablypush.CodeReservedDataKey},
		{"too large", func(p *notifier.Push) { p.Message.Data = map[string]string{"a": strings.Repeat("x", 5000)} }, ablypush.CodePayloadTooLarge},
		{"thread", func(p *notifier.Push) { p.Message.Thread = "race/1" }, ablypush.CodeInvalidMessage},
		{"FCM's target", func(p *notifier.Push) { p.Target.Kind = devices.FCMToken }, ablypush.CodeUnsupportedTarget},
		{"no target", func(p *notifier.Push) { p.Target.Value = "" }, ablypush.CodeUnsupportedTarget},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, accept)
			p := push()
			tc.change(&p)
			out := newSender(t, g.URL, nil).Send(t.Context(), p)
			require.Equal(t, notifier.VerdictRejected, out.Verdict)
			require.Equal(t, tc.code, out.Code)
			require.Zero(t, g.publishes.Load())
		})
	}
}

// TestExpiresWhileWaiting: the last look at the expiry is after the wait for a
// place.
func TestExpiresWhileWaiting(t *testing.T) {
	t.Parallel()
	begun, free := make(chan struct{}), make(chan struct{})
	g := newService(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-free
		accept(w, r)
	})
	s := newSender(t, g.URL, func(c *ablypush.Config) { c.MaxInFlight = 1 })
	done := make(chan notifier.Outcome)
	go func() { done <- s.Send(t.Context(), push()) }()
	<-begun
	p := push()
	p.Message.ExpiresAt = time.Now().Add(100 * time.Millisecond)
	time.AfterFunc(300*time.Millisecond, func() { close(free) })
	out := s.Send(t.Context(), p)
	require.Equal(t, ablypush.CodeExpired, out.Code)
	require.Equal(t, notifier.VerdictSent, (<-done).Verdict)
	require.EqualValues(t, 1, g.publishes.Load())
}

// TestCutBodiesAreCounted.
func TestCutBodiesAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	g := newService(t, accept)
	s := newSender(t, g.URL, func(c *ablypush.Config) { c.Registerer = reg })
	p := push()
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	p.Message.Body = strings.Repeat("🏇", 3000)
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
		# HELP bugle_ably_bodies_cut_total Pushes whose body was shortened to fit what FCM, APNs and Web Push take.
		# TYPE bugle_ably_bodies_cut_total counter
		bugle_ably_bodies_cut_total 1
	`), "bugle_ably_bodies_cut_total"))
	_, err := ablypush.New(t.Context(), ablypush.Config{Key: testKey, Registerer: reg})
	require.ErrorContains(t, err, "register metrics")
}

// What Ably has refused, or has perhaps not taken, is not counted as chargeable.
func TestWhatAblyChargesIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	var refuse atomic.Bool
	g := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"error":{"message":"too fast","code":42926,"statusCode":429}}`))
			return
		}
		accept(w, r)
	})
	s := newSender(t, g.URL, func(c *ablypush.Config) { c.Registerer = reg })
	p := push()
	require.Equal(t, devices.AblyDevice, p.Target.Kind)
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	p.Target.Kind = devices.AblyClient
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	refuse.Store(true)
	require.Equal(t, notifier.VerdictRetry, s.Send(t.Context(), p).Verdict)
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "bugle_ably_push_chargeable_messages_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	require.Equal(t, map[string]float64{"ably_device": 1, "ably_client": 2}, got)
}
