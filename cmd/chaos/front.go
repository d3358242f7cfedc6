package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// front is what stands before the replicas, as a load balancer does: it takes
// each request to the next replica that lives. It knows of no other health: one
// that is stopped keeps its requests waiting.
type front struct {
	server *http.Server
	url    string
	// living returns the addresses of the replicas that have opened and not ended.
	// It is set before the first request.
	living func() []string
	turn   atomic.Uint64
	served chan error
}

// startFront listens on a free port of loopback. Nobody lives yet.
func startFront(ctx context.Context) (*front, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen before the replicas: %w", err)
	}
	f := &front{url: "http://" + l.Addr().String(), living: func() []string { return nil }, served: make(chan error, 1)}
	f.server = &http.Server{Handler: f.proxy(), ReadHeaderTimeout: 10 * time.Second}
	go func() { f.served <- f.server.Serve(l) }()
	return f, nil
}

// proxy answers 502 when nobody lives, or when a replica dies over a request.
func (f *front) proxy() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite:      func(*httputil.ProxyRequest) {}, // the target is picked below
		Transport:    &http.Transport{MaxIdleConnsPerHost: 16},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		living := f.living()
		if len(living) == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		r.URL.Scheme, r.URL.Host = "http", living[f.turn.Add(1)%uint64(len(living))]
		forward.ServeHTTP(w, r)
	})
}

// close ends what runs.
func (f *front) close() error {
	err := f.server.Close()
	if served := <-f.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// hook is where Ably posts what was published.
func (f *front) hook() string {
	u, _ := url.JoinPath(f.url, "/v1/hooks/ably") // our own URL is one
	return u
}
