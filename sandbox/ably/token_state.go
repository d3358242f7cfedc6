package ably

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// tokenHash stands for a token, which is kept nowhere.
type tokenHash [sha256.Size]byte

// presented remembers which tokens were presented, until they expire, and which
// of them count as expired before their time.
type presented struct {
	mu      sync.Mutex
	until   map[tokenHash]time.Time
	expired map[tokenHash]time.Time
}

// see notes a token and reports whether it counts as expired.
func (p *presented) see(h tokenHash, expires time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, gone := p.expired[h]; gone {
		return true
	}
	p.until[h] = expires
	return false
}

// expire makes everything seen so far count as expired.
func (p *presented) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.expired, p.until)
	clear(p.until)
}

// sweep forgets what has expired by itself.
func (p *presented) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range []map[tokenHash]time.Time{p.until, p.expired} {
		for h, until := range m {
			if now.After(until) {
				delete(m, h)
			}
		}
	}
}

// ExpireTokens makes every token and JWT that was presented so far count as
// expired: requests with it are answered 40142, realtime connections are
// disconnected and streams ended with the same code. Clients have to get a new
// token; one that an app hands out again from a cache is refused.
func (s *Server) ExpireTokens() {
	s.tokens.expire()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.who.token && c.t != nil {
			c.t.finish(frame{Action: actionDisconnected, Error: fail(codeTokenExpired, "token expired")})
		}
	}
	for st := range s.streams {
		if st.who.token {
			st.fail(fail(codeTokenExpired, "token expired"))
		}
	}
}
