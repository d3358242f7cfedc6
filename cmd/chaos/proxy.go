package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// proxy stands between the replicas and the database, so that their connections
// can be cut without touching anybody else's.
type proxy struct {
	listener net.Listener
	network  string
	target   string
	serving  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	refusing bool
	links    map[*link]struct{}
}

// link is one connection through the proxy: the client's side and the database's.
type link struct{ client, server net.Conn }

// startProxy listens on a free port of loopback and forwards to the target.
func startProxy(ctx context.Context, network, target string) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for proxy: %w", err)
	}
	p := &proxy{listener: l, network: network, target: target, links: map[*link]struct{}{}}
	p.serving.Go(func() { p.accept(ctx) })
	return p, nil
}

// addr is where the proxy listens.
func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.mu.Lock()
		refusing := p.refusing || p.closed
		p.mu.Unlock()
		if refusing {
			reset(client)
			continue
		}
		p.serving.Go(func() { p.serve(ctx, client) })
	}
}

func (p *proxy) serve(ctx context.Context, client net.Conn) {
	server, err := new(net.Dialer).DialContext(ctx, p.network, p.target)
	if err != nil {
		reset(client) // as the database's own machine would
		return
	}
	l := &link{client, server}
	p.mu.Lock()
	if p.refusing || p.closed {
		p.mu.Unlock()
		l.cut()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	copyAndClose := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			l.cut()
			return
		}
		// An orderly end is passed on as one.
		_ = from.Close()
		_ = to.Close()
	}
	both.Go(func() { copyAndClose(server, client) })
	both.Go(func() { copyAndClose(client, server) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// refuse cuts every connection and resets new ones until allow.
func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	for l := range p.links {
		l.cut()
	}
}

// allow takes new connections again.
func (p *proxy) allow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = false
}

// close cuts everything and waits for what was started.
func (p *proxy) close() error {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.serving.Wait()
	if err != nil {
		return fmt.Errorf("close proxy: %w", err)
	}
	return nil
}

func (l *link) cut() {
	reset(l.client)
	reset(l.server)
}

// reset closes a connection without an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the other side sees an orderly end
	}
	_ = c.Close()
}
