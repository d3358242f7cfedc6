package notifier_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

// Whatever the caps and the order of events, no window ever holds more than its limit, and who waits
// as long as was said gets room.
func TestNoWindowHoldsMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		categories := []string{"race", "tips"}
		classes := []notifier.Class{notifier.Marketing, notifier.Service, notifier.Transactional}
		caps := make(notifier.FrequencyCaps, rapid.IntRange(1, 3).Draw(t, "caps"))
		for i := range caps {
			caps[i] = notifier.FrequencyCap{
				Category: rapid.SampledFrom([]string{"", "race", "tips"}).Draw(t, "category"),
				Limit:    rapid.IntRange(1, 4).Draw(t, "limit"), Window: time.Duration(rapid.IntRange(1, 100).Draw(t, "window")) * time.Second,
				Over: rapid.SampledFrom([]notifier.FrequencyOver{notifier.OverDrop, notifier.OverDelay}).Draw(t, "over"),
			}
			if rapid.Bool().Draw(t, "all classes") {
				caps[i].Classes = classes
			}
		}
		now, expiry := gateNow, gateNow.Add(24*time.Hour)
		var told []notifier.Admitted
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "step")) * time.Second)
			req := notifier.FrequencyRequest{
				User: "ann", Category: rapid.SampledFrom(categories).Draw(t, "category"), Class: rapid.SampledFrom(classes).Draw(t, "class"), ExpiresAt: expiry,
			}
			v := caps.Admit(now, req, told)
			if !v.Until.IsZero() {
				require.True(t, v.Until.After(now))
				require.Equal(t, notifier.FrequencyVerdict{}, caps.Admit(v.Until, req, told))
				require.NotEqual(t, notifier.FrequencyVerdict{}, caps.Admit(v.Until.Add(-1), req, told))
				continue
			}
			if v.State == "" {
				told = append(told, notifier.Admitted{Category: req.Category, Class: req.Class, At: now})
			}
			for _, c := range caps {
				for _, end := range told {
					n := 0
					for _, a := range told {
						if (notifier.FrequencyCaps{c}).Cover(a.Category, a.Class) && a.At.After(end.At.Add(-c.Window)) && !a.At.After(end.At) {
							n++
						}
					}
					require.LessOrEqual(t, n, c.Limit)
				}
			}
		}
	})
}

func TestOfSeveralCapsOneThatDropsWins(t *testing.T) {
	t.Parallel()
	told := []notifier.Admitted{{Category: "race", Class: notifier.Marketing, At: gateNow.Add(-time.Minute)}}
	req := notifier.FrequencyRequest{Category: "race", Class: notifier.Marketing, ExpiresAt: gateNow.Add(10 * time.Hour)}
	hour := notifier.FrequencyCap{Limit: 1, Window: time.Hour, Over: notifier.OverDelay}
	day := notifier.FrequencyCap{Limit: 1, Window: 5 * time.Hour, Over: notifier.OverDelay}
	require.Equal(t, told[0].At.Add(5*time.Hour), notifier.FrequencyCaps{hour, day}.Admit(gateNow, req, told).Until)
	req.ExpiresAt = gateNow.Add(2 * time.Hour)
	require.Equal(t, notifier.FrequencyVerdict{State: notifier.Expired}, notifier.FrequencyCaps{hour, day}.Admit(gateNow, req, told))
	day.Over = notifier.OverDrop
	require.Equal(t, notifier.FrequencyVerdict{State: notifier.Suppressed}, notifier.FrequencyCaps{hour, day}.Admit(gateNow, req, told))
	require.Equal(t, notifier.FrequencyVerdict{}, notifier.FrequencyCaps{}.Admit(gateNow, req, told))
}

func (w *world) capped(caps ...notifier.FrequencyCap) {
	w.configure = func(c *notifier.Config) { c.Caps = caps }
}

