package notifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestAClockThatWasAheadLeavesNoGap(t *testing.T) {
	t.Parallel()
	tick := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	rule := &notifier.Rule{Identity: "i", Watermark: &notifier.Watermark{Lookback: 2 * time.Minute}}
	w := notifier.PlanRun(rule, &notifier.Progress{Identity: "i", Position: tick.Add(2 * time.Hour)}, tick)
	require.Equal(t, tick.Add(-2*time.Minute), w.Since, "what arrives now is read now")
	require.Len(t, w.Slices(0), 1)
}

func TestAWatermarkAheadOfTheClockGoesBackWithIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.Replace(rulesYAML, "sweep: {every: 1m, lookback: 5m}", "", 1)
		w.runWith(rules, "replica-1", 3*time.Second)
		w.exec(`UPDATE watermarks SET position = position + 7200000000`) // the clock was two hours ahead
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.runWith(rules, "replica-1", 10*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"n": 0}, w.counts(fmt.Sprintf(`SELECT 'n', COUNT(*) FROM watermarks WHERE position > %d`, time.Now().UnixMicro())))
	})
}
