package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestAVerdictThatNobodyKnowsCountsAsUnknown(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			if n == 1 {
				return notifier.Outcome{}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(30 * time.Second) // and it can stop: the place in flight is free again
		require.Equal(t, map[string]int{"sent": 1}, w.states())
		require.Equal(t, map[string]int{"n": 1}, w.counts(`SELECT 'n', unknowns FROM deliveries`))
	})
}
