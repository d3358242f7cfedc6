package notifier

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"

	"github.com/bugle-push/bugle/devices"
)

const (
	// blockedPause is how long nothing is sent after the provider refused our credentials.
	blockedPause = 30 * time.Second
	// breakerFailures is how many failures in a row open the breaker.
	breakerFailures = 25
	// breakerOpen is how long the breaker stays open before it lets a few sends try.
	breakerOpen = 10 * time.Second
	// breakerTrials is how many sends may try; as many successes close the breaker.
	breakerTrials = 5
	// normalShare is the normal lane's part of the tokens while urgent deliveries wait for them:
	// little, but it does not starve.
	normalShare = 0.1
	// slowQuiet is how long no slow-down must have been needed for the next to be news.
	slowQuiet = time.Minute
	// yieldLook is how long the normal lane waits when the high lane has all tokens.
	yieldLook = 20 * time.Millisecond
	// pruneWindow is the number of sends over which dead targets are judged.
	pruneWindow = 200
	// pruneShare is the share of dead targets above which none is retired: a wrong
	// project or a bad deployment looks like that, a real fleet does not.
	pruneShare = 0.3
)

// Pause causes, the label of bugle_provider_paused.
const (
	causeBlocked = "blocked"
	causeBreaker = "breaker"
	// causeThrottled is a provider that has asked us to wait.
	causeThrottled = "throttled"
)

// block is a refusal of our credentials or permissions.
type block struct {
	code  string
	until time.Time
}

// provider is what the lanes of one provider share: pace, breaker, pause.
type provider struct {
	name    devices.Provider
	sender  Sender
	pacer   *Pacer
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	// wake wakes its lanes.
	wake func()
	// ask tells the asker that the pacer has something to ask.
	ask     chan struct{}
	metrics *Metrics
	log     zerolog.Logger

	mu sync.Mutex
	// backlog says that the high lane has more to send than it could claim last time.
	backlog bool
	// spared is the normal lane's small part of what the high lane has taken meanwhile, in tokens.
	spared, sparedMost float64
	// highFree tells how many places the high lane has free.
	highFree func() int
	// blocks are what our credentials keep from passing, by platform; the empty
	// platform stands for all.
	blocks     map[devices.Platform]block
	recent     int // sends in the present window
	recentGone int
	pruning    bool // false while too many targets die
	slowAt     time.Time
}

func newProvider(name devices.Provider, s SenderConfig, m *Metrics, log zerolog.Logger) *provider {
	p := &provider{
		name: name, sender: s.Sender, pacer: NewPacer(s.RatePerSecond), ask: make(chan struct{}, 1), metrics: m, sparedMost: float64(burst(s.RatePerSecond))*normalShare + 1, pruning: true, blocks: map[devices.Platform]block{},
		log: log.With().Str("sender", string(name)).Logger(),
	}
	p.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: string(name), Timeout: breakerOpen, MaxRequests: breakerTrials,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			open := 0.0
			if to == gobreaker.StateOpen {
				open = 1
				p.log.Warn().Msg("provider fails again and again: nothing is sent for a while")
			} else {
				p.log.Info().Stringer("breaker", to).Msg("provider is tried again")
				p.wake() // a lane that sleeps on would leave its turn to the other
			}
			m.paused.WithLabelValues(string(name), causeBreaker).Set(open)
		},
	})
	return p
}

// ready returns how many sends may start now on a lane of which free places are
// free, or how long to wait when none may. Dry says that a grant is needed first.
func (p *provider) ready(now time.Time, u Urgency, free int) (n int, wait time.Duration, dry bool) {
	throttled := 0.0
	if p.pacer.Paused(now) {
		throttled = 1
	}
	p.metrics.paused.WithLabelValues(string(p.name), causeThrottled).Set(throttled)
	if until := p.blockedUntil(""); until.After(now) {
		return 0, until.Sub(now), false
	}
	n = p.pacer.Available(now)
	switch p.breaker.State() {
	case gobreaker.StateOpen:
		p.piledUp()
		return 0, time.Second, false
	case gobreaker.StateHalfOpen:
		// What is claimed beyond the trials would only be put back.
		if p.breaker.Counts().Requests >= breakerTrials {
			return 0, time.Second, false
		}
		n = min(1, n)
	case gobreaker.StateClosed:
	}
	if n == 0 {
		return 0, p.pacer.Wait(now), p.pacer.Dry(now)
	}
	if n = p.yield(u, min(n, free), n); n == 0 {
		return 0, yieldLook, false
	}
	return n, 0, false
}

