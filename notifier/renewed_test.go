package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// A race is postponed, and after all on again at the very time that was announced.
func TestWhatIsOnAgainAsItWasReplacesTheChange(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.mute("bob", "race")
		starts := time.Now().Add(4 * time.Minute)
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", time.Until(starts))
			time.Sleep(5 * time.Second)
			w.change("e1", "POSTPONED")
			time.Sleep(5 * time.Second)
			w.drop("upcoming_changed", "e1")
			w.race("e1", time.Until(starts))
			time.Sleep(5 * time.Second)
			w.change("e1", "POSTPONED")
		}()
		w.run(15 * time.Second)
		require.Equal(t, []string{"changed e1→tok-a1", "soon e1→tok-a1", "soon e1→tok-a1"}, w.accepted())
		w.run(2 * time.Minute)
		require.Equal(t, []string{"changed e1→tok-a1", "changed e1→tok-a1", "soon e1→tok-a1", "soon e1→tok-a1"}, w.accepted(),
			"and off again, which is as much news")
		threads := map[string]bool{}
		var said []string
		for _, p := range w.attempts() {
			threads[p.Message.Thread] = true
			said = append(said, strings.Fields(p.Message.Title)[0])
		}
		require.Len(t, threads, 1)
		require.Equal(t, []string{"soon", "changed", "soon", "changed"}, said)
	})
}

// Who never heard of the change knows already that it is on.
func TestWhatIsOnAgainIsNoNewsWithoutTheChange(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		starts := time.Now().Add(4 * time.Minute)
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", time.Until(starts))
			time.Sleep(5 * time.Second)
			w.exec(`UPDATE devices SET state = 'inactive'`)
			w.change("e1", "POSTPONED")
			time.Sleep(5 * time.Second)
			w.exec(`UPDATE devices SET state = 'active'`)
			w.drop("upcoming_changed", "e1")
			w.race("e1", time.Until(starts))
		}()
		w.run(time.Minute)
		require.Equal(t, []string{"soon e1→tok-a1"}, w.accepted())
		require.Equal(t, 1, w.states()["suppressed/unchanged"], "%v", w.states())
	})
}

// A standby that lags behind goes on saying that the race is on.
func TestAnOldRowIsNotOnAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		starts := time.Now().Add(4 * time.Minute)
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", time.Until(starts))
			time.Sleep(5 * time.Second)
			w.race("e1", time.Until(starts)) // entered once more, and then off
			time.Sleep(time.Millisecond)
			w.mu.Lock()
			old := w.rows[len(w.rows)-1]
			w.mu.Unlock()
			w.change("e1", "POSTPONED")
			time.Sleep(3 * time.Second)
			w.mu.Lock()
			w.rows = append(w.rows, old)
			w.mu.Unlock()
		}()
		w.run(time.Minute)
		require.Equal(t, []string{"changed e1→tok-a1", "soon e1→tok-a1"}, w.accepted())
	})
}

// A preview tells it beforehand, and counts who would be asked about.
func TestAPreviewTellsWhatIsAnnouncedAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		control, run := w.controlled(rulesYAML, "replica-1")
		starts := time.Now().Add(4 * time.Minute).Truncate(time.Millisecond)
		preview := func() map[notifier.News]int {
			t.Helper()
			p, err := control.Preview(t.Context(), "soon", notifier.PreviewRequest{})
			require.NoError(t, err)
			for _, n := range p.Notifications {
				require.Equal(t, 1, n.Devices)
				require.Equal(t, "soon e1", n.Texts[""].Title)
			}
			return p.News
		}
		run(time.Second, func() {
			time.Sleep(2 * time.Second)
			w.race("e1", time.Until(starts))
			require.Equal(t, map[notifier.News]int{notifier.NewsNew: 1}, preview())
			time.Sleep(5 * time.Second)
			require.Equal(t, map[notifier.News]int{notifier.NewsKnown: 1}, preview())
			w.change("e1", "POSTPONED")
			time.Sleep(5 * time.Second)
			require.Empty(t, preview())
			w.drop("upcoming_changed", "e1")
			w.race("e1", time.Until(starts))
			require.Equal(t, map[notifier.News]int{notifier.NewsRenewed: 1}, preview())
			before := len(w.accepted())
			time.Sleep(5 * time.Second)
			require.Len(t, w.accepted(), before+1, "and so it is")
			require.Equal(t, map[notifier.News]int{notifier.NewsKnown: 1}, preview())
		})
	})
}
