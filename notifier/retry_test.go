package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestARunThatFailedDoesNotWaitForALongSchedule(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.ReplaceAll(rulesYAML, `"@every 1s"`, `"@every 10m"`)
		failed := 0
		w.setFault(func(query string) error {
			if strings.Contains(query, "settled_bets") {
				if failed++; failed == 1 {
					return errCut // a hiccup
				}
			}
			return nil
		})
		go func() {
			time.Sleep(15 * time.Minute)
			w.settle("bet1", "ann", "WON")
		}()
		w.runWith(rules, "replica-1", 22*time.Minute)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}
