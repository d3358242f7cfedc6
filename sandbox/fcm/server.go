package fcm

import (
	"context"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers may branch on.
var (
	// ErrNotLoopback refuses a listen address other machines could reach.
	ErrNotLoopback = errors.New("not a loopback address")
	// ErrFaults refuses [Faults] that contradict themselves.
	ErrFaults = errors.New("impossible fault")
)

// Server is a running stand-in. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	rules   *rules
	keys    *targetKeys
	account *account
	tls     *tls.Config
	pool    *x509.CertPool
	serial  atomic.Uint64
	ids     atomic.Uint64

	base    string // public base URL of the clear-text listener
	tlsBase string
	servers []*http.Server
	serving sync.WaitGroup
	stop    chan struct{}
	release func() bool // undoes the tie to Start's context

	mu       sync.Mutex // guards everything below
	closed   bool
	inflight sync.WaitGroup // Add only under mu and while not closed
	faults   Faults
	injected []FaultRule
	stats    Stats
	quota    window
	perMin   deviceWindow
	ledger   ledger
	devices  map[string]*device
	topics   map[string]map[string]struct{}
}

// Start listens and serves until ctx ends, [Server.Close] or
// [Server.Shutdown]. It returns when the listeners are ready. Errors are those
// of listening, [ErrNotLoopback] and [ErrFaults].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure fcm stand-in: %w", err)
	}
	if cfg.Seed == 0 {
		var b [8]byte
		_, _ = crand.Read(b[:]) // never fails, by its contract
		cfg.Seed = binary.LittleEndian.Uint64(b[:]) | 1
	}
	if cfg.PrivateKey == nil {
		key, err := rsa.GenerateKey(crand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("generate service account key: %w", err)
		}
		cfg.PrivateKey = key
	}
	cfg.Faults.Rules = slices.Clone(cfg.Faults.Rules)
	s := &Server{
		cfg:     cfg,
		rules:   newRules(),
		keys:    newTargetKeys(cfg.ProjectID, cfg.Seed),
		stop:    make(chan struct{}),
		faults:  cfg.Faults,
		stats:   Stats{Outcomes: map[string]uint64{}, Faults: map[Kind]uint64{}},
		ledger:  newLedger(cfg.MaxRecords),
		devices: map[string]*device{},
		topics:  map[string]map[string]struct{}{},
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	s.release = context.AfterFunc(ctx, func() { _ = s.close() })
	return s, nil
}

// listen opens the listeners and starts to serve them.
func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	plain, err := lc.Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.base = strings.TrimSuffix(s.cfg.PublicURL, "/")
	if s.base == "" {
		s.base = "http://" + plain.Addr().String()
	}
	s.account = newAccount(s.cfg, s.base+"/token")
	var secure net.Listener
	if s.cfg.TLSAddr != "" {
		if secure, err = lc.Listen(ctx, "tcp", s.cfg.TLSAddr); err != nil {
			return errors.Join(fmt.Errorf("listen for tls: %w", err), plain.Close())
		}
		s.tlsBase = "https://" + secure.Addr().String()
		if s.tls, s.pool, err = selfSigned(secure.Addr()); err != nil {
			return errors.Join(err, plain.Close(), secure.Close())
		}
	}

	var open http.Protocols
	open.SetHTTP1(true)
	open.SetUnencryptedHTTP2(true)
	srv := s.newHTTPServer(&open)
	s.servers = append(s.servers, srv)
	s.serving.Go(func() { _ = srv.Serve(plain) }) // always http.ErrServerClosed or a closed listener
	if secure != nil {
		var closed http.Protocols
		closed.SetHTTP1(true)
		closed.SetHTTP2(true)
		srv := s.newHTTPServer(&closed)
		srv.TLSConfig = s.tls
		s.servers = append(s.servers, srv)
		s.serving.Go(func() { _ = srv.ServeTLS(secure, "", "") })
	}
	return nil
}

func (s *Server) newHTTPServer(p *http.Protocols) *http.Server {
	errorLog := s.cfg.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	return &http.Server{
		Handler:           s.Handler(),
		Protocols:         p,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: MaxConcurrentStreams},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      s.cfg.HangLimit + time.Minute,
		IdleTimeout:       4 * time.Minute,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          errorLog,
	}
}

// Handler returns the service without its listeners, for tests that bring
// their own server. Answers that break the connection need a real one.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.inflight.Add(1)
		s.mu.Unlock()
		defer s.inflight.Done()
		s.route(w, r)
	})
}

// route picks the handler. It does so by hand because the paths hold colons
// and because http.ServeMux would redirect where the service answers 404.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v1/projects/"); ok {
		project, ok := strings.CutSuffix(rest, "/messages:send")
		if ok && project != "" && !strings.Contains(project, "/") && r.Method == http.MethodPost {
			s.serveSend(w, r, project)
			return
		}
	}
	switch {
	case path == "/token" && r.Method == http.MethodPost:
		s.serveToken(w, r)
	case path == "/iid/v1:batchAdd" && r.Method == http.MethodPost:
		s.serveTopics(w, r, true)
	case path == "/iid/v1:batchRemove" && r.Method == http.MethodPost:
		s.serveTopics(w, r, false)
	default:
		// The page also stands where /batch was until 2024.
		s.mu.Lock()
		s.stats.OtherRequests++
		s.mu.Unlock()
		_ = htmlAnswer("not_found", http.StatusNotFound).write(w, r) // the client may be gone
	}
}

// URL returns the base to give to option.WithEndpoint, such as
// "http://127.0.0.1:17083/v1".
func (s *Server) URL() string { return s.base + "/v1" }

// TLSURL returns the base of the TLS listener, empty if there is none.
func (s *Server) TLSURL() string {
	if s.tlsBase == "" {
		return ""
	}
	return s.tlsBase + "/v1"
}

// CertPool returns a pool that trusts the TLS listener's certificate, nil if
// there is none.
func (s *Server) CertPool() *x509.CertPool { return s.pool }

// TopicsURL returns the base of the topic management service, to which a
// client has to be led by its transport: the SDK hard-codes the address.
func (s *Server) TopicsURL() string { return s.base + "/iid/v1" }

// ProjectID returns the id of the project served.
func (s *Server) ProjectID() string { return s.cfg.ProjectID }

// Seed returns the seed in use, which reproduces targets and faults.
func (s *Server) Seed() uint64 { return s.cfg.Seed }

// Close stops at once: listeners, connections and hanging requests are cut.
// It returns when the listeners' goroutines and every request have ended, so a
// test that ends with Close leaves nothing behind. It may be called again, and
// should be called even if Start's context has ended.
func (s *Server) Close() error {
	s.release()
	err := s.close()
	s.serving.Wait()
	s.inflight.Wait()
	return err
}

// close cuts everything and waits for nothing.
func (s *Server) close() error {
	s.markClosed()
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Close())
	}
	return errors.Join(errs...)
}

// Shutdown stops listening, ends hanging requests, lets the others finish, and
// cuts what is left when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.release()
	s.stopHanging()
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Shutdown(ctx))
	}
	return errors.Join(errors.Join(errs...), s.Close())
}

func (s *Server) markClosed() {
	s.stopHanging()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// stopHanging releases the requests that hang on purpose; it may be called
// more than once.
func (s *Server) stopHanging() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}
