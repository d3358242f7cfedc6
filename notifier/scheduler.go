package notifier

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// longestWait bounds one wait for a tick, so that a jump of the wall clock, or a
// run that failed on another replica, is noticed within it.
const longestWait = 30 * time.Second

// A failed run is tried again before its next tick when that is far away.
const (
	firstRunRetry   = 30 * time.Second
	longestRunRetry = 10 * time.Minute
)

// refusedPatience is how long a tick is offered again that was refused because of
// other rules: so long it takes to notice that who has them is gone.
const refusedPatience = ReplicaLife + 2*beatEvery

// stuckAfter is how many failed runs in a row are more than a hiccup.
const stuckAfter = 5

// Ticks is what the scheduler fires.
type Ticks interface {
	// Tick does the run of a rule at a nominal tick, unless another replica has it.
	Tick(ctx context.Context, rule *Rule, tickAt time.Time) error
	// LastTick returns the tick after which a rule goes on when the scheduler starts.
	LastTick(ctx context.Context, rule *Rule) time.Time
	// LastRun returns the newest run of a rule, of whichever replica.
	LastRun(ctx context.Context, rule *Rule) (LastRun, error)
}

// Scheduler fires the ticks of every rule in force. It does so on every replica:
// the ledger decides which one runs a tick, and knows which runs have failed.
type Scheduler struct {
	rules *Rules
	ticks Ticks
	log   zerolog.Logger

	mu      sync.Mutex
	running map[string]bool // the rules that have a loop
}

// NewScheduler returns a Scheduler that fires each tick of each rule, one at a
// time for one rule.
func NewScheduler(rules *Rules, ticks Ticks, log zerolog.Logger) *Scheduler {
	return &Scheduler{rules: rules, ticks: ticks, log: log.With().Str("component", "scheduler").Logger(), running: map[string]bool{}}
}

// Run fires ticks until ctx ends and the last one has returned. Rules that come
// into force meanwhile get their ticks, and those that are gone get none.
func (s *Scheduler) Run(ctx context.Context) error {
	var loops errgroup.Group
	for ctx.Err() == nil {
		rules := s.rules.now.Load()
		for _, rule := range s.begin() {
			loops.Go(func() error {
				s.runRule(ctx, rule)
				return nil
			})
		}
		select {
		case <-ctx.Done():
		case <-rules.replaced:
		}
	}
	return loops.Wait()
}

// begin returns the rules that take ticks and have no loop, which their callers start.
func (s *Scheduler) begin() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, rule := range s.rules.All() {
		switch {
		case rule.Mode == ModePaused:
			s.log.Info().Str("rule_id", rule.ID).Msg("rule is paused")
		case !s.running[rule.ID]:
			s.running[rule.ID] = true
			ids = append(ids, rule.ID)
		}
	}
	return ids
}

// inForce returns a rule and the word that it may have changed, or false when it
// takes no ticks any more: then its loop has ended. That is decided under the
// same lock as begin's, so that a rule that comes back is never without a loop.
func (s *Scheduler) inForce(id string) (*Rule, <-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.rules.now.Load()
	rule, ok := now.set.Get(id)
	if !ok || rule.Mode == ModePaused {
		delete(s.running, id)
		return nil, nil, false
	}
	return rule, now.replaced, true
}

func (s *Scheduler) runRule(ctx context.Context, id string) {
	log := s.log.With().Str("rule_id", id).Logger()
	failures := 0
	schedule := ""
	var refused time.Time // since when other rules are in force
	for last := (time.Time{}); ; {
		rule, replaced, ok := s.inForce(id)
		if !ok {
			log.Info().Msg("rule takes no more ticks")
			return
		}
		if last.IsZero() {
			last = s.ticks.LastTick(ctx, rule)
		}
		if schedule != "" && rule.ScheduleText != schedule {
			last = time.Now() // the new schedule begins now, not at the old one's last tick
		}
		schedule = rule.ScheduleText
		// The nominal time is what counts; jitter moves the work only. A clock that
		// went back gives the same ticks again, which the ledger refuses.
		last = earlier(last, time.Now())
		tickAt := rule.Schedule.Next(last)
		if time.Until(tickAt) > firstRunRetry {
			if again := s.again(ctx, rule, last, failures); again.After(last) && again.Before(tickAt) {
				tickAt = again
			}
		}
		switch s.waitUntil(ctx, last, tickAt.Add(jitter(rule.Jitter)), replaced) {
		case waitEnded:
			return
		case waitReplaced, waitBack, waitLook:
			continue
		case waitDue:
		}
		before := last
		last = tickAt
		if now := time.Now(); now.Sub(tickAt) > time.Second {
			// Late (the last run took long, or the machine slept): the ticks in between
			// are one, because the watermark covers them all.
			for next := rule.Schedule.Next(last); !next.After(now) && !next.IsZero(); next = rule.Schedule.Next(last) {
				last = next
			}
			tickAt = last
		}
		err := s.ticks.Tick(ctx, rule, tickAt)
		if errors.Is(err, ErrOtherRules) {
			// Those who have the rules in force may be gone before they come to this tick.
			if refused.IsZero() {
				refused = time.Now()
			}
			if time.Since(refused) < refusedPatience {
				last = before
				if !sleep(ctx, beatEvery) {
					return
				}
				continue
			}
			err = nil
		}
		refused = time.Time{}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if failures > 0 {
				log.Info().Int("count", failures).Msg("rule runs again")
			}
			failures = 0
		default:
			failures++
			switch failures {
			case 1:
				log.Warn().Err(err).Time("tick_at", tickAt).Msg("run failed; its rows will be read again")
			case stuckAfter:
				log.Error().Err(err).Int("count", failures).Msg("rule fails again and again: somebody has to look")
			}
		}
	}
}

// again returns the tick at which the rule is tried again when its last run has
// failed, here or on a replica that may be gone; zero when it need not be. It is
// a tick of its own, because the one that failed has had its run.
func (s *Scheduler) again(ctx context.Context, rule *Rule, last time.Time, failures int) time.Time {
	run, err := s.ticks.LastRun(ctx, rule)
	if failures > 0 && (err != nil || run.TickAt.Before(last)) {
		return last.Add(runRetry(failures)).UTC().Truncate(time.Second) // no run could be begun at all
	}
	return run.Again()
}

// waited says why a wait is over.
type waited uint8

const (
	waitDue      waited = iota // the time has come
	waitReplaced               // other rules are in force
	waitBack                   // the wall clock has gone back behind the last tick
	waitLook                   // it is long, and time to look whether anything has changed
	waitEnded                  // the context has ended
)

// waitUntil waits until t by the wall clock as long as that is after last, until
// other rules are in force, or until ctx ends.
func (s *Scheduler) waitUntil(ctx context.Context, last, t time.Time, replaced <-chan struct{}) waited {
	for {
		now := time.Now().Round(0) // Round strips the monotonic reading: a jump of the clock counts
		d := t.Sub(now)
		switch {
		case ctx.Err() != nil:
			return waitEnded
		case d <= 0:
			return waitDue
		case now.Before(last.Round(0)):
			return waitBack
		}
		timer := time.NewTimer(min(d, longestWait))
		select {
		case <-ctx.Done():
		case <-replaced:
			timer.Stop()
			return waitReplaced
		case <-timer.C:
			if d > longestWait {
				return waitLook
			}
		}
		timer.Stop()
	}
}

// runRetry is how long after its n-th failure in a row a run is tried again.
func runRetry(n int) time.Duration {
	d := firstRunRetry
	for range min(n, 16) - 1 {
		d = min(2*d, longestRunRetry)
	}
	return d
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}
