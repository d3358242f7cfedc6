package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// fleet is some replicas that share a quota, in simulated time. An answer of
// the quota takes a few milliseconds each way.
type fleet struct {
	now      time.Time
	state    notifier.QuotaState
	rate     float64 // as of the last grant
	replicas []*replica
	grants   int
	empty    int // of them
}

type replica struct {
	pacer *notifier.Pacer
	sends int
	reply func() // on its way
	at    time.Time
}

const askTakes = 4 * time.Millisecond

func newFleet(replicas int, perSecond float64) *fleet {
	f := &fleet{now: time.Unix(1_700_000_000, 0)}
	for range replicas {
		f.replicas = append(f.replicas, &replica{pacer: notifier.NewPacer(perSecond)})
	}
	return f
}

// drive lets every replica send all that it may for d, of what due says is due
// to it, and returns how many sends that was.
func (f *fleet) drive(d time.Duration, due func(replica int) int) (sends int) {
	for end := f.now.Add(d); f.now.Before(end); f.now = f.now.Add(time.Millisecond) {
		for i, r := range f.replicas {
			if r.reply != nil && !f.now.Before(r.at) {
				r.reply()
				r.reply = nil
			}
			left := due(i)
			if n := min(left, r.pacer.Available(f.now)); n > 0 {
				r.pacer.Take(f.now, n)
				r.sends += n
				sends += n
				left -= n
			}
			if left > 0 && r.pacer.Dry(f.now) {
				r.pacer.Want(min(left, r.pacer.Most()))
			}
			if ask, ok := r.pacer.Next(f.now); ok {
				var g notifier.Grant
				f.state, g = f.state.Answer(f.now.Add(askTakes/2), ask)
				f.rate = g.Rate
				f.grants++
				if g.Tokens == 0 {
					f.empty++
				}
				r.at = f.now.Add(askTakes)
				r.reply = func() { r.pacer.Granted(f.now, ask, g) }
			}
		}
	}
	return sends
}

// plenty is always due.
func plenty(int) int { return 1_000_000 }

func TestPacerClimbsForAMinuteAndThenKeepsItsRate(t *testing.T) {
	t.Parallel()
	f := newFleet(1, 1000)
	require.Less(t, f.drive(time.Second, plenty), 250)
	f.drive(time.Minute, plenty)
	full := f.drive(10*time.Second, plenty)
	require.Greater(t, full, 9_700)
	require.LessOrEqual(t, full, 10_200)
	// After a pause it climbs again.
	f.now = f.now.Add(10 * time.Minute)
	require.Less(t, f.drive(time.Second, plenty), 250)
}

func TestReplicasShareTheRateFairly(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 8} {
		f := newFleet(n, 1000)
		first := f.drive(time.Second, plenty)
		require.Less(t, first, 250, "all replicas climb together")
		f.drive(time.Minute, plenty)
		for _, r := range f.replicas {
			r.sends = 0
		}
		f.grants, f.empty = 0, 0
		total := f.drive(30*time.Second, plenty)
		require.LessOrEqual(t, total, 31_000)
		require.GreaterOrEqual(t, total, 27_000)
		for i, r := range f.replicas {
			require.GreaterOrEqual(t, float64(r.sends), 0.6*float64(total)/float64(n), "replica %d of %d", i, n)
		}
		require.Less(t, f.grants, 30*5*n, "a few grants a second")
		require.Less(t, f.empty, f.grants/10, "who asks gets something")
	}
}

func TestAReplicaThatNeedsLittleLeavesTheRestToTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(2, 1000)
	f.drive(70*time.Second, plenty)
	f.replicas[0].sends = 0
	tick := 0
	f.drive(30*time.Second, func(i int) int {
		if i == 0 {
			return 1_000_000
		}
		tick++
		if tick%100 == 0 { // ten a second
			return 1
		}
		return 0
	})
	require.Greater(t, f.replicas[0].sends, 27_000)
}

func TestWhoComesLateDoesNotWaitLong(t *testing.T) {
	t.Parallel()
	f := newFleet(2, 1000)
	f.drive(70*time.Second, plenty)
	second := f.replicas[1]
	for i := range 50 { // another phase of the first one's grants each time
		f.drive(time.Duration(2100+13*i)*time.Millisecond, func(i int) int { return plenty(i) * (1 - i) })
		began, before := f.now, second.sends
		for second.sends == before {
			f.drive(time.Millisecond, func(i int) int { return max(plenty(i)*(1-i), i) })
		}
		require.Less(t, f.now.Sub(began), 550*time.Millisecond)
	}
}

