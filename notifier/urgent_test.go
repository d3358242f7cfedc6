package notifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// leisurely has rules of which one is not urgent.
var leisurely = strings.Replace(rulesYAML, "    expires: starts_at\n", "    expires: starts_at\n    urgency: normal\n", 1)

// order counts what was accepted until as many urgent ones were as given.
func (w *world) order(urgent int) (high, normal int) {
	for _, p := range w.attempts() {
		if p.verdict != notifier.VerdictSent {
			continue
		}
		if p.Message.Urgency == notifier.High {
			high++
		} else {
			normal++
		}
		if high == urgent {
			break
		}
	}
	return high, normal
}

func TestUrgentOnesGoFirstWhenAProviderRecovers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 600 {
			user := "zoe"
			if i < 200 {
				user = "ann"
			}
			w.device(fmt.Sprintf("d%03d", i), user)
		}
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "unavailable", Status: 503}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 4*time.Minute)
			time.Sleep(5 * time.Second) // the breaker is open
			w.settle("bet1", "ann", "WON")
			time.Sleep(2 * time.Second)
			w.setAnswer(func(notifier.Push, int) notifier.Outcome { return sent() })
		}()
		w.runWith(leisurely, "replica-1", 40*time.Second)
		require.Equal(t, map[string]int{"sent": 800}, w.states())
		high, normal := w.order(200)
		require.Equal(t, 200, high)
		require.Less(t, normal, 120, "a fifth")
	})
}

func TestTheRestDoesNotStarveBehindUrgentOnes(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 400 {
			user := "zoe"
			if i < 250 {
				user = "ann"
			}
			w.device(fmt.Sprintf("d%03d", i), user)
		}
		go func() {
			time.Sleep(2 * time.Second)
			for i := range 4 {
				w.settle(fmt.Sprint("bet", i), "ann", "WON")
			}
			w.race("e1", 4*time.Minute)
		}()
		w.runWith(leisurely, "replica-1", 40*time.Second)
		require.Equal(t, map[string]int{"sent": 1400}, w.states())
		_, before := w.order(300)
		high, after := w.order(800)
		require.Equal(t, 800, high)
		require.Greater(t, after-before, 25)
		require.Less(t, after-before, 100)
	})
}
