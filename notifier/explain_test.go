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
	return w.explained(notifier.ExplainRequest{ID: id})
}

func (w *world) explained(req notifier.ExplainRequest) notifier.Explanation {
	w.t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
	require.NoError(w.t, err)
	x, err := notifier.NewExplainer(notifier.ExplainerConfig{Ledger: w.ledger, Directory: nobody{}, Rules: func() *notifier.RuleSet { return rules }})
	require.NoError(w.t, err)
	e, err := x.Explain(w.t.Context(), req)
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

// What an operator's stop, or the wait for the first import, held until it expired names that, and not a
// turn that never came. A stop that came later has nothing to do with it.
func TestWhatWasHeldUpUntilItExpiredSaysByWhat(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone", "ann")
		w.stop("", true)
		w.runWhile(5*time.Minute, func() {
			time.Sleep(3 * time.Second)
			w.race("e1", 4*time.Minute)
			time.Sleep(4 * time.Minute)
		})
		require.Equal(t, map[string]int{"expired/stopped": 1}, w.states())
		story := func() string { return w.explain(1).Deliveries[0].Explanation }
		require.Regexp(t, `^Not told: it expired at .*, while sending was stopped: `+operator.Name+` stopped all sending at .* \("test"\)\.$`, story())
		w.stop("", false)
		require.Regexp(t, `while sending was stopped: it has been started again since\.$`, story())
		time.Sleep(time.Minute)
		w.stop("", true)
		require.Regexp(t, `while sending was stopped: it has been started again since\.$`, story())
		w.stop("", false)

		w.configure = func(c *notifier.Config) { c.AwaitImport = true }
		w.runWhile(5*time.Minute, func() {
			time.Sleep(3 * time.Second)
			w.race("e2", 4*time.Minute)
			time.Sleep(4 * time.Minute)
		})
		require.Equal(t, map[string]int{"expired/stopped": 1, "expired/not_imported": 1}, w.states())
		require.Regexp(t, `^Not told: it expired at .*, before it was known who must not be sent to: no import of suppressions had succeeded by then\.$`,
			w.explain(2).Deliveries[0].Explanation)
	})
}

// Who asks why a user was not told of what others were told is answered about that user.
func TestWhoHasNoDeliveryIsToldWhy(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone", "ann")
		w.runWhile(20*time.Second, func() {
			time.Sleep(3 * time.Second)
			w.race("e1", 4*time.Minute)
			w.settle("b1", "ann", "WON")
			time.Sleep(10 * time.Second)
			w.device("late", "bob")
			time.Sleep(3 * time.Second)
			w.change("e1", "ABANDONED")
		})
		about := map[string]notifier.NotificationID{}
		for id := range notifier.NotificationID(3) {
			about[w.explain(id+1).Notification.Rule] = id + 1
		}
		require.Len(t, about, 3)
		ask := func(rule string, req notifier.ExplainRequest) string {
			req.ID = about[rule]
			e := w.explained(req)
			require.Empty(t, e.Deliveries)
			return e.Summary
		}
		require.Regexp(t, `deliveries: 1 sent\..* None of them is to bob\. It went to devices that were active from .*, when it was made, until its deliveries were made, `+
			`and no device of bob was, unless bob has been erased since\.$`, ask("soon", notifier.ExplainRequest{User: "bob"}))
		require.Regexp(t, ` None of them is to the device late\. It went .*, and this one was not\.$`, ask("soon", notifier.ExplainRequest{Device: "late"}))
		require.Regexp(t, ` None of them is to bob\. It went to devices that had been told what it follows and that were active`, ask("changed", notifier.ExplainRequest{User: "bob"}))
		require.Regexp(t, `deliveries: 1 sent\. It is not for bob\.$`, ask("settled", notifier.ExplainRequest{User: "bob"}))
		require.NotContains(t, w.explained(notifier.ExplainRequest{ID: about["soon"], User: "ann"}).Summary, "None")
	})
}

// What keeps a user from being told anything stands at the head of the timeline.
func TestATimelineBeginsWithWhatIsOffForEverybody(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		summary := func(g notifier.Gates) []string {
			x, err := notifier.NewExplainer(notifier.ExplainerConfig{
				Ledger: w.ledger, Directory: nobody{}, Rules: func() *notifier.RuleSet { return rules }, Gates: g,
			})
			require.NoError(t, err)
			told, err := x.Timeline(t.Context(), notifier.TimelineQuery{User: "ann"})
			require.NoError(t, err)
			return told.Summary
		}
		const waits = "Nothing is sent to anybody yet: it is not known who must not be sent to, because no import of suppressions has succeeded."
		const off = "ann has not chosen loss, tips: off until somebody chooses it."
		g := notifier.Gates{AwaitImport: true, OptIn: map[string]bool{"tips": true, "loss": true}}
		require.Equal(t, waits, summary(g)[0])
		require.Contains(t, summary(g), off)
		require.NotContains(t, summary(notifier.Gates{}), waits)
		turn, ok, err := w.ledger.BeginImport(t.Context(), "r", time.Minute, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, w.ledger.EndImport(t.Context(), turn, true, 0))
		require.NotContains(t, summary(g), waits)
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
