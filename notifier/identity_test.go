package notifier_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestAfterAChangedIdentityOldOrdersAndHashesDoNotCount(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		bet := func(bet, outcome string, revision int) {
			w.add(row{view: "settled_bets", cols: notifier.Row{"bet_id": bet, "user_id": "ann", "outcome": outcome, "revision": json.Number(strconv.Itoa(revision))}})
		}
		go func() {
			time.Sleep(2 * time.Second)
			bet("bet1", "WON", 1)
			time.Sleep(20 * time.Second)
			bet("bet2", "WON", 1)
		}()
		w.run(25 * time.Second)
		require.Equal(t, []string{"won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
		changed := strings.NewReplacer("order: rowtime\n    audience: {user: user_id}", "order: revision\n    audience: {user: user_id}").Replace(rulesYAML)
		require.NotEqual(t, rulesYAML, changed)
		go func() {
			time.Sleep(3 * time.Second)
			bet("bet1", "LOST", 2) // not read by the baseline: too old
			bet("bet2", "LOST", 2) // read by the baseline
		}()
		w.runWith(changed, "replica-1", 10*time.Second)
		require.Equal(t, []string{"corrected bet1→tok-a1", "corrected bet2→tok-a1", "won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
	})
}

func TestAfterAChangedVersionTheSameNewsIsNoCorrection(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(5 * time.Second)
		changed := strings.Replace(rulesYAML, "version: [outcome]", "version: [outcome, user_id]", 1)
		go func() {
			time.Sleep(3 * time.Second)
			w.settle("bet1", "ann", "WON") // the same once more, with a newer ROWTIME
		}()
		w.runWith(changed, "replica-1", 10*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}
