package ably

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is a running stand-in. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	wire    *wire
	keys    map[string]*appKey // by key name, appId.keyId
	signing []byte             // signs Ably tokens
	epoch   string             // tells the places of this server from others'
	tokens  presented

	base    string // public base URL
	addr    *net.TCPAddr
	http    *http.Server
	serving sync.WaitGroup
	stop    chan struct{}
	release func() bool // undoes the tie to Start's context
	hooks   []*hook
	unhook  context.CancelFunc // ends the webhooks

	teller sync.Mutex // held while Config.OnMessage is called; locked before mu

	mu             sync.Mutex // guards everything below
	closed         bool
	inflight       sync.WaitGroup // Add only under mu and while not closed
	rng            *rand.Rand
	ids            uint64
	serial         uint64
	faults         Faults
	injected       []Kind
	injectedFrames []Kind
	stats          Stats
	requests       window
	published      window // messages of the account
	messages       shelf[Message]
	deliveries     shelf[Delivery]
	hooked         uint64 // events of webhooks
	hookTwice      int
	untold         []Message // for Config.OnMessage
	pushes         pushWindow
	ledger         ledger
	nonces         map[string]time.Time
	devices        map[string]*device
	byClient       map[string]map[string]*device
	broken         map[string]int // transport → code of its failure
	subs           map[subscription]struct{}
	channels       map[string]*channel
	conns          map[string]*connection
	streams        map[*stream]struct{}
}

// appKey is a key with what follows from it.
type appKey struct {
	name, secret string
	caps         capability
}

// Start listens and serves until ctx ends, [Server.Close] or
// [Server.Shutdown]. It returns when the listener is ready. Errors are those
// of listening, [ErrNotLoopback] and [ErrFaults].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure ably stand-in: %w", err)
	}
	if cfg.Seed == 0 {
		var b [8]byte
		_, _ = crand.Read(b[:]) // never fails, by its contract
		cfg.Seed = binary.LittleEndian.Uint64(b[:]) | 1
	}
	s := &Server{
		cfg:        cfg,
		wire:       newWire(),
		keys:       map[string]*appKey{},
		stop:       make(chan struct{}),
		rng:        rand.New(rand.NewPCG(cfg.Seed, 0x0ab1)),
		faults:     cfg.Faults,
		stats:      Stats{Outcomes: map[string]uint64{}, Faults: map[Kind]uint64{}, LogEvents: map[int]uint64{}},
		ledger:     newLedger(cfg.MaxRecords),
		messages:   shelf[Message]{max: cfg.MaxMessages},
		deliveries: shelf[Delivery]{max: 256},
		nonces:     map[string]time.Time{},
		devices:    map[string]*device{},
		byClient:   map[string]map[string]*device{},
		broken:     map[string]int{},
		subs:       map[subscription]struct{}{},
		channels:   map[string]*channel{},
		conns:      map[string]*connection{},
		streams:    map[*stream]struct{}{},
		epoch:      fmt.Sprintf("%013d", time.Now().UnixMilli()),
		tokens:     presented{until: map[tokenHash]time.Time{}, expired: map[tokenHash]time.Time{}},
	}
	s.signing = s.derive("token")
	for _, k := range cfg.Keys {
		name := cfg.AppID + "." + k.ID
		secret := k.Secret
		if secret == "" {
			secret = base64.RawURLEncoding.EncodeToString(s.derive("key " + k.ID))
		}
		s.keys[name] = &appKey{name: name, secret: secret, caps: k.Capability}
	}
	s.hooks = newHooks(s)
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	hooksCtx, unhook := context.WithCancel(context.WithoutCancel(ctx))
	s.unhook = unhook
	for _, h := range s.hooks {
		s.serving.Go(func() { h.run(hooksCtx) })
	}
	s.serving.Go(s.sweep)
	s.release = context.AfterFunc(ctx, func() { _ = s.close() })
	return s, nil
}

// derive makes a secret that follows from app and seed.
func (s *Server) derive(what string) []byte {
	sum := sha256.Sum256([]byte(s.cfg.AppID + "\n" + strconv.FormatUint(s.cfg.Seed, 10) + "\n" + what))
	return sum[:]
}