func TestACapHoldsForAllDevicesOfAUserAndAllReplicas(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.capped(notifier.FrequencyCap{Category: "race", Limit: 2, Window: time.Hour, Over: notifier.OverDrop})
		for i := range 6 {
			w.device(fmt.Sprint("a", i), "ann")
		}
		w.device("b1", "bob")
		w.mute("cid", "race")
		w.device("c1", "cid")
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			if n < 3 {
				return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"} // it counts, and once
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			for i := range 4 {
				w.race(fmt.Sprint("e", i), 4*time.Minute)
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		one, two := w.start(ctx, rulesYAML, "replica-1", w.ledger), w.start(ctx, rulesYAML, "replica-2", w.ledger)
		time.Sleep(5 * time.Minute)
		cancel()
		require.NoError(t, <-one)
		require.NoError(t, <-two)
		require.Equal(t, map[string]int{"sent": 14, "suppressed/frequency_cap": 14, "suppressed/muted": 4}, w.states())
		byUser := map[string][]string{}
		for _, p := range w.attempts() {
			user := p.Target.Value.Reveal()[:len("tok-a")]
			byUser[user] = append(byUser[user], p.Message.Title)
		}
		for user, titles := range byUser {
			slices.Sort(titles)
			require.Len(t, slices.Compact(titles), 2, user)
		}
	})
}

func TestACapThatDelaysLetsTheRestComeLaterOrExpire(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.capped(notifier.FrequencyCap{Category: "race", Classes: []notifier.Class{notifier.Marketing}, Limit: 1, Window: 90 * time.Second, Over: notifier.OverDelay})
		w.device("a1", "ann")
		w.device("a2", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			for i := range 4 { // room for one now, and for two more before they start
				w.race(fmt.Sprint("e", i), 4*time.Minute)
			}
		}()
		w.run(6 * time.Minute)
		require.Equal(t, map[string]int{"sent": 6, "expired/frequency_cap": 2}, w.states())
		var at []time.Time
		for _, p := range w.attempts() {
			if p.Target.Value.Reveal() == "tok-a1" {
				at = append(at, p.at)
			}
		}
		require.Len(t, at, 3)
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i].Sub(at[i-1]), 90*time.Second-10*time.Millisecond)
		}
	})
}

func TestWhatWasNeverToldTakesNoRoom(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.capped(notifier.FrequencyCap{Category: "race", Limit: 1, Window: time.Hour, Over: notifier.OverDrop})
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.device("b2", "bob")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			if p.Message.Title == "soon e1" && p.Target.Value.Reveal() != "tok-b2" {
				return notifier.Outcome{Verdict: notifier.VerdictRejected, Code: "INVALID_ARGUMENT"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			time.Sleep(10 * time.Second)
			w.race("e2", 2*time.Minute)
		}()
		w.run(time.Minute)
		require.Equal(t, []string{"soon e1→tok-b2", "soon e2→tok-a1"}, w.accepted(), "bob was told of the first on his other phone")
		require.Equal(t, 2, w.states()["suppressed/frequency_cap"])
	})
}

// Without the counts, what is capped waits, and what is not goes out.
func TestWithoutTheCountsNothingCappedIsSent(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.capped(notifier.FrequencyCap{Category: "race", Limit: 1, Window: time.Hour, Over: notifier.OverDrop})
		w.device("a1", "ann")
		w.runWhile(time.Minute, func() {
			time.Sleep(2 * time.Second)
			w.exec(`ALTER TABLE frequency RENAME TO frequency_away`)
			w.race("e1", 4*time.Minute)
			w.settle("b1", "ann", "WON")
			time.Sleep(time.Minute)
			require.Equal(t, []string{"won b1→tok-a1"}, w.accepted())
			w.exec(`ALTER TABLE frequency_away RENAME TO frequency`)
		})
		require.Equal(t, []string{"soon e1→tok-a1", "won b1→tok-a1"}, w.accepted())
	})
}
