package api

import (
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/httprate"
)

// The default limits, in requests a minute. They are kept by each process for
// itself, so that n replicas let n times as much pass.
const (
	// DefaultUserLimit is two requests a second for a minute: an app that starts
	// makes four.
	DefaultUserLimit = 120
	// DefaultIPLimit is generous, because a mobile carrier puts thousands of
	// phones behind one address (RFC 6269, section 5).
	DefaultIPLimit = 3000
)

// limitWindow is what limits count over. A window slides: the share of the last
// one that is still within a minute counts.
const limitWindow = time.Minute

// limiter counts requests by a key, in memory: two numbers for each key of the
// last two minutes.
type limiter struct {
	counter *httprate.RateLimiter
	wait    string // for Retry-After
}

// newLimiter returns nil, which lets everything pass, for a negative limit.
func newLimiter(limit, usual int) *limiter {
	if limit < 0 {
		return nil
	}
	if limit == 0 {
		limit = usual
	}
	// What has filled a window weighs in full until it ends, and then less and
	// less: a place is free for sure after the rest of the window and one
	// request's share of the next. (httprate's own header is a window, too short.)
	wait := limitWindow + limitWindow/time.Duration(limit)
	return &limiter{
		counter: httprate.NewRateLimiter(limit, limitWindow, httprate.WithResponseHeaders(httprate.ResponseHeaders{})),
		wait:    strconv.Itoa(int(math.Ceil(wait.Seconds()))),
	}
}

// refuses counts a request, or tells that there is no place for it and how long
// to wait. A refused request is not counted: who keeps asking is let in again.
func (l *limiter) refuses(w http.ResponseWriter, r *http.Request, key string) bool {
	if l == nil || !l.counter.OnLimit(w, r, key) {
		return false
	}
	w.Header().Set("Retry-After", l.wait)
	return true
}

// limitIP refuses an address that asks too much, before anything is looked at.
// Probes pass: a load balancer asks from few addresses, and its answer must not
// depend on other people's requests.
func limitIP(limit *limiter, proxies []netip.Prefix) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isProbe(r.URL.Path) && limit.refuses(w, r, httprate.CanonicalizeIP(clientIP(r, proxies))) {
				writeProblem(w, newProblem(r.Context(), http.StatusTooManyRequests, "too many requests from this address; see the Retry-After header"))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// limitUser refuses a user who asks too much, whatever the number of addresses.
func (s *server) limitUser(hctx huma.Context, next func(huma.Context)) {
	if isAnonymous(hctx.Operation()) {
		next(hctx)
		return
	}
	r, w := humachi.Unwrap(hctx)
	if s.userLimit.refuses(w, r, string(userOf(hctx.Context()))) {
		writeProblem(w, newProblem(hctx.Context(), http.StatusTooManyRequests, "too many requests of this user; see the Retry-After header"))
		return
	}
	next(hctx)
}

// clientIP is the address that a request came from. X-Forwarded-For counts only
// when a trusted proxy handed the request over, and only as far as trusted
// proxies wrote it: anybody can send the header, and its left part is theirs.
func clientIP(r *http.Request, proxies []netip.Prefix) string {
	addr, ok := parseHost(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr // a Unix socket: one client for all that the limits know
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !trusted(addr, proxies) {
			break
		}
		before, ok := parseHost(strings.TrimSpace(hop))
		if !ok {
			break // nonsense: whoever handed it over is all we know
		}
		addr = before
	}
	return addr.String()
}

func trusted(addr netip.Addr, proxies []netip.Prefix) bool {
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseHost reads an address with or without a port.
func parseHost(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
