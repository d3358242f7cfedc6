package notifier

import (
	"context"
	"math"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// A provider's quota, which all replicas share. Google asks for a ramp of a
// minute or more from nothing to the peak, and for slowing down on 429 ("Best
// practices when sending FCM messages at scale").
const (
	rampSeconds = 60
	// rampFloor is the part of the rate that is given at once after an idle time.
	rampFloor = 0.1
	// idleReset is how long a pause makes the ramp start again.
	idleReset = 2 * time.Minute
	// slowFloor is the least part of the rate that throttling leaves.
	slowFloor = 0.02
	// pauseMost bounds a pause: an absurd Retry-After must not stop the fleet for a day.
	pauseMost = 10 * time.Minute
	// grantAhead is how far ahead of the clock tokens are granted.
	grantAhead = 800 * time.Millisecond
	// grantCredit is how long tokens that nobody has asked for are kept. It makes up for the
	// time that asking takes; with grantAhead it is the second's worth by which a fleet can
	// be ahead of its rate.
	grantCredit = time.Second - grantAhead
	// clockStep is how far the database's clock may fall behind the last change without being
	// taken as set back: transactions may see their times in another order than their locks.
	clockStep = 5 * time.Second
)

const (
	// QuotaFirst is the share of the rate that is granted at once after an idle time.
	QuotaFirst = rampFloor
	// QuotaClimb is the longest that a share climbs to the whole rate.
	QuotaClimb = rampSeconds * time.Second
)

// Quotas keeps the state of each provider's quota where all replicas see it.
type Quotas interface {
	// Quota replaces the state of a provider's quota by what change makes of it, in one
	// transaction that excludes every other replica. The time is that of the database's clock.
	// Change may be called again, and what it has granted is void when Quota returns an error.
	Quota(ctx context.Context, provider devices.Provider, change func(QuotaState, time.Time) QuotaState) error
	// QuotaNow returns the state of a provider's quota, the zero value when there is none yet, and
	// the time of the database's clock. It locks nothing.
	QuotaNow(ctx context.Context, provider devices.Provider) (QuotaState, time.Time, error)
}

// QuotaState is what is written down about a provider's quota. The zero value
// is that of a provider nobody has sent to yet.
//
// The quota is a timetable: a grant is the right to send between two moments,
// at the fleet's rate, and no two grants overlap. That makes the order of the
// replicas a queue, and nothing has to be counted back when one of them dies.
type QuotaState struct {
	// Share is the part of the full rate that is given now.
	Share float64
	// MovedAt is when Share last rose or fell.
	MovedAt time.Time
	// Next is the end of what has been granted.
	Next time.Time
	// GrantedAt is when something was last granted.
	GrantedAt time.Time
	// SlowedAt is when the rate was last halved.
	SlowedAt time.Time
	// PausedUntil is when the provider may be asked again.
	PausedUntil time.Time
	// ChangedAt is when the state was last changed.
	ChangedAt time.Time
	// Granted is how many tokens have been granted in all, to all replicas. It only grows. What
	// nobody has used in time is part of it: a grant is not given back.
	Granted int64
}

// Ask is what a replica wants of a quota, and what it has to tell.
type Ask struct {
	// Rate is the full rate in messages a second.
	Rate float64
	// Want is how many tokens it can use; 0 when it only tells.
	Want int
	// Slow says that the provider finds us too fast.
	Slow bool
	// After is how long the provider asks us to wait; 0 when it does not say.
	After time.Duration
}

// Grant is the answer to an Ask.
type Grant struct {
	// Tokens is how many messages may be sent.
	Tokens int
	// Rate is the rate of the fleet in messages a second.
	Rate float64
	// In is how long until the first may be sent or, without tokens, until it is worth asking again.
	In time.Duration
	// Paused says that there are none because the provider has asked us to wait.
	Paused bool
}

// Answer returns the state after an Ask, and what it grants.
func (s QuotaState) Answer(now time.Time, a Ask) (QuotaState, Grant) {
	if a.Slow {
		s = s.Slow(now, a.After)
	}
	return s.Grant(now, a.Rate, a.Want)
}

// Grant gives out up to want tokens of a full rate in messages a second.
//
// Each grant takes half of what is left of the time ahead. So the grants of a
// replica that is alone last for half a second, and with n replicas that ask
// again and again each gets the same part of it.
func (s QuotaState) Grant(now time.Time, perSecond float64, want int) (QuotaState, Grant) {
	s = s.touch(now).climb(now)
	g := Grant{Rate: perSecond * s.Share}
	if want <= 0 {
		return s, g
	}
	if pause := s.PausedUntil.Sub(now); pause > 0 {
		g.In, g.Paused = pause, true
		return s, g
	}
	from := now.Add(-grantCredit)
	if s.Next.After(from) {
		from = s.Next
	}
	ahead := from.Sub(now)
	g.Tokens = min(want, int(g.Rate*((grantAhead-ahead)/2).Seconds()))
	if g.Tokens < 1 {
		if ahead > grantAhead/2 {
			g.Tokens, g.In = 0, ahead-grantAhead/2
			return s, g
		}
		g.Tokens = 1 // of a rate so low that one token is longer than a grant
	}
	// Rounded up to what is stored, so that nothing is gained in the rounding.
	took := time.Duration(math.Ceil(float64(g.Tokens)/g.Rate*1e6)) * time.Microsecond
	s.Next, s.GrantedAt, g.In = from.Add(took), now, max(0, ahead)
	s.Granted += int64(g.Tokens)
	return s, g
}

// Slow halves the rate, at most once a second because many answers of many
// replicas tell of one burst, and grants nothing for as long as after says.
func (s QuotaState) Slow(now time.Time, after time.Duration) QuotaState {
	s = s.touch(now)
	if now.Sub(s.SlowedAt) >= time.Second {
		s = s.climb(now)
		s.Share, s.MovedAt, s.SlowedAt = max(slowFloor, s.Share/2), now, now
	}
	if until := now.Add(min(after, pauseMost)); until.After(s.PausedUntil) {
		s.PausedUntil = until
	}
	return s
}

// Standing is how a quota stands at one moment, for all replicas together.
type Standing struct {
	// Share is the part of the full rate, up to 1, at which somebody who asked now would be granted
	// something; 0 in a pause.
	Share float64
	// PausedUntil is when the provider may be asked again; zero when it may be asked now.
	PausedUntil time.Time
	// SlowedAt is when the rate was last halved; zero when that was never.
	SlowedAt time.Time
	// Granted is how many tokens have been granted in all.
	Granted int64
}

// Stands tells how the quota stands. Nothing is changed by looking.
func (s QuotaState) Stands(now time.Time) Standing {
	s = s.touch(now).climb(now)
	out := Standing{Share: s.Share, SlowedAt: s.SlowedAt, Granted: s.Granted}
	if s.PausedUntil.After(now) {
		out.Share, out.PausedUntil = 0, s.PausedUntil
	}
	return out
}

// climb raises the share by what the time since it last moved is worth. The time
// of a pause is worth nothing: the provider has not seen that it can take more.
func (s QuotaState) climb(now time.Time) QuotaState {
	since := s.MovedAt
	if s.PausedUntil.After(since) {
		since = s.PausedUntil
	}
	switch {
	case s.Share == 0, now.Sub(s.GrantedAt) >= idleReset && now.Sub(s.SlowedAt) >= idleReset:
		s.Share = rampFloor
	default:
		s.Share = min(1, s.Share+max(0, now.Sub(since).Seconds())/rampSeconds)
	}
	s.MovedAt = now
	return s
}

// touch notes a change. When the clock has been set back (another server has
// taken over, say), everything is as long ago, or as far ahead, as it was: else
// nothing would be granted until the clock has caught up.
func (s QuotaState) touch(now time.Time) QuotaState {
	if back := s.ChangedAt.Sub(now); back > clockStep {
		for _, t := range []*time.Time{&s.MovedAt, &s.Next, &s.GrantedAt, &s.SlowedAt, &s.PausedUntil} {
			if !t.IsZero() {
				*t = t.Add(-back)
			}
		}
	}
	s.ChangedAt = now
	return s
}