// listen opens the listener and starts to serve it.
func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.addr, _ = l.Addr().(*net.TCPAddr)
	s.base = strings.TrimSuffix(s.cfg.PublicURL, "/")
	if s.base == "" {
		s.base = "http://" + l.Addr().String()
	}
	errorLog := s.cfg.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      s.cfg.HangLimit + time.Minute,
		IdleTimeout:       4 * time.Minute,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          errorLog,
	}
	s.serving.Go(func() { _ = s.http.Serve(l) }) // always http.ErrServerClosed or a closed listener
	return nil
}

// Handler returns the service without its listener, for tests that bring their
// own server. Answers that break the connection, and realtime, need a real one.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			panic(http.ErrAbortHandler)
		}
		defer s.inflight.Done()
		s.route(w, r)
	})
}

// begin counts one more thing in flight, unless the server is closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inflight.Add(1)
	return true
}

// URL returns the base URL of REST, such as "http://127.0.0.1:17084".
func (s *Server) URL() string { return s.base }

// Host returns the host name to give to ably.WithEndpoint. A name without a dot
// would be taken there for a region of the real service.
func (s *Server) Host() string {
	u, err := url.Parse(s.base)
	if err != nil { // the base was parsed before
		return ""
	}
	return u.Hostname()
}

// Port returns the port to give to ably.WithPort.
func (s *Server) Port() int {
	if u, err := url.Parse(s.base); err == nil {
		if n, err := strconv.Atoi(u.Port()); err == nil {
			return n
		}
	}
	return s.addr.Port
}

// Key returns the first key in full, as "appId.keyId:secret".
func (s *Server) Key() string { return s.KeyOf(s.cfg.Keys[0].ID) }

// KeyOf returns the key with the given id in full, and an empty string if
// there is none.
func (s *Server) KeyOf(id string) string {
	k, ok := s.keys[s.cfg.AppID+"."+id]
	if !ok {
		return ""
	}
	return k.name + ":" + k.secret
}

// AppID returns the id of the app served.
func (s *Server) AppID() string { return s.cfg.AppID }

// Seed returns the seed in use, which reproduces secrets, ids and faults.
func (s *Server) Seed() uint64 { return s.cfg.Seed }

// Close stops at once: the listener, connections, WebSockets and hanging
// requests are cut. It returns when everything that was started has ended, so
// a test that ends with Close leaves nothing behind. It may be called again,
// and should be called even if Start's context has ended.
func (s *Server) Close() error {
	s.release()
	err := s.close()
	s.serving.Wait()
	s.inflight.Wait()
	return err
}

// close cuts everything and waits for nothing.
func (s *Server) close() error {
	s.stopHanging()
	s.mu.Lock()
	s.closed = true
	s.cutAll()
	for _, c := range s.conns {
		if c.t != nil {
			c.t.kill()
		}
	}
	s.mu.Unlock()
	return s.http.Close()
}

// Shutdown stops listening, ends hanging requests, webhooks and realtime connections,
// lets other requests finish, and cuts what is left when ctx ends. Events that
// wait for [Config.FeedbackDelay] are dropped.
func (s *Server) Shutdown(ctx context.Context) error {
	s.release()
	s.stopHanging()
	err := s.http.Shutdown(ctx)
	return errors.Join(err, s.Close())
}

// stopHanging releases what waits on purpose; it may be called more than once.
func (s *Server) stopHanging() {
	s.unhook()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}

// newID returns a random text of n bytes in base 64, from the seed. s.mu must
// be held.
func (s *Server) newID(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// sweep forgets what has expired, every second.
func (s *Server) sweep() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		now := s.cfg.Now()
		s.tokens.sweep(now)
		s.mu.Lock()
		for nonce, at := range s.nonces {
			if now.Sub(at) > 2*tokenSkew {
				delete(s.nonces, nonce)
			}
		}
		s.sweepConnections(now)
		for _, ch := range s.channels {
			ch.prune(now, s.cfg)
		}
		s.mu.Unlock()
	}
}
