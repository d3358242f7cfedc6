package notifier

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// longestWait bounds one wait for a tick, so that a jump of the wall clock is
// noticed within it.
const longestWait = 30 * time.Second

// stuckAfter is how many failed runs in a row are more than a hiccup.
const stuckAfter = 5

// Scheduler fires the ticks of every rule. It does so on every replica: the
// ledger decides which one runs a tick.
type Scheduler struct {
	rules *RuleSet
	tick  func(ctx context.Context, rule *Rule, tickAt time.Time) error
	log   zerolog.Logger
}

// NewScheduler returns a Scheduler that calls tick for each tick of each rule,
// one at a time for one rule.
func NewScheduler(rules *RuleSet, tick func(context.Context, *Rule, time.Time) error, log zerolog.Logger) *Scheduler {
	return &Scheduler{rules: rules, tick: tick, log: log.With().Str("component", "scheduler").Logger()}
}

// Run fires ticks until ctx ends and the last one has returned.
func (s *Scheduler) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, rule := range s.rules.All() {
		if rule.Mode == ModePaused {
			s.log.Info().Str("rule_id", rule.ID).Msg("rule is paused")
			continue
		}
		g.Go(func() error {
			s.runRule(ctx, rule)
			return nil
		})
	}
	return g.Wait()
}

func (s *Scheduler) runRule(ctx context.Context, rule *Rule) {
	log := s.log.With().Str("rule_id", rule.ID).Logger()
	failures := 0
	for last := time.Now(); ; {
		// The nominal time is what counts; jitter moves the work only. A clock that
		// went back gives the same tick again, which the ledger refuses.
		tickAt := rule.Schedule.Next(last)
		if !s.waitUntil(ctx, tickAt.Add(jitter(rule.Jitter))) {
			return
		}
		last = tickAt
		if now := time.Now(); now.Sub(tickAt) > time.Second {
			// Late (the last run took long, or the machine slept): the ticks in between
			// are one, because the watermark covers them all.
			for next := rule.Schedule.Next(last); !next.After(now) && !next.IsZero(); next = rule.Schedule.Next(last) {
				last = next
			}
			tickAt = last
		}
		err := s.tick(ctx, rule, tickAt)
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

// waitUntil returns true at t by the wall clock, false when ctx ends first.
func (s *Scheduler) waitUntil(ctx context.Context, t time.Time) bool {
	for {
		d := time.Until(t.Round(0)) // Round strips the monotonic reading: a jump of the clock counts
		if d <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(d, longestWait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}
