package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestPlanRun(t *testing.T) {
	t.Parallel()
	tick := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	rule := &notifier.Rule{
		Identity: "i", Watermark: &notifier.Watermark{Lookback: 2 * time.Minute, MaxWindow: time.Hour},
		Sweep: &notifier.Sweep{Every: time.Hour, Lookback: 24 * time.Hour},
	}
	longAgo := tick.Add(-30 * 24 * time.Hour)
	at := func(d time.Duration) time.Time { return tick.Add(-d) }

	require.Equal(t, notifier.RunWindow{Since: tick, Until: tick, StartAt: tick}, notifier.PlanRun(rule, nil, tick),
		"a rule that never ran starts at its first tick")

	started := *rule
	started.Start = at(time.Hour)
	require.Equal(t, at(time.Hour), notifier.PlanRun(&started, nil, tick).Since, "or where it says")

	w := notifier.PlanRun(rule, &notifier.Progress{Identity: "i", StartAt: longAgo, Position: at(time.Minute), SweptAt: at(time.Minute)}, tick)
	require.Equal(t, notifier.RunWindow{Since: at(3 * time.Minute), Until: tick, StartAt: longAgo}, w)

	w = notifier.PlanRun(rule, &notifier.Progress{Identity: "i", StartAt: at(2 * time.Minute), Position: at(time.Minute), SweptAt: at(time.Minute)}, tick)
	require.Equal(t, at(2*time.Minute), w.Since, "never before the start")

	w = notifier.PlanRun(rule, &notifier.Progress{Identity: "i", StartAt: longAgo, Position: at(time.Minute), SweptAt: at(time.Hour)}, tick)
	require.True(t, w.Sweep)
	require.Equal(t, at(3*time.Minute), w.Since, "the news is read first, and by itself")
	require.Equal(t, at(24*time.Hour), w.SweepSince)
	swept := w.SweepSlices(time.Hour)
	require.Equal(t, at(24*time.Hour), swept[0].Since)
	require.Equal(t, w.Since, swept[len(swept)-1].Until)

	w = notifier.PlanRun(rule, &notifier.Progress{Identity: "other", StartAt: longAgo, Position: at(time.Minute), SweptAt: at(2 * time.Hour)}, tick)
	require.True(t, w.Baseline)
	require.False(t, w.Sweep, "a baseline looks no further back than it must")
	require.Equal(t, w.Since, w.StartAt, "what came before the baseline is never read again")
}

func TestSlicesCoverTheWindowWithoutGaps(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	w := notifier.RunWindow{Since: until.Add(-150 * time.Minute), Until: until}
	got := w.Slices(time.Hour)
	require.Len(t, got, 3)
	at := w.Since
	for _, s := range got {
		require.Equal(t, at, s.Since)
		require.Equal(t, until, s.Now)
		require.LessOrEqual(t, s.Until.Sub(s.Since), time.Hour)
		at = s.Until
	}
	require.Equal(t, until, at)
	require.Len(t, w.Slices(0), 1)
	require.Empty(t, notifier.RunWindow{Since: until, Until: until}.Slices(time.Hour))
}