// yield returns how many of n sends a lane may start while available may start
// on all lanes. As long as the high lane has more to send than it could claim,
// the normal lane leaves it all that it has places for, but for a small share.
func (p *provider) yield(u Urgency, n, available int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u == High || !p.backlog {
		return n
	}
	return min(n, max(int(p.spared), available-p.highFree()))
}

// piledUp assumes that there are urgent deliveries when nothing was sent for a
// while. The high lane's next claim says whether that is so.
func (p *provider) piledUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backlog = true
}

// claimed notes what a lane has claimed, and whether there was more.
func (p *provider) claimed(u Urgency, n int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case u != High:
		p.spared = max(0, p.spared-float64(n))
	case more:
		p.backlog, p.spared = true, min(p.spared+float64(n)*normalShare/(1-normalShare), p.sparedMost)
	default:
		p.backlog, p.spared = false, 0
	}
}

// tell lets the asker look at what the pacer has to ask.
func (p *provider) tell() {
	select {
	case p.ask <- struct{}{}:
	default: // it has been told already
	}
}

// blockedUntil tells until when nothing is sent to a platform, or to all of them for "".
func (p *provider) blockedUntil(platform devices.Platform) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks[platform].until
}

// learn takes what an outcome of a push to a platform says about the provider as a whole.
func (p *provider) learn(o Outcome, platform devices.Platform, now time.Time) {
	slow := p.pacer.Answered(now, o.Throttled, o.Hold)
	if slow {
		p.tell()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slow {
		if now.Sub(p.slowAt) >= slowQuiet {
			p.log.Warn().Str("reason", o.Code).Int64("wait_ms", o.Hold.Milliseconds()).Msg("provider finds us too fast: slowing down")
		}
		p.slowAt = now
	}
	switch o.Verdict {
	case VerdictBlocked:
		scope := devices.Platform("")
		if o.PlatformOnly {
			scope = platform
		}
		if p.blocks[scope].code != o.Code {
			p.log.Error().Err(o.Err).Str("reason", o.Code).Int("status", o.Status).Str("platform", string(scope)).
				Msg("provider refuses our credentials or permissions: nothing is sent until that is mended")
		}
		p.blocks[scope] = block{code: o.Code, until: now.Add(max(blockedPause, o.After))}
		p.metrics.paused.WithLabelValues(string(p.name), causeBlocked).Set(1)
	case VerdictSent:
		p.unblock("")
		p.unblock(platform)
		p.count(false)
	case VerdictGone:
		p.unblock("") // an answer about the target means that we were let in
		p.count(true)
	case VerdictRetry, VerdictRejected, VerdictUnknown:
	}
}

// unblock forgets a refusal, because a send has passed; p.mu is held.
func (p *provider) unblock(scope devices.Platform) {
	if _, ok := p.blocks[scope]; !ok {
		return
	}
	delete(p.blocks, scope)
	p.log.Info().Str("platform", string(scope)).Msg("provider accepts our credentials again")
	if len(p.blocks) == 0 {
		p.metrics.paused.WithLabelValues(string(p.name), causeBlocked).Set(0)
	}
}

// blocked tells the provider's reasons while it refuses our credentials, else "".
func (p *provider) blocked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, scope := range slices.Sorted(maps.Keys(p.blocks)) {
		if time.Since(p.blocks[scope].until) > blockedPause {
			continue // nobody has tried since: whether it still holds is not known
		}
		reason := p.blocks[scope].code
		if scope != "" {
			reason += " (" + string(scope) + ")"
		}
		out = append(out, reason)
	}
	return strings.Join(out, ", ")
}

// mayRetire tells whether a dead target may be retired now.
func (p *provider) mayRetire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pruning
}

// count judges the share of dead targets, window by window; p.mu is held.
func (p *provider) count(gone bool) {
	p.recent++
	if gone {
		p.recentGone++
	}
	tooMany := p.recentGone > int(pruneShare*pruneWindow)
	if tooMany && p.pruning {
		p.pruning = false
		p.log.Error().Int("count", p.recentGone).Msg("too many dead targets at once: none is retired until that passes (wrong project or app build?)")
	}
	if p.recent < pruneWindow {
		return
	}
	if !tooMany && !p.pruning {
		p.pruning = true
		p.log.Info().Msg("dead targets are retired again")
	}
	p.recent, p.recentGone = 0, 0
}

// failure tells whether a verdict counts against the breaker.
func (o Outcome) failure() bool {
	return o.Verdict == VerdictUnknown || o.Verdict == VerdictRetry
}
