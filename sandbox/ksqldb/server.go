package ksqldb

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a Server. The zero value is a server on a free loopback
// port with no views, no authentication, no TLS and no faults.
type Config struct {
	// Addr is where to listen; the host must be a loopback address. Empty means
	// 127.0.0.1:0, any free port.
	Addr string
	// Views are the sources the server knows. Names must be different.
	Views []View
	// Username and Password turn on HTTP Basic authentication if Username is not
	// empty.
	Username, Password string
	// TLS makes the server speak https (HTTP/1.1 and HTTP/2 by ALPN). It must
	// carry a certificate. Nil means cleartext: HTTP/1.1, and HTTP/2 with prior
	// knowledge.
	TLS *tls.Config
	// Seed makes row order and faults repeatable for the same sequence of
	// queries. Zero is a seed like any other.
	Seed uint64
	// Faults are the faults to start with; see Server.SetFaults.
	Faults Faults
	// DDL makes the server take CREATE STREAM and CREATE TABLE (with AS SELECT
	// too), DROP, INSERT ... VALUES and TERMINATE on /ksql. It checks them as the
	// real server does, as far as Define knows how, and remembers the sources.
	// What their queries would compute is beyond it, so they stay empty, but for
	// streams, which have what is inserted, and tables of the LATEST_BY_OFFSET of
	// such a stream by a column, which is what ksql-migrations keeps its books in.
	// Without DDL such statements are refused: the views are computed in Go.
	DDL bool
	// Topics are the Kafka topics that exist beforehand, with their partitions.
	Topics map[string]int
	// QueuedPolls makes statements answer QUEUED, as a server does whose command
	// topic is slow; /status says how they ended after so many looks at it, and
	// only then there is what they made. Of several statements in one request all
	// but the last end at once, since the server waits for each before the next.
	// Zero means at once.
	QueuedPolls int
	// FailCommand, if set, is asked about each statement that was accepted; true
	// makes it end in the state ERROR, with nothing made.
	FailCommand func(sql string) bool
	// TableLag is how much later than it was inserted a row shows in tables, as
	// happens where a query is behind its stream.
	TableLag time.Duration
	// Now is the server's clock, used by UNIX_TIMESTAMP() and in query ids. Nil
	// means time.Now.
	Now func() time.Time
	// OnQuery, if set, is called with the SQL of every query that reached the
	// parser, from many goroutines at once.
	OnQuery func(sql string)
}

// Server is a running stand-in. It is safe for concurrent use.
type Server struct {
	cfg     Config
	known   atomic.Pointer[catalogue]
	url     string
	http    *http.Server
	handler http.Handler
	stats   counters
	faults  atomic.Pointer[Faults]
	sick    atomic.Bool

	mu       sync.Mutex // guards the fields up to the next blank line, and handlers.Add
	closed   bool
	rand     *rand.Rand
	commands map[string]*command
	sequence int64

	close    func()
	served   chan struct{} // closed when the accept loop has returned
	handlers sync.WaitGroup
}

// Start listens and serves until Close is called or ctx ends. It returns an
// error if the address is not loopback or not free, if a view is not valid, or
// if TLS has no certificate.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	addr := cmp.Or(cfg.Addr, "127.0.0.1:0")
	if err := checkLoopback(addr); err != nil {
		return nil, err
	}
	if cfg.TLS != nil && len(cfg.TLS.Certificates) == 0 && cfg.TLS.GetCertificate == nil {
		return nil, errors.New("start ksqldb stand-in: TLS without a certificate")
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for ksqldb stand-in: %w", err)
	}
	scheme := "http://"
	if cfg.TLS != nil {
		scheme = "https://"
	}
	s.url = scheme + ln.Addr().String()
	s.serve(ctx, ln)
	return s, nil
}

func newServer(cfg Config) (*Server, error) {
	s := &Server{
		cfg:      cfg,
		rand:     rand.New(rand.NewPCG(cfg.Seed, 0x6b73716c)),
		commands: make(map[string]*command),
		served:   make(chan struct{}),
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	sources, err := buildSources(cfg.Views)
	if err != nil {
		return nil, err
	}
	s.known.Store(newCatalogue(sources, cfg.Topics))
	s.SetFaults(cfg.Faults)
	s.handler = s.routes()
	s.close = sync.OnceFunc(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		if s.http != nil {
			_ = s.http.Close() // closing connections is the purpose; there is nobody to tell
		}
	})
	return s, nil
}

// serve starts the accept loop; Close waits for it.
func (s *Server) serve(ctx context.Context, ln net.Listener) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.cfg.TLS == nil)
	s.http = &http.Server{
		Handler:           s.handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	if s.cfg.TLS != nil {
		s.http.TLSConfig = s.cfg.TLS.Clone()
	}
	stop := context.AfterFunc(ctx, s.close)
	go func() {
		defer close(s.served)
		defer stop()
		if s.cfg.TLS != nil {
			_ = s.http.ServeTLS(ln, "", "") // always http.ErrServerClosed, or a listener that is gone
			return
		}
		_ = s.http.Serve(ln)
	}()
}

// URL returns the base URL, such as http://127.0.0.1:41234, without a slash at
// the end.
func (s *Server) URL() string { return s.url }

// Close closes the listener and all connections at once, as a killed node
// would, and waits until every handler has returned. It may be called again.
func (s *Server) Close() {
	s.close()
	<-s.served
	s.handlers.Wait()
}

// SetFaults replaces the faults for all queries that start from now on.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

// SetHealthy sets what /healthcheck reports. A server starts healthy. The
// status of /healthcheck is 200 either way, as on the real server.
func (s *Server) SetHealthy(healthy bool) { s.sick.Store(!healthy) }

// Stats returns what happened since Start.
func (s *Server) Stats() Stats { return s.stats.snapshot() }

// enter registers one handler, which Close then waits for. It reports false if
// the server is closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// draw decides the fate of one query. The dice it returns are the query's own,
// so that no query waits for another's rows to be shuffled.
func (s *Server) draw() (fate, *rand.Rand) {
	f := *s.faults.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	dice := rand.New(rand.NewPCG(s.rand.Uint64(), s.rand.Uint64()))
	return f.draw(s.rand), dice
}

// checkLoopback refuses an address that other machines could reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("parse address of ksqldb stand-in: %w", err)
	}
	if strings.EqualFold(host, "localhost") {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("start ksqldb stand-in: %q is not a loopback address", host)
	}
	return nil
}
