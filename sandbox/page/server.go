package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Server serves the page. Close it.
type Server struct {
	cfg     Config
	parlour *parlour
	policy  string
	files   map[string]file
	addr    string
	http    *http.Server
	serving sync.WaitGroup
	stop    chan struct{} // closed by Close
	once    sync.Once
}

// Start listens and serves until Close. Errors are those of listening, an
// address that is not loopback, and what is wrong with the document.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1:0")
	cfg.Guests = cmp.Or(cfg.Guests, 24)
	cfg.Away = cmp.Or(cfg.Away, 2*time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &cfg.Document
	d.Odds = cmp.Or(d.Odds, "outbound:odds:")
	d.Bets = cmp.Or(d.Bets, "inbound:betting:cars:")
	d.Currency = cmp.Or(d.Currency, "EUR")
	if err := d.check(); err != nil {
		return nil, err
	}
	if at, err := netip.ParseAddrPort(cfg.Addr); err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("the betting page listens on a loopback address such as 127.0.0.1:17085, not on %q", cfg.Addr)
	}
	files, err := readFiles()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, parlour: newParlour(cfg), policy: policy(*d), files: files, stop: make(chan struct{})}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the betting page: %w", err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	s.serving.Go(func() { _ = s.http.Serve(l) }) // always http.ErrServerClosed or a closed listener
	return s, nil
}

// URL returns the page's address, "http://127.0.0.1:17085".
func (s *Server) URL() string { return "http://" + s.addr }

// Origins returns the origins that the page may have come from in a browser, for
// cors.allowed_origins of the service.
func (s *Server) Origins() []string { return Origins(s.addr) }

// Origins returns the origins of a page that listens on an address.
func Origins(addr string) []string {
	_, port, _ := net.SplitHostPort(addr)
	return []string{"http://" + addr, "http://localhost:" + port}
}

// Close ends all streams, stops listening and waits for what was started. It may
// be called again.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.stop) })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) //nolint:forbidigo // the end has a time of its own, whatever has ended before
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // somebody reads slowly
	}
	s.serving.Wait()
	return err
}

// Show tells how a race stands, also for the first time.
func (s *Server) Show(r Race) {
	s.parlour.race(r.ID, func(known *Race) {
		winner := known.Winner
		*known = r
		known.Winner = cmp.Or(r.Winner, winner)
	})
}

// Result tells who has won a race, or that this has changed; with nobody, the
// race does not count.
func (s *Server) Result(id, winner string) {
	s.parlour.race(id, func(r *Race) { r.Winner = winner })
}

// Forget removes a race that is over.
func (s *Server) Forget(id string) { s.parlour.forget(id) }

// Push puts what was accepted for an address onto the guest's phone. It reports
// whether the address is a guest's, or was one's who has lost the place.
func (s *Server) Push(target string, p Push) bool { return s.parlour.push(target, p) }

// policy is what the page may do: its own files, and requests to where the
// document says. The addresses have been checked.
func policy(d Document) string {
	connect := []string{"'self'"}
	for _, base := range []string{d.API, d.Ably} {
		if origin, err := originOf(base); err == nil {
			connect = append(connect, origin)
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src " + strings.Join(connect, " ") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

// handler returns all there is, behind what keeps others out.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.file("index.html"))
	for name := range s.files {
		mux.HandleFunc("GET /"+name, s.file(name))
	}
	mux.HandleFunc("GET /config.json", s.document)
	if s.cfg.Host != nil {
		mux.HandleFunc("POST /guest", s.guest)
		mux.HandleFunc("GET /live", s.live)
	}
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A name that somebody has pointed at this machine is no name of ours.
		if !local(r.Host) {
			http.Error(w, "this is not where the betting page is", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", s.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // tokens, and files of a program that is started anew all the time
		guarded.ServeHTTP(w, r)
	})
}

// local reports whether a Host header names this machine.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// document answers /config.json.
func (s *Server) document(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Document
		// Guests says that the page gets a user from POST /guest, and the races and a
		// phone from GET /live.
		Guests bool `json:"guests"`
	}{s.cfg.Document, s.cfg.Host != nil})
}

// guest answers POST /guest: {"key":"…"} is known again, everybody else is new.
func (s *Server) guest(w http.ResponseWriter, r *http.Request) {
	var asks struct {
		Key string `json:"key"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1024)).Decode(&asks); err != nil {
		writeJSON(w, http.StatusBadRequest, complaint{"The request was not understood."})
		return
	}
	v, err := s.parlour.enter(asks.Key)
	switch {
	case errors.Is(err, errFull):
		writeJSON(w, http.StatusServiceUnavailable, complaint{fmt.Sprintf("The sandbox has room for %d guests, and all of them are here. Close the page in another tab, and try again in a few minutes.", s.cfg.Guests)})
	case err != nil:
		writeJSON(w, http.StatusInternalServerError, complaint{"The sandbox cannot welcome another guest."})
	default:
		writeJSON(w, http.StatusOK, struct {
			Guest
			Key string `json:"key"`
		}{v.Guest, v.key})
	}
}

// complaint is an answer that the page shows.
type complaint struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the browser may be gone
}
