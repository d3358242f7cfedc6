package notifier_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestARotatedTargetIsTriedAgainEvenWhenNothingIsRetired(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 70 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		w.device("b1", "bob")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			switch p.Target.Value.Reveal() {
			case "tok-b2":
				return sent()
			case "tok-b1":
				w.exec(`UPDATE devices SET target_value = 'tok-b2', generation = 2 WHERE id = 'b1'`)
			}
			return notifier.Outcome{Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(10 * time.Second)
			w.settle("bet2", "bob", "WON")
		}()
		w.run(40 * time.Second)
		require.Equal(t, []string{"won bet2→tok-b2"}, w.accepted())
	})
}
