package main

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// echo is a server that returns what it gets.
func echo(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// refused tells whether a new connection is of no use: it is reset at once, or
// when something is read from it.
func refused(t *testing.T, addr string) bool {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return true
	}
	defer c.Close()
	_, err = says(c, "hello")
	return err != nil
}

// says sends a word and returns what comes back.
func says(c net.Conn, word string) (string, error) {
	if _, err := io.WriteString(c, word); err != nil {
		return "", err
	}
	back := make([]byte, len(word))
	_, err := io.ReadFull(c, back)
	return string(back), err
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	p, err := startProxy(t.Context(), "tcp", echo(t).Addr().String())
	require.NoError(t, err)
	one, two := connect(t, p.addr()), connect(t, p.addr())
	for _, c := range []net.Conn{one, two} {
		got, err := says(c, "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", got)
	}

	p.refuse()
	for _, c := range []net.Conn{one, two} {
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err, "what was open is cut")
	}
	require.True(t, refused(t, p.addr()))

	p.allow()
	got, err := says(connect(t, p.addr()), "again")
	require.NoError(t, err)
	require.Equal(t, "again", got)

	open := connect(t, p.addr())
	_, err = says(open, "hello")
	require.NoError(t, err)
	require.NoError(t, p.close())
	_, err = open.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestProxyResetsWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	gone := echo(t)
	require.NoError(t, gone.Close())
	p, err := startProxy(t.Context(), "tcp", gone.Addr().String())
	require.NoError(t, err)
	defer func() { require.NoError(t, p.close()) }()
	require.True(t, refused(t, p.addr()))
}
