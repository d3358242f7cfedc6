package notifier_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// The user saw "won"; what changed and changed back before anything went out is
// no news.
func TestAChangeThatWasTakenBackBeforeItWasToldIsNoCorrection(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			if p.Message.Body == "LOST" {
				return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(4 * time.Second)
			w.settle("bet1", "ann", "LOST")
			time.Sleep(4 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(4 * time.Second)
			w.setAnswer(nil)
			w.settle("bet1", "ann", "LOST")
		}()
		w.run(time.Minute)
		require.Equal(t, []string{"corrected bet1→tok-a1", "won bet1→tok-a1"}, w.accepted(), "the last change is one")
		require.Equal(t, map[string]int{"sent": 2, "superseded/newer": 1, "suppressed/unchanged": 1}, w.states())
	})
}

// An attempt without an answer may have told the other result.
func TestAChangeThatMayHaveBeenToldIsTakenBackAloud(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			if p.Message.Body == "LOST" {
				return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(4 * time.Second)
			w.settle("bet1", "ann", "LOST")
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(time.Minute)
		require.Equal(t, []string{"corrected bet1→tok-a1", "won bet1→tok-a1"}, w.accepted())
	})
}

// Whatever the results, their times and the provider's answers: what a device
// was told last is the last result, and it is told nothing that it knows.
func TestADeviceIsToldWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	const users = 40
	unchanged := 0
	for seed := range uint64(3) {
		inWorld(t, func(t *testing.T, w *world) {
			rng := rand.New(rand.NewPCG(seed, 6))
			pick := []notifier.Verdict{notifier.VerdictSent, notifier.VerdictRetry, notifier.VerdictRetry, notifier.VerdictUnknown}
			gaps := []time.Duration{10 * time.Millisecond, time.Second, 3 * time.Second, 15 * time.Second}
			last, answers := map[string]string{}, map[string][]notifier.Verdict{}
			var mu sync.Mutex
			for i := range users {
				user := fmt.Sprintf("u%02d", i)
				w.device(user, user)
				for range rng.IntN(6) {
					answers["tok-"+user] = append(answers["tok-"+user], pick[rng.IntN(len(pick))])
				}
				if i%2 == 0 { // half of them are told the first result
					answers["tok-"+user] = append([]notifier.Verdict{notifier.VerdictSent}, answers["tok-"+user]...)
				}
				at := time.Now().Add(2 * time.Second)
				for range 1 + rng.IntN(5) {
					result := []string{"WON", "LOST"}[rng.IntN(2)]
					last[user] = result
					time.AfterFunc(time.Until(at), func() { w.settle(user, user, result) })
					at = at.Add(gaps[rng.IntN(len(gaps))])
				}
			}
			w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
				mu.Lock()
				defer mu.Unlock()
				token := p.Target.Value.Reveal()
				if left := answers[token]; len(left) > 0 {
					answers[token] = left[1:]
					return notifier.Outcome{Verdict: left[0], Code: "unavailable"}
				}
				return sent()
			})
			w.run(3 * time.Minute)
			told := map[string][]push{}
			for _, p := range w.attempts() {
				told[p.Target.Value.Reveal()] = append(told[p.Target.Value.Reveal()], p)
			}
			for user, result := range last {
				require.Empty(t, misled(told["tok-"+user], result), "seed %d: %s %v", seed, user, told["tok-"+user])
			}
			unchanged += w.states()["suppressed/unchanged"]
		})
	}
	require.Positive(t, unchanged)
}

// misled says how attempts for one device have misled its user, "" if they have not.
func misled(attempts []push, last string) string {
	shown, sure := "", true // what the user sees, and whether that is known
	for i, p := range attempts {
		says := strings.ToUpper(p.Message.Body)
		switch p.verdict {
		case notifier.VerdictSent, notifier.VerdictUnknown:
			if sure && says == shown && (i == 0 || attempts[i-1].Message.NotificationID != p.Message.NotificationID) {
				return fmt.Sprintf("attempt %d says %s once more", i, says)
			}
			if strings.HasPrefix(p.Message.Title, "corrected") && shown == "" && sure {
				return fmt.Sprintf("attempt %d corrects what was never said", i)
			}
			sure = p.verdict == notifier.VerdictSent
			shown = says
		case notifier.VerdictRetry, notifier.VerdictGone, notifier.VerdictRejected, notifier.VerdictBlocked:
		}
	}
	if shown != last {
		return fmt.Sprintf("the user sees %s, and the result is %s", shown, last)
	}
	return ""
}
