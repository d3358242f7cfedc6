package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// cancelledYAML is rulesYAML with the two texts that the built-in rule has for a change.
func cancelledYAML(t *testing.T) string {
	t.Helper()
	rules := strings.Replace(rulesYAML, `notification: {title: "changed {{.event_id}}", body: "{{.status}}"}`, `variant: status
    variants:
      POSTPONED: {title: "postponed {{.event_id}}", body: "later"}
      ABANDONED: {title: "cancelled {{.event_id}}", body: "never"}`, 1)
	require.NotEqual(t, rulesYAML, rules)
	return rules
}

// An abandoned race is called off with those who were told of it, and nobody else.
func TestAnAbandonedRaceIsCalledOffWithThoseWhoWereTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.mute("bob", "race")
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			w.race("e2", time.Hour) // nobody has heard of it
			time.Sleep(5 * time.Second)
			w.change("e1", "ABANDONED")
			w.change("e2", "ABANDONED")
		}()
		w.runWith(cancelledYAML(t), "replica-1", 4*time.Minute)
		require.Equal(t, []string{"cancelled e1→tok-a1", "soon e1→tok-a1"}, w.accepted())
		pushes := w.attempts()
		require.Equal(t, pushes[0].Message.Thread, pushes[1].Message.Thread, "it takes the reminder's place")
		require.Equal(t, map[string]int{"sent": 2, "suppressed/muted": 1}, w.states())
	})
}

// A reminder that is still waiting when the race is abandoned is never sent, and
// neither is the cancellation of what was not told.
func TestAnAbandonedRaceStopsTheReminderThatWaits(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable", After: 15 * time.Second}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			time.Sleep(5 * time.Second)
			w.setAnswer(nil)
			w.change("e1", "ABANDONED")
		}()
		w.runWith(cancelledYAML(t), "replica-1", 4*time.Minute)
		require.Empty(t, w.accepted())
		require.Equal(t, map[string]int{"superseded/newer": 1}, w.states())
	})
}

// A race that has started is not announced: neither one that is read too late nor
// one whose reminder was held up until then.
func TestAStartedRaceIsNotAnnounced(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.exec(`INSERT INTO stops (rule_id, actor, at) VALUES ('soon', 'test', 1)`) // what is queued waits
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 20*time.Second)
			w.race("e2", -time.Second)
			time.Sleep(30 * time.Second)
			w.exec(`DELETE FROM stops`)
		}()
		w.runWith(cancelledYAML(t), "replica-1", time.Minute)
		require.Empty(t, w.attempts())
		require.Equal(t, map[string]int{"expired/stopped": 1}, w.states())
	})
}
