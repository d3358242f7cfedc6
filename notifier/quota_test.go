package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

// TestNoIntervalIsGrantedMoreThanItsWorth lets replicas ask in any order and at
// any time, and looks at every interval between two grants.
func TestNoIntervalIsGrantedMoreThanItsWorth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type granted struct {
			at     time.Time
			tokens int
		}
		perSecond := rapid.Float64Range(0.1, 5000).Draw(t, "rate")
		s, now := notifier.QuotaState{}, time.Unix(1_700_000_000, 0)
		var all []granted
		var inAll int64
		lastEnd := time.Time{}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				paused := s.PausedUntil
				s = s.Slow(now, time.Duration(rapid.IntRange(0, 3).Draw(t, "after"))*time.Second)
				require.False(t, s.PausedUntil.Before(paused), "no pause is cut short")
			case 1, 2, 3:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "pass")))
			case 4:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "idle")))
			case 5: // the database's clock is not always monotonic
				now = now.Add(-time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "back")))
				if least := s.ChangedAt.Add(-4 * time.Second); now.Before(least) {
					now = least
				}
			default:
				for range rapid.IntRange(1, 5).Draw(t, "replicas") {
					want := rapid.IntRange(0, 3000).Draw(t, "want")
					var g notifier.Grant
					stands := s.Stands(now)
					s, g = s.Grant(now, perSecond, want)
					inAll += int64(g.Tokens)
					require.Equal(t, inAll, s.Granted)
					require.Equal(t, now.Before(s.PausedUntil), stands.Share == 0, "only a pause leaves nothing")
					if stands.Share > 0 {
						require.InDelta(t, g.Rate, stands.Share*perSecond, 1e-9*perSecond, "what is shown is what is granted")
					}
					require.LessOrEqual(t, g.Tokens, want)
					require.LessOrEqual(t, g.Rate, perSecond)
					require.GreaterOrEqual(t, g.Rate, 0.02*perSecond*0.999)
					if g.Tokens == 0 {
						require.True(t, want == 0 || g.In > 0, "who gets nothing is told when to come back")
						continue
					}
					require.False(t, now.Before(s.PausedUntil), "nothing is granted in a pause")
					begins := now.Add(g.In)
					require.False(t, begins.Before(lastEnd.Add(-200*time.Millisecond)), "no two grants overlap but for the credit")
					require.LessOrEqual(t, g.In, 800*time.Millisecond)
					lastEnd = s.Next
					all = append(all, granted{at: now, tokens: g.Tokens})
				}
			}
			require.LessOrEqual(t, s.Share, 1.0)
		}
		for i := range all {
			sum, first, last := 0, all[i].at, all[i].at
			for _, g := range all[i:] {
				sum += g.tokens
				if g.at.Before(first) {
					first = g.at
				}
				if g.at.After(last) {
					last = g.at
				}
				worth := perSecond*(last.Sub(first).Seconds()+1) + 1
				require.LessOrEqual(t, float64(sum), worth+1e-6)
			}
		}
	})
}

func TestTheRampIsTheFleets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s, g := notifier.QuotaState{}.Grant(now, 1000, 1)
	require.InDelta(t, 100, g.Rate, 1e-9)
	for range 30 {
		now = now.Add(time.Second)
		s, g = s.Grant(now, 1000, 1)
	}
	require.InDelta(t, 600, g.Rate, 1e-6)
	s, g = s.Grant(now.Add(time.Minute), 1000, 1)
	require.InDelta(t, 1000, g.Rate, 1e-6)
	_, g = s.Grant(now.Add(time.Minute+119*time.Second), 1000, 1)
	require.InDelta(t, 1000, g.Rate, 1e-6)
	_, g = s.Grant(now.Add(time.Minute+120*time.Second), 1000, 1)
	require.InDelta(t, 100, g.Rate, 1e-6, "after an idle time it begins again")
}

func TestAQuotaStandsAsItWouldBeGranted(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	require.Equal(t, notifier.Standing{Share: 0.1}, notifier.QuotaState{}.Stands(now), "nobody has sent yet")
	s := notifier.QuotaState{Share: 1, MovedAt: now, GrantedAt: now, ChangedAt: now, Granted: 5}
	require.Equal(t, notifier.Standing{Share: 1, Granted: 5}, s.Stands(now.Add(time.Minute)))
	require.InDelta(t, 0.1, s.Stands(now.Add(2*time.Minute)).Share, 1e-9, "after an idle time it begins again")
	s = s.Slow(now, 20*time.Second)
	require.Equal(t, notifier.Standing{PausedUntil: now.Add(20 * time.Second), SlowedAt: now, Granted: 5}, s.Stands(now.Add(19*time.Second)))
	got := s.Stands(now.Add(26 * time.Second))
	require.InDelta(t, 0.6, got.Share, 1e-9, "six seconds after the pause")
	require.Zero(t, got.PausedUntil)
	require.Equal(t, now, got.SlowedAt)
}

func TestASlowDownHalvesOnceASecond(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s := notifier.QuotaState{Share: 1, MovedAt: now, GrantedAt: now, ChangedAt: now}
	for range 10 {
		now = now.Add(90 * time.Millisecond)
		s = s.Slow(now, 0)
	}
	require.InDelta(t, 0.5, s.Share, 1e-9)
	s = s.Slow(now.Add(200*time.Millisecond), 0)
	require.InDelta(t, 0.26, s.Share, 0.01)
	for i := range 20 {
		s = s.Slow(now.Add(time.Duration(i+2)*time.Second), 0)
	}
	require.InDelta(t, 0.03, s.Share, 0.015)
	require.GreaterOrEqual(t, s.Share, 0.02)
}

func TestAnAbsurdPauseIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s := notifier.QuotaState{}.Slow(now, 1000*time.Hour)
	_, g := s.Grant(now.Add(9*time.Minute), 1000, 10)
	require.Zero(t, g.Tokens)
	require.True(t, g.Paused)
	require.Equal(t, time.Minute, g.In)
	_, g = s.Grant(now.Add(10*time.Minute), 1000, 10)
	require.Equal(t, 10, g.Tokens)
}

func TestAClockSetBackHoldsUpNobody(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s, _ := notifier.QuotaState{}.Grant(now, 1000, 1000)
	now = now.Add(-time.Hour)
	s, _ = s.Grant(now, 1000, 1000)
	s, g := s.Grant(now.Add(time.Second), 1000, 1000)
	require.Positive(t, g.Tokens)
	require.InDelta(t, 1000*(0.1+1.0/60), g.Rate, 1, "an hour less is not an hour more")
	require.LessOrEqual(t, s.Next.Sub(now), 3*time.Second)
}

func TestASlowRateIsGrantedOneByOne(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	var s notifier.QuotaState
	var g notifier.Grant
	tokens := 0
	for range 600 { // two replicas that ask every second for ten minutes
		for range 2 {
			s, g = s.Grant(now, 0.5, 10)
			tokens += g.Tokens
		}
		now = now.Add(time.Second)
	}
	require.InDelta(t, 290, tokens, 20)
}
