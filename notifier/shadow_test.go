package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestAShadowRuleTakesNothingAway(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.Replace(rulesYAML, "  - id: changed\n", "  - id: changed\n    mode: shadow\n", 1)
		w.setAnswer(func(p notifier.Push, n int) notifier.Outcome {
			if n == 1 {
				return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			time.Sleep(3 * time.Second)
			w.add(row{view: "upcoming_changed", cols: notifier.Row{"event_id": "e1", "status": "DELAYED"}})
		}()
		w.runWith(rules, "replica-1", 40*time.Second)
		require.Equal(t, []string{"soon e1→tok-a1"}, w.accepted(), "a shadow rule does everything but send")
	})
}
