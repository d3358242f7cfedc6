package notifier_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func (w *world) quiet(user string, q devices.Quiet) {
	w.t.Helper()
	text, err := json.Marshal(q)
	require.NoError(w.t, err)
	w.exec(`INSERT INTO preferences (user_id, quiet, updated_at) VALUES ($1, $2, 1)`, user, string(text))
}

// now is the time of day of the virtual world, in UTC.
func timeOfDay(t time.Time) devices.TimeOfDay {
	return devices.TimeOfDay(t.UTC().Hour()*60 + t.UTC().Minute())
}

func TestQuietHoursPostponeUntilTheirEndOrTheExpiry(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.configure = func(c *notifier.Config) {
			c.Loud, c.Spread = map[notifier.Class]bool{notifier.Service: true}, 2*time.Minute
		}
		w.device("a1", "ann")
		w.device("a2", "ann")
		w.device("b1", "bob")
		end := time.Now().Truncate(time.Minute).Add(6 * time.Minute)
		w.quiet("ann", devices.Quiet{From: timeOfDay(end.Add(-10 * time.Hour)), To: timeOfDay(end)})
		w.runWhile(6*time.Minute, func() {
			time.Sleep(2 * time.Second)
			w.settle("b1", "ann", "WON")
			w.settle("b2", "ann", "WON")
			w.race("e1", 2*time.Minute)
			time.Sleep(3 * time.Minute)
			require.Equal(t, map[string]int{"queued/quiet_hours": 4, "expired/quiet_hours": 2, "sent": 1}, w.states())
			w.settle("b1", "ann", "LOST") // takes the place of what waits
			w.mute("cid", "win")
			w.exec(`UPDATE preferences SET muted = '["win"]' WHERE user_id = 'ann'`) // and this is gated again
		})
		require.Equal(t, []string{"lost b1→tok-a1", "lost b1→tok-a2", "soon e1→tok-b1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 3, "superseded/newer": 2, "suppressed/muted": 2, "expired/quiet_hours": 2}, w.states())
		for _, p := range w.attempts() {
			if p.Message.Category == "race" {
				continue
			}
			require.False(t, p.at.Before(end), "%s at %s", p, p.at)
			require.True(t, p.at.Before(end.Add(2*time.Minute+time.Second)), "%s at %s", p, p.at)
		}
	})
}

// Losses can be off until a user chooses them, by the configuration alone.
func TestLossesCanBeOffByDefault(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.configure = func(c *notifier.Config) { c.OptIn = map[string]bool{"loss": true} }
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.exec(`INSERT INTO preferences (user_id, opted_in, updated_at) VALUES ('bob', '["loss"]', 1)`)
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("b1", "ann", "LOST")
			w.settle("b2", "bob", "LOST")
			w.settle("b3", "ann", "WON")
			time.Sleep(5 * time.Second)
			w.settle("b3", "ann", "LOST") // she was told the wrong thing
		}()
		w.run(20 * time.Second)
		require.Equal(t, []string{"corrected b3→tok-a1", "lost b2→tok-b1", "won b3→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 3, "suppressed/not_opted_in": 1}, w.states())
	})
}
