package notifier

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Pacing of a provider. Google asks for a ramp of a minute or more from nothing
// to the peak, and for slowing down on 429 ("Best practices when sending FCM
// messages at scale").
const (
	rampSeconds = 60
	// rampFloor is the part of the rate that is given at once after an idle time.
	rampFloor = 0.1
	// idleReset is how long a pause makes the ramp start again.
	idleReset = 2 * time.Minute
	// slowFloor is the least part of the rate that throttling leaves.
	slowFloor = 0.02
	// slowShare and slowLeast are how much of a second's answers must say "too fast"
	// before that is about us: a single device over its own limit says so as well.
	slowShare = 0.1
	slowLeast = 3
)

// Pacer keeps the sends of a provider below its quota: a token bucket whose
// rate climbs to its full value within a minute of steady sending, and halves
// when a good part of a second's answers say that we are too fast.
type Pacer struct {
	full float64

	mu       sync.Mutex
	limiter  *rate.Limiter
	share    float64 // of full, now
	unused   int     // taken and given back
	lastTake time.Time
	lastRise time.Time

	second    time.Time // when the present second of answers began
	answers   int
	throttled int
	slowed    bool // in this second
}

// NewPacer returns a Pacer for a rate in messages a second, which must be above 0.
func NewPacer(perSecond float64) *Pacer {
	p := &Pacer{full: perSecond, share: rampFloor}
	p.limiter = rate.NewLimiter(rate.Limit(perSecond*rampFloor), burst(perSecond*rampFloor))
	return p
}

// burst is what may start at once: a fifth of a second's worth, so that the
// sends of a minute are spread inside it.
func burst(perSecond float64) int { return max(1, int(perSecond/5)) }

// Available returns how many sends may start now.
func (p *Pacer) Available(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.climb(now)
	return max(0, min(int(p.limiter.TokensAt(now))+p.unused, p.limiter.Burst()))
}

// Take counts n sends, which Available has allowed.
func (p *Pacer) Take(now time.Time, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastTake.IsZero() {
		p.lastRise = now
	}
	p.lastTake = now
	again := min(n, p.unused)
	p.unused -= again
	p.limiter.ReserveN(now, min(n-again, p.limiter.Burst()))
}

// Give takes back a send that Take has counted and that was not made: what the
// gates stop costs the provider nothing.
func (p *Pacer) Give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unused = min(p.unused+1, p.limiter.Burst())
}

// Wait returns how long until at least one send may start.
func (p *Pacer) Wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	missing := 1 - p.limiter.TokensAt(now) - float64(p.unused)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(p.limiter.Limit()) * float64(time.Second))
}

// Answered takes an answer of the provider into account. The rate is halved at
// most once a second, because many answers tell of one burst.
func (p *Pacer) Answered(now time.Time, throttled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.second) >= time.Second {
		p.second, p.answers, p.throttled, p.slowed = now, 0, 0, false
	}
	p.answers++
	if !throttled {
		return
	}
	p.throttled++
	if !p.slowed && p.throttled >= slowLeast && float64(p.throttled) >= slowShare*float64(p.answers) {
		p.slowed, p.lastRise = true, now
		p.set(now, max(slowFloor, p.share/2))
	}
}

// Rate returns the present rate in messages a second.
func (p *Pacer) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.limiter.Limit())
}

// climb raises the rate by what the time since it last rose is worth.
func (p *Pacer) climb(now time.Time) {
	if p.lastTake.IsZero() {
		return
	}
	if now.Sub(p.lastTake) >= idleReset {
		p.lastTake = time.Time{}
		p.set(now, rampFloor)
		return
	}
	if step := now.Sub(p.lastRise).Seconds() / rampSeconds; p.share < 1 && step >= 0.005 { // less is not worth a change
		p.lastRise = now
		p.set(now, min(1, p.share+step))
	}
}

func (p *Pacer) set(now time.Time, share float64) {
	p.share = share
	r := p.full * share
	p.limiter.SetLimitAt(now, rate.Limit(r))
	p.limiter.SetBurstAt(now, burst(r))
}
