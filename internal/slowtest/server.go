// Package slowtest has servers that take their time, for tests.
package slowtest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Server starts a server over TLS that takes that long to let each connection in.
func Server(t testing.TB, handler http.Handler, wait time.Duration) *httptest.Server {
	t.Helper()
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(handler)
	_ = s.Listener.Close()
	s.Listener = listener{inner, wait}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

type listener struct {
	net.Listener

	wait time.Duration
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		time.Sleep(l.wait)
	}
	return c, err
}