func TestATrickleIsNotAGrantForEachSend(t *testing.T) {
	t.Parallel()
	f := newFleet(1, 1000)
	f.drive(70*time.Second, plenty)
	f.grants = 0
	tick, before := 0, f.replicas[0].sends
	sent := f.drive(30*time.Second, func(int) int {
		tick++
		return tick/10 - (f.replicas[0].sends - before) // a hundred a second
	})
	require.InDelta(t, 3000, sent, 10)
	require.Less(t, f.grants, 30*12)
}

func TestWithoutAGrantNothingIsSent(t *testing.T) {
	t.Parallel()
	p := notifier.NewPacer(1000)
	now := time.Unix(1_700_000_000, 0)
	for range 100 {
		require.Zero(t, p.Available(now))
		if p.Dry(now) {
			p.Want(500)
			ask, ok := p.Next(now)
			require.True(t, ok)
			_, more := p.Next(now)
			require.False(t, more, "one question at a time")
			p.Failed(now, ask)
		}
		require.Positive(t, p.Wait(now))
		now = now.Add(100 * time.Millisecond)
	}
}

func TestNothingIsAskedForWhileNothingIsDue(t *testing.T) {
	t.Parallel()
	f := newFleet(2, 1000)
	f.drive(10*time.Second, plenty)
	f.drive(time.Second, func(int) int { return 0 })
	f.grants = 0
	f.drive(10*time.Second, func(int) int { return 0 })
	require.Zero(t, f.grants)
}

// granted is a pacer with a grant of that many tokens.
func granted(t *testing.T, now time.Time, want int) *notifier.Pacer {
	t.Helper()
	p := notifier.NewPacer(1000)
	p.Want(want)
	ask, ok := p.Next(now)
	require.True(t, ok)
	require.Equal(t, want, ask.Want)
	p.Granted(now, ask, notifier.Grant{Tokens: want, Rate: 1000})
	return p
}

func TestAGrantIsSpreadAndLapses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := granted(t, now, 500)
	require.Equal(t, 200, p.Available(now), "a fifth of a second's worth at once")
	p.Take(now, 200)
	require.Zero(t, p.Available(now))
	now = now.Add(100 * time.Millisecond)
	require.InDelta(t, 100, p.Available(now), 1)
	require.Equal(t, 200, p.Available(now.Add(time.Second)))
	require.Zero(t, p.Available(now.Add(2*time.Second)), "lost, not hoarded")
	require.True(t, p.Dry(now.Add(2*time.Second)))
}

func TestAGrantIsNotSpentBeforeItsTime(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := notifier.NewPacer(1000)
	p.Want(100)
	ask, _ := p.Next(now)
	p.Granted(now, ask, notifier.Grant{Tokens: 100, Rate: 1000, In: 300 * time.Millisecond})
	require.Zero(t, p.Available(now.Add(299*time.Millisecond)))
	require.Equal(t, 300*time.Millisecond, p.Wait(now))
	require.Equal(t, 100, p.Available(now.Add(300*time.Millisecond)))
}

func TestWhatTwoLanesTakeAtOnceIsPaidBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := granted(t, now, 50)
	require.Equal(t, 50, p.Available(now))
	p.Take(now, 50)
	p.Take(now, 30)
	require.Zero(t, p.Available(now))
	now = now.Add(time.Second)
	require.True(t, p.Dry(now))
	p.Want(50)
	ask, ok := p.Next(now)
	require.True(t, ok)
	p.Granted(now, ask, notifier.Grant{Tokens: 50, Rate: 1000})
	require.Equal(t, 20, p.Available(now))
}

func TestWhatIsGivenBackIsSpentOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := granted(t, now, 50)
	p.Take(now, 50)
	require.Zero(t, p.Available(now))
	for range 20 {
		p.Give(now)
	}
	require.Equal(t, 20, p.Available(now))
	require.False(t, p.Dry(now), "what is there is used first")
	p.Take(now, 20)
	require.Zero(t, p.Available(now.Add(time.Second)))
	p.Give(now)
	require.Zero(t, p.Available(now.Add(2*time.Second)), "it lapses too")
}

