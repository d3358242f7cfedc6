package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatACatchUpStagedBeforeItFailedIsReleased(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.Replace(rulesYAML, "sweep: {every: 1m, lookback: 5m}", "", 1)
		w.runWith(rules, "replica-1", 2*time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(25 * time.Minute) // three slices of ten minutes
		w.settle("bet2", "ann", "WON")
		reads := 0
		w.setFault(func(query string) error {
			if strings.Contains(query, "settled_bets") {
				if reads++; reads == 3 {
					return errCut // the third slice
				}
			}
			return nil
		})
		w.runWith(rules, "replica-1", 30*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
		require.Zero(t, w.counts(`SELECT state, COUNT(*) FROM notifications GROUP BY 1`)["staged"])
	})
}
