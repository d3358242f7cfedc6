package notifier_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestAHalfOpenBreakerDoesNotChurnTheQueue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 600 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			time.Sleep(14 * time.Second)
			return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(3 * time.Minute)
		claims := w.counts(`SELECT 'n', SUM(claims) FROM deliveries`)["n"]
		require.Less(t, claims, len(w.attempts())+100, "a claim is made to be sent")
	})
}
