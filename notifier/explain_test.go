package notifier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// nobody is a directory that knows no user.
type nobody struct{}

func (nobody) Devices(context.Context, devices.UserID) ([]devices.Device, error) { return nil, nil }

func (nobody) Preferences(context.Context, devices.UserID) (devices.Preferences, error) {
	return devices.Preferences{}, nil
}

// explain tells the story of the world's notifications, by their ids.
func (w *world) explain(id notifier.NotificationID) notifier.Explanation {
	w.t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
	require.NoError(w.t, err)
	x, err := notifier.NewExplainer(notifier.ExplainerConfig{Ledger: w.ledger, Directory: nobody{}, Rules: func() *notifier.RuleSet { return rules }})
	require.NoError(w.t, err)
	e, err := x.Explain(w.t.Context(), notifier.ExplainRequest{ID: id})
	require.NoError(w.t, err)
	return e
}

// What a gate stopped may have been shown before: nobody may be told that it was not.
func TestWhatMayHaveBeenToldIsNotSaidToBeNotTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			w.suppress(notifier.Suppression{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll})
			return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"}
		})
		w.runWhile(time.Minute, func() {
			time.Sleep(3 * time.Second)
			w.settle("b1", "ann", "WON")
		})
		require.Equal(t, map[string]int{"suppressed/self_exclusion": 1}, w.states())
		e := w.explain(1)
		require.Len(t, e.Deliveries, 1)
		require.Regexp(t, `^Perhaps told: an attempt was made whose answer was lost. It was not tried again: ann must not be sent to: self_exclusion`,
			e.Deliveries[0].Explanation)
	})
}

// The notification of a user who was erased says so, and nothing about a device.
func TestWhatIsLeftOfAnErasedUserSaysSo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone", "ann")
		w.runWhile(10*time.Second, func() {
			time.Sleep(3 * time.Second)
			w.settle("b1", "ann", "WON")
		})
		require.Equal(t, map[string]int{"sent": 1}, w.states())
		_, _, _, err := w.ledger.EraseUser(t.Context(), "ann", 100)
		require.NoError(t, err)
		require.Equal(t, "It was for one user, who has been erased since: what became of it is not kept.", w.explain(1).Summary)
	})
}
