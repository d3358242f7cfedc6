package notifier_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func TestWhatTheGatesStopDoesNotUseUpThePace(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 1500 {
			w.device(fmt.Sprintf("d%04d", i), fmt.Sprintf("user%d", i))
			w.mute(fmt.Sprintf("user%d", i), "race")
		}
		w.device("z1", "zoe")
		var announced time.Time
		go func() {
			time.Sleep(2 * time.Second)
			announced = time.Now()
			w.race("e1", 4*time.Minute)
		}()
		w.run(30 * time.Second)
		require.Len(t, w.attempts(), 1)
		require.Less(t, w.attempts()[0].at.Sub(announced), 4*time.Second)
	})
}

func TestABlockedPlatformsBacklogDoesNotDelayTheOthers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 1500 {
			w.device(fmt.Sprintf("i%04d", i), "ann")
		}
		w.exec(`UPDATE devices SET platform = 'ios'`)
		w.device("z1", "zoe")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			if p.Platform == devices.IOS {
				return notifier.Outcome{Verdict: notifier.VerdictBlocked, PlatformOnly: true, Code: "third_party_auth_error", Status: 401}
			}
			return sent()
		})
		settled := map[string]time.Time{}
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			for i := range 20 {
				time.Sleep(3 * time.Second)
				bet := fmt.Sprint("z", i)
				settled[bet] = time.Now()
				w.settle(bet, "zoe", "WON")
			}
		}()
		w.run(70 * time.Second)
		var worst time.Duration
		for _, p := range w.attempts() {
			if p.verdict == notifier.VerdictSent {
				worst = max(worst, p.at.Sub(settled[strings.TrimPrefix(p.Message.Title, "won ")]))
			}
		}
		require.Less(t, worst, 5*time.Second)
	})
}
