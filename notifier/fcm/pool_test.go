package fcm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// TestColdBurst: a burst over no connection at all opens a few, each with fewer
// streams than the server allows, and all of it arrives; also at three times
// what may be in flight.
func TestColdBurst(t *testing.T) {
	t.Parallel()
	const inFlight, sends = 200, 600
	type onConn struct{}
	var conns, now, most, mostOnConn atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	raise := func(most *atomic.Int64, n int64) {
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s instead of HTTP/2", r.Proto)
		}
		streams, ok := r.Context().Value(onConn{}).(*atomic.Int64)
		if !ok {
			t.Error("a request without a connection")
			return
		}
		n := now.Add(1)
		raise(&most, n)
		raise(&mostOnConn, streams.Add(1))
		if n == inFlight {
			once.Do(func() { close(full) })
		}
		<-full // nobody is answered before all that may be in flight are
		now.Add(-1)
		streams.Add(-1)
		accept(w, r)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, onConn{}, new(atomic.Int64))
	}
	srv.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 100}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())

	g := newGoogle(t, accept) // for access tokens
	s := newSender(t, g, func(c *fcm.Config) {
		c.URL, c.MaxInFlight = srv.URL, inFlight
		c.Timeout, c.DialTimeout = time.Minute, time.Minute // also on a busy machine
		c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	})
	var wg sync.WaitGroup
	for range sends {
		wg.Go(func() {
			if out := s.Send(t.Context(), push()); out.Verdict != notifier.VerdictSent {
				t.Errorf("%s: %v", out.Verdict, out.Err)
			}
		})
	}
	wg.Wait()
	// Three transports of 67 requests, two connections each at most.
	require.LessOrEqual(t, conns.Load(), int64(6))
	require.LessOrEqual(t, mostOnConn.Load(), int64(90))
	require.EqualValues(t, inFlight, most.Load())
}