func TestManyAnswersTellOfOneBurst(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Minute} {
		p := notifier.NewPacer(1000)
		now := time.Unix(1_700_000_000, 0)
		told := 0
		for i := range 100 {
			if p.Answered(now.Add(time.Duration(i)*5*time.Millisecond), true, after) {
				told++
			}
		}
		require.Equal(t, 1, told)
		require.True(t, p.Answered(now.Add(600*time.Millisecond), true, 2*time.Minute), "a longer pause is news")
	}
}

// throttle tells a replica that the provider finds it too fast.
func (f *fleet) throttle(replica, answers int, after time.Duration) {
	for range answers {
		f.replicas[replica].pacer.Answered(f.now, true, after)
	}
}

func TestThrottlingHalvesTheFleetsRateOnceASecondAndItRecovers(t *testing.T) {
	t.Parallel()
	f := newFleet(3, 1000)
	f.drive(2*time.Minute, plenty)
	require.InDelta(t, 1000, f.rate, 1)
	for i := range f.replicas {
		f.throttle(i, 50, 0) // a hundred and fifty answers tell of one burst
	}
	f.drive(500*time.Millisecond, plenty)
	require.InDelta(t, 500, f.rate, 15)
	for range 30 {
		f.throttle(0, 5, 0)
		f.drive(1100*time.Millisecond, plenty)
	}
	require.Greater(t, f.rate, 10.0, "it never stops altogether")
	require.Less(t, f.rate, 100.0)
	f.drive(90*time.Second, plenty)
	require.InDelta(t, 1000, f.rate, 1)
}

func TestAPauseHoldsForEveryReplica(t *testing.T) {
	t.Parallel()
	f := newFleet(3, 1000)
	f.drive(2*time.Minute, plenty)
	f.throttle(0, 5, 30*time.Second)
	require.True(t, f.replicas[0].pacer.Paused(f.now))
	for range 5 {
		f.replicas[0].pacer.Give(f.now)
	}
	require.Zero(t, f.replicas[0].pacer.Available(f.now), "not even what was given back")
	f.drive(time.Second, plenty) // what the others have been granted already
	require.Zero(t, f.drive(28*time.Second, plenty))
	for i, r := range f.replicas {
		require.True(t, r.pacer.Paused(f.now), "replica %d", i)
	}
	require.Positive(t, f.drive(2*time.Second, plenty))
	require.Less(t, f.rate, 600.0, "the time of the pause does not count for the ramp")
}

func TestASlowDownIsToldEvenWhenTheDatabaseWasAway(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := granted(t, now, 100)
	for range 5 {
		p.Answered(now, true, 0)
	}
	require.Zero(t, p.Available(now), "the rest of the grant is not spent")
	ask, ok := p.Next(now)
	require.True(t, ok)
	require.True(t, ask.Slow)
	require.Zero(t, ask.Want)
	p.Failed(now, ask)
	again, ok := p.Next(now.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, ask, again)
	p.Granted(now, again, notifier.Grant{Rate: 500})
	_, ok = p.Next(now.Add(2 * time.Second))
	require.False(t, ok)
}

func TestAFewDevicesOverTheirOwnLimitDoNotSlowTheRest(t *testing.T) {
	t.Parallel()
	p := notifier.NewPacer(1000)
	for second := range 20 {
		at := time.Unix(1_700_000_000+int64(second), 0)
		for i := range 1000 {
			require.False(t, p.Answered(at, i >= 100 && i%50 == 0, time.Minute)) // two in a hundred
		}
	}
	quiet := time.Unix(1_700_000_100, 0)
	require.False(t, p.Answered(quiet, true, time.Minute))
	require.False(t, p.Answered(quiet, true, time.Minute), "two of two are not many either")
	require.False(t, p.Paused(quiet))
	require.True(t, p.Answered(quiet, true, time.Minute))
	require.True(t, p.Paused(quiet))
}

func TestBackoffStartsAtTenSecondsAndObeysTheProvider(t *testing.T) {
	t.Parallel()
	for range 100 {
		require.GreaterOrEqual(t, notifier.Backoff(1, 0), 10*time.Second)
		require.Less(t, notifier.Backoff(1, 0), 12*time.Second+time.Millisecond)
		require.GreaterOrEqual(t, notifier.Backoff(3, 0), 40*time.Second)
		require.LessOrEqual(t, notifier.Backoff(1000, 0), 12*time.Minute)
		require.GreaterOrEqual(t, notifier.Backoff(5, 3*time.Second), 3*time.Second)
		require.Less(t, notifier.Backoff(5, 3*time.Second), 4*time.Second)
	}
}
