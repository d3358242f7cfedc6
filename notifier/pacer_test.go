package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// drive takes all that the pacer gives for d, looking every 10 ms, and returns how much that was.
func drive(p *notifier.Pacer, from time.Time, d time.Duration) (sends int, end time.Time) {
	for now := from; now.Before(from.Add(d)); now = now.Add(10 * time.Millisecond) {
		if n := p.Available(now); n > 0 {
			p.Take(now, n)
			sends += n
		}
	}
	return sends, from.Add(d)
}

func TestPacerClimbsForAMinuteAndThenKeepsItsRate(t *testing.T) {
	t.Parallel()
	p := notifier.NewPacer(1000)
	now := time.Unix(1_700_000_000, 0)
	first, now := drive(p, now, time.Second)
	require.Less(t, first, 250)
	_, now = drive(p, now, time.Minute)
	full, now := drive(p, now, 10*time.Second)
	require.InDelta(t, 10_000, full, 300)
	// After a pause it climbs again.
	after, _ := drive(p, now.Add(10*time.Minute), time.Second)
	require.Less(t, after, 250)
}

func TestPacerHalvesOnceASecondAndRecovers(t *testing.T) {
	t.Parallel()
	p := notifier.NewPacer(1000)
	_, now := drive(p, time.Unix(1_700_000_000, 0), 2*time.Minute)
	require.InDelta(t, 1000, p.Rate(), 1)
	for range 50 {
		p.Answered(now, true) // fifty answers tell of one burst
	}
	require.InDelta(t, 500, p.Rate(), 1)
	for i := range 30 {
		for range 5 {
			p.Answered(now.Add(time.Duration(i+2)*time.Second), true)
		}
	}
	require.Greater(t, p.Rate(), 10.0, "it never stops altogether")
	_, now = drive(p, now.Add(40*time.Second), 90*time.Second)
	require.InDelta(t, 1000, p.Rate(), 1, "at %s", now)
}

func TestAFewDevicesOverTheirOwnLimitDoNotSlowTheRest(t *testing.T) {
	t.Parallel()
	p := notifier.NewPacer(1000)
	_, now := drive(p, time.Unix(1_700_000_000, 0), 2*time.Minute)
	for second := range 20 {
		at := now.Add(time.Duration(second) * time.Second)
		for i := range 1000 {
			p.Answered(at, i >= 100 && i%50 == 0) // two in a hundred
		}
	}
	require.InDelta(t, 1000, p.Rate(), 1)
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
