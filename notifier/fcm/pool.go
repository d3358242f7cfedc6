package fcm

import (
	"context"
	"net"
	"net/http"
	"time"
)

// streamsPerTransport is how many requests one HTTP/2 transport has in flight
// at most. FCM is reported to allow 100 streams per connection and to close a
// connection that goes over (firebase-admin-node issue 2943); the rest is room
// for streams that were given up here but not yet there.
const streamsPerTransport = 90

// dialsPerTransport is how many connections one HTTP/2 transport may be opening
// or keep. Without a limit every request that finds no connection dials its
// own: 90 at a cold start, and again at each GOAWAY. Two, so that one dial that
// hangs does not hold up the rest.
const dialsPerTransport = 2

// pool bounds the requests in flight and spreads them over transports.
type pool struct {
	// slots holds one entry per request that may be in flight, the transports
	// in turn: taking from the front and returning to the back is a round
	// robin and a semaphore per transport at once.
	slots      chan *http.Transport
	transports []*http.Transport
}

// newPool makes a pool for a base address. cfg has its defaults.
func newPool(cfg Config, https bool) *pool {
	n := 1
	if https {
		n = (cfg.MaxInFlight + streamsPerTransport - 1) / streamsPerTransport
	}
	p := &pool{slots: make(chan *http.Transport, cfg.MaxInFlight)}
	for range n {
		t := newTransport(cfg)
		if https {
			t.ForceAttemptHTTP2 = true
			t.MaxConnsPerHost = dialsPerTransport
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second}
		} else {
			t.MaxIdleConns = cfg.MaxInFlight
			t.MaxIdleConnsPerHost = cfg.MaxInFlight
		}
		p.transports = append(p.transports, t)
	}
	for i := range cfg.MaxInFlight {
		p.slots <- p.transports[i%n]
	}
	return p
}

// newTransport makes a transport with what both kinds of address, and the
// token server, have in common.
func newTransport(cfg Config) *http.Transport {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: cfg.DialTimeout,
		IdleConnTimeout:     90 * time.Second,
	}
	if cfg.TLS != nil {
		t.TLSClientConfig = cfg.TLS.Clone()
	}
	return t
}

// acquire waits for a slot until ctx ends.
func (p *pool) acquire(ctx context.Context) (*http.Transport, error) {
	select {
	case t := <-p.slots:
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives a slot back.
func (p *pool) release(t *http.Transport) { p.slots <- t }

// close closes idle connections.
func (p *pool) close() {
	for _, t := range p.transports {
		t.CloseIdleConnections()
	}
}
