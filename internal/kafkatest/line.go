package kafkatest

import (
	"context"
	"io"
	"net"
	"sync"
)

// Line is what a client's connections run over. Muted, it brings requests to the
// broker and no answers back, until it is cut; then it is as good as new.
// The zero value is a line that works.
type Line struct {
	mu    sync.Mutex
	muted chan struct{} // nil when it is not; closed when it is cut
}

// Dial is what a client is made with (kgo.Dialer).
func (l *Line) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &lineConn{Conn: conn, line: l}, err
}

// Mute keeps answers back from now on.
func (l *Line) Mute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = make(chan struct{})
}

// Cut ends the connections that wait for an answer. The line must be muted.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.muted)
	l.muted = nil
}

func (l *Line) state() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.muted
}

type lineConn struct {
	net.Conn
	line *Line
}

func (c *lineConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if cut := c.line.state(); cut != nil {
		<-cut
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
