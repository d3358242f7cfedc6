package notifier

import (
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// slowShare and slowLeast are how much of a second's answers must say "too fast"
	// before that is about us: a single device over its own limit says so as well.
	slowShare = 0.1
	slowLeast = 3
	// grantLapse is how long a grant is good for, and a token that was given back: tokens
	// that pile up somewhere would all be spent at once some day.
	grantLapse = 2 * time.Second
	// grantAgain is how long a replica waits when it has got nothing.
	grantAgain = 20 * time.Millisecond
	// grantRetry is how long it waits when the quota could not be reached.
	grantRetry = 500 * time.Millisecond
	// grantQuick is how soon a grant must be used up for the next to be larger than what is due.
	grantQuick = 500 * time.Millisecond
)

// Pacer keeps the sends of this replica below its part of a provider's quota.
// It spends the tokens that it was granted, spread over the time that they are
// for, and says when it is worth asking for more: whoever calls Next carries
// the Ask to the quota and brings back the Grant, or calls Failed. Without a
// grant nothing is sent.
type Pacer struct {
	full float64

	mu      sync.Mutex
	limiter *rate.Limiter // spreads the tokens
	left    int           // of the grant; below 0 is a debt
	from    time.Time     // when it begins
	until   time.Time     // when it lapses
	unused  int           // taken and given back
	keep    time.Time     // until when those are kept

	want      int // what is due and has no token
	asking    bool
	again     time.Time // when it is worth asking again
	size      int       // of the last grant
	grantedAt time.Time

	second    time.Time // when the present second of answers began
	answers   int
	throttled int
	slow      bool // to be told
	after     time.Duration
	slowed    bool // told in this second
	paused    time.Time
}

// NewPacer returns a Pacer for a full rate in messages a second, which must be above 0.
func NewPacer(perSecond float64) *Pacer {
	return &Pacer{full: perSecond, limiter: rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))}
}

// burst is what may start at once: a fifth of a second's worth, so that the
// sends of a minute are spread inside it.
func burst(perSecond float64) int { return max(1, int(perSecond/5)) }

// Available returns how many sends may start now.
func (p *Pacer) Available(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse(now)
	n := 0
	if !now.Before(p.from) {
		n = max(0, min(p.left, int(p.limiter.TokensAt(now))))
	}
	return min(n+p.unused, p.limiter.Burst())
}

// Take counts n sends, which Available has allowed. The lanes ask and take in
// their own time: what they take twice is a debt of the next grant.
func (p *Pacer) Take(now time.Time, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := min(n, p.unused)
	p.unused -= again
	p.left -= n - again
	p.limiter.ReserveN(now, min(n-again, p.limiter.Burst()))
}

// Give takes back a send that Take has counted and that was not made: what the
// gates stop costs the provider nothing.
func (p *Pacer) Give(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unused, p.keep = min(p.unused+1, p.limiter.Burst()), now.Add(grantLapse)
}

// Wait returns how long until at least one send may start, or until it is worth
// asking for a grant.
func (p *Pacer) Wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse(now)
	switch {
	case p.unused > 0:
		return 0
	case p.left <= 0 && p.asking:
		return laneLook // and the answer wakes the lanes
	case p.left <= 0:
		return max(0, p.again.Sub(now))
	}
	missing := max(0, 1-p.limiter.TokensAt(now))
	return max(p.from.Sub(now), time.Duration(missing/float64(p.limiter.Limit())*float64(time.Second)))
}

// Dry tells whether sends need another grant, and one may be asked for now.
func (p *Pacer) Dry(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse(now)
	return p.left <= 0 && p.unused == 0 && !p.asking && !now.Before(p.again)
}

// Want notes that so many deliveries are due that have no token. Together they
// make the size of the next Ask.
func (p *Pacer) Want(due int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want += due
}

// Most is the most that a grant can be good for.
func (p *Pacer) Most() int { return int(p.full*(grantAhead+grantCredit).Seconds()/2) + 1 }

// Next returns what is to be asked of the quota now, if anything.
func (p *Pacer) Next(now time.Time) (Ask, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse(now)
	a := Ask{Rate: p.full, Slow: p.slow, After: p.after}
	if p.left <= 0 && p.unused == 0 && !now.Before(p.again) {
		a.Want = p.want
		// A steady trickle would ask for every single delivery. It asks for twice as much as
		// lasted less than half a second, so that no more than that is ever left over.
		if a.Want > 0 && now.Sub(p.grantedAt) < grantQuick {
			a.Want = max(a.Want, 2*p.size)
		}
	}
	p.want = 0
	if p.asking || (!a.Slow && a.Want == 0) {
		return Ask{}, false
	}
	p.asking, p.slow, p.after = true, false, 0
	return a, true
}

// Granted takes the answer to an Ask.
func (p *Pacer) Granted(now time.Time, a Ask, g Grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = false
	p.limiter.SetLimitAt(now, rate.Limit(g.Rate))
	p.limiter.SetBurstAt(now, burst(g.Rate))
	switch {
	case p.slow || now.Before(p.paused):
		// The provider has refused us while this was on its way: it is not spent.
	case g.Paused:
		p.paused = now.Add(g.In)
		p.again = p.paused.Add(rand.N(grantAgain))
	case g.Tokens > 0:
		p.left, p.size, p.grantedAt = min(p.left, 0)+g.Tokens, g.Tokens, now
		p.from = now.Add(g.In)
		p.until = p.from.Add(grantLapse)
	case a.Want > 0:
		// The replicas come back at different times, so that none is always the last.
		p.again = now.Add(g.In + grantAgain/2 + rand.N(grantAgain))
	}
}

// Failed says that an Ask could not be answered. What it had to tell is told
// with the next one.
func (p *Pacer) Failed(now time.Time, a Ask) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = false
	p.slow, p.after = p.slow || a.Slow, max(p.after, a.After)
	p.again = now.Add(grantRetry)
}

// Answered takes an answer of the provider into account: whether it says "too
// fast", and how long it asks us to wait. It reports whether there is something
// to tell the quota; what was granted is not spent then.
func (p *Pacer) Answered(now time.Time, throttled bool, after time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.second) >= time.Second {
		p.second, p.answers, p.throttled, p.slowed = now, 0, 0, false
	}
	p.answers++
	if !throttled {
		return false
	}
	p.throttled++
	if p.throttled < slowLeast || float64(p.throttled) < slowShare*float64(p.answers) {
		return false
	}
	until := now.Add(min(after, pauseMost))
	if p.slowed && !until.After(p.paused.Add(time.Second)) {
		return false // many answers tell of one burst
	}
	p.slowed, p.slow, p.after = true, true, max(p.after, after)
	p.left, p.unused = min(p.left, 0), 0
	if until.After(p.paused) {
		p.paused = until
	}
	if p.again.Before(p.paused) {
		p.again = p.paused
	}
	return true
}

// Paused tells whether the provider has asked us to wait.
func (p *Pacer) Paused(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.paused)
}

// lapse gives up what was not used in time, or must not be used; p.mu is held.
func (p *Pacer) lapse(now time.Time) {
	paused := now.Before(p.paused)
	if paused || !now.Before(p.until) {
		p.left = min(p.left, 0)
	}
	if paused || !now.Before(p.keep) {
		p.unused = 0
	}
}
