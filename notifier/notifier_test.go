package notifier_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestEachNewsReachesEachDeviceOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("a2", "ann")
		w.device("b1", "bob")
		w.settle("old", "ann", "WON") // history: before the first tick
		time.Sleep(5 * time.Second)
		go func() {
			time.Sleep(3 * time.Second)
			w.settle("bet1", "ann", "WON")
			w.race("e1", time.Minute)
		}()
		w.run(30 * time.Second)
		want := []string{"soon e1→tok-a1", "soon e1→tok-a2", "soon e1→tok-b1", "won bet1→tok-a1", "won bet1→tok-a2"}
		require.Equal(t, want, w.accepted())
		// A restart reads the same rows again.
		w.run(5 * time.Second)
		require.Equal(t, want, w.accepted())
		require.Equal(t, map[string]int{"sent": 5}, w.states())
	})
}

func TestAFailedRunKeepsTheWatermarkAndItsRowsAreAnnouncedOnceByTheNext(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		// Without the sweep, which would find the row even if the watermark had passed it.
		rules := strings.Replace(rulesYAML, "sweep: {every: 1m, lookback: 5m}", "", 1)
		require.NotEqual(t, rulesYAML, rules)
		w.runWith(rules, "replica-1", 2*time.Second) // the first tick sets the start
		w.setFault(func(query string) error {
			if strings.Contains(query, "settled_bets") {
				return errCut
			}
			return nil
		})
		go func() {
			time.Sleep(time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(40 * time.Second) // far beyond the lookback
			w.setFault(nil)
		}()
		w.runWith(rules, "replica-1", 30*time.Second)
		require.Empty(t, w.accepted(), "a run that was cut must not release")
		require.Positive(t, w.counts(`SELECT state, COUNT(*) FROM runs GROUP BY 1`)["failed"])
		w.runWith(rules, "replica-1", 30*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

func TestLateRowsWithinTheLookbackAreRead(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(5 * time.Second)
			now := time.Now()
			w.settleAt("late", "ann", "LOST", now, now.Add(8*time.Second))
		}()
		w.run(30 * time.Second)
		require.Equal(t, []string{"lost late→tok-a1"}, w.accepted())
	})
}

func TestTheSweepFindsAndCountsRowsThatTheLookbackMissed(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(5 * time.Second)
			now := time.Now()
			w.settleAt("very-late", "ann", "LOST", now, now.Add(90*time.Second))
		}()
		w.run(80 * time.Second)
		require.Empty(t, w.accepted())
		w.run(70 * time.Second)
		require.Equal(t, []string{"lost very-late→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"n": 1}, w.counts(`SELECT 'n', SUM(swept) FROM runs`))
	})
}

func TestCorrectionsGoToThoseWhoWereToldAndOlderVersionsAreIgnored(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		start := time.Now()
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(5 * time.Second)
			w.mute("ann", "loss") // whatever is muted since
			w.settle("bet1", "ann", "LOST")
			time.Sleep(5 * time.Second)
			// A standby serves an older state again.
			w.settleAt("bet1", "ann", "VOIDED-LONG-AGO", start.Add(time.Second), time.Now())
			w.settle("bet1", "ann", "WON")
		}()
		w.run(30 * time.Second)
		require.Equal(t, []string{"corrected bet1→tok-a1", "corrected bet1→tok-a1", "won bet1→tok-a1"}, w.accepted())
		var last notifier.NotificationID
		threads := map[string]bool{}
		for _, p := range w.attempts() {
			require.Greater(t, p.Message.NotificationID, last, "the sequence number grows")
			last = p.Message.NotificationID
			threads[p.Message.Thread] = true
		}
		require.Len(t, threads, 1, "a correction replaces what it corrects")
		require.Equal(t, map[string]int{"versions": 3}, w.counts(`SELECT 'versions', MAX(version) FROM notifications WHERE rule_id = 'settled'`))
	})
}

func TestACorrectionBeforeAnythingWasSentIsOrdinaryNews(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			if strings.HasPrefix(p.Message.Title, "won") {
				return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(4 * time.Second)
			w.settle("bet1", "ann", "LOST")
		}()
		w.run(60 * time.Second)
		require.Equal(t, []string{"lost bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1, "superseded/newer": 1}, w.states())
	})
}

func TestFollowersAreOnlyThoseWhoWereTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.mute("bob", "race")
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			time.Sleep(5 * time.Second)
			w.device("c1", "cid") // came after the race was announced
			w.change("e1", "POSTPONED")
		}()
		w.run(20 * time.Second)
		require.Equal(t, []string{"changed e1→tok-a1", "soon e1→tok-a1"}, w.accepted())
		pushes := w.attempts()
		require.Equal(t, pushes[0].Message.Thread, pushes[1].Message.Thread, "the change replaces the announcement")
		require.Equal(t, map[string]int{"sent": 2, "suppressed/muted": 1}, w.states())
	})
}

func TestNoRequestBeginsAfterExpiry(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable", After: 3 * time.Second}
		})
		var starts time.Time
		go func() {
			time.Sleep(2 * time.Second)
			starts = time.Now().Add(20 * time.Second)
			w.race("e1", 20*time.Second)
		}()
		w.run(60 * time.Second)
		require.Greater(t, len(w.attempts()), 3)
		for _, p := range w.attempts() {
			require.True(t, p.at.Before(starts), "attempt at %s, race at %s", p.at, starts)
		}
		require.Equal(t, map[string]int{"expired": 1}, w.counts(`SELECT state, COUNT(*) FROM deliveries GROUP BY 1`))
	})
}

func TestWhatExpiresWhileNothingCanBeSentEndsToo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictBlocked, Code: "unauthenticated", Status: 401}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(3 * time.Second) // it has been refused, and the lane is paused
			w.race("e1", 20*time.Second)
		}()
		w.run(50 * time.Second)
		require.Equal(t, map[string]int{"queued": 1, "expired/ttl": 1}, w.states())
		require.Equal(t, map[string]int{"n": 0}, w.counts(`SELECT 'n', SUM(attempts) FROM deliveries`), "blocked attempts are not counted")
		w.setAnswer(nil)
		w.run(60 * time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

func TestAnUnknownOutcomeIsRepeatedWithTheSameIds(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			if n == 1 {
				return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "reset"}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(30 * time.Second)
		pushes := w.attempts()
		require.Len(t, pushes, 2)
		require.Equal(t, pushes[0].Message.NotificationID, pushes[1].Message.NotificationID)
		require.Equal(t, pushes[0].Message.Thread, pushes[1].Message.Thread)
		require.GreaterOrEqual(t, pushes[1].at.Sub(pushes[0].at), 10*time.Second)
		require.Equal(t, map[string]int{"unknown": 1, "sent": 1}, w.counts(`SELECT verdict, COUNT(*) FROM attempts GROUP BY 1`))
	})
}

func TestADeadTargetIsRetiredUnlessItHasBeenReplaced(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
			switch p.Target.Value.Reveal() {
			case "tok-b1":
				// While the provider answers, the app reports a new token.
				w.exec(`UPDATE devices SET target_value = 'tok-b2', generation = 2 WHERE id = 'b1'`)
				fallthrough
			case "tok-a1":
				return notifier.Outcome{Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404}
			}
			return sent()
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			w.settle("bet2", "bob", "WON")
			time.Sleep(3 * time.Second)
			w.settle("bet3", "ann", "WON")
		}()
		w.run(20 * time.Second)
		require.Equal(t, []string{"won bet2→tok-b2"}, w.accepted())
		require.Equal(t, map[string]int{"active": 1, "retired": 1}, w.counts(`SELECT state, COUNT(*) FROM devices GROUP BY 1`))
		require.Len(t, w.attempts(), 3, "nothing is tried at a retired target")
	})
}

func TestGatesLookAtTheDeviceAsItIsWhenItsTurnComes(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.device("c1", "cid")
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable"}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			w.settle("bet2", "bob", "WON")
			w.settle("bet3", "cid", "WON")
			time.Sleep(3 * time.Second)
			w.exec(`UPDATE devices SET state = 'inactive' WHERE id = 'a1'`)
			w.exec(`UPDATE devices SET user_id = 'eve' WHERE id = 'b1'`)
			w.mute("cid", "win")
			w.setAnswer(nil)
		}()
		w.run(40 * time.Second)
		require.Empty(t, w.accepted())
		require.Equal(t, map[string]int{"cancelled/device_inactive": 1, "cancelled/device_reassigned": 1, "suppressed/muted": 1}, w.states())
	})
}

func TestAChangedIdentityAnnouncesNothingOld(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(5 * time.Second)
		require.Len(t, w.accepted(), 1)
		changed := strings.Replace(rulesYAML, "key: [bet_id]", "key: [bet_id, user_id]", 1)
		go func() {
			time.Sleep(3 * time.Second)
			w.settle("bet2", "ann", "WON")
		}()
		w.runWith(changed, "replica-1", 10*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
	})
}

func TestARunThatWouldSendTooMuchIsHeld(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		limited := strings.Replace(rulesYAML, "audience: {user: user_id}", "audience: {user: user_id}\n    max_deliveries: 2", 1)
		go func() {
			time.Sleep(2500 * time.Millisecond)
			for _, bet := range []string{"bet1", "bet2", "bet3"} {
				w.settle(bet, "ann", "WON")
			}
			time.Sleep(5 * time.Second)
			w.settle("bet4", "ann", "WON") // the next run is none the worse
		}()
		w.runWith(limited, "replica-1", 20*time.Second)
		require.Equal(t, []string{"won bet4→tok-a1"}, w.accepted())
		held := w.counts(`SELECT 'id', id FROM runs WHERE state = 'held'`)
		require.Contains(t, held, "id")
		require.NoError(t, w.ledger.ReleaseHeld(t.Context(), notifier.RunID(held["id"])))
		w.runWith(limited, "replica-1", 20*time.Second)
		require.Len(t, w.accepted(), 4)
		require.ErrorIs(t, w.ledger.DiscardHeld(t.Context(), notifier.RunID(held["id"])), notifier.ErrRunLost)
	})
}

func TestBadRowsAreSetAsideAndTheRunGoesOn(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "EXPLODED")
			w.add(row{view: "settled_bets", cols: notifier.Row{"bet_id": nil, "user_id": "ann", "outcome": "WON"}})
			w.settle("bet2", "ann", "WON")
		}()
		w.run(10 * time.Second)
		require.Equal(t, []string{"won bet2→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"unknown_variant": 1, "null_key": 1}, w.counts(`SELECT reason, COUNT(*) FROM bad_rows GROUP BY 1`))
	})
}

func TestTwoReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for _, id := range []string{"a1", "a2", "a3", "a4"} {
			w.device(id, "ann")
		}
		go func() {
			time.Sleep(2 * time.Second)
			for _, bet := range []string{"bet1", "bet2", "bet3", "bet4", "bet5"} {
				w.settle(bet, "ann", "WON")
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		second := w.start(ctx, rulesYAML, "replica-2", w.ledger)
		w.run(10 * time.Second)
		cancel()
		require.NoError(t, <-second)
		require.Len(t, w.accepted(), 20)
		require.Equal(t, map[string]int{"sent": 20}, w.states())
		runs := w.counts(`SELECT CAST(tick_at AS TEXT), COUNT(*) FROM runs WHERE rule_id = 'settled' GROUP BY 1`)
		for tick, n := range runs {
			require.Equal(t, 1, n, tick)
		}
	})
}

func TestAnOutageIsCaughtUpByTheWatermark(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.run(3 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(45 * time.Minute) // all replicas are down
		w.settle("bet2", "ann", "WON")
		w.run(3 * time.Second)
		require.Equal(t, []string{"won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
		require.Less(t, w.counts(`SELECT 'n', COUNT(*) FROM runs WHERE rule_id = 'settled'`)["n"], 10)
	})
}

func TestALapsedLeaseIsTakenOverAndItsOutcomeCountsAsUnknown(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		stuck := make(chan struct{})
		w.setAnswer(func(notifier.Push, int) notifier.Outcome { <-stuck; return sent() })
		ctx, cancel := context.WithCancel(t.Context())
		first := w.start(ctx, rulesYAML, "replica-1", w.ledger)
		time.Sleep(5 * time.Second)
		// The replica stands still with the delivery in its hands, long past its lease.
		cancel()
		time.Sleep(2 * time.Minute)
		w.setAnswer(nil)
		w.runWith(rulesYAML, "replica-2", 30*time.Second)
		require.Equal(t, map[string]int{"sent": 1}, w.states())
		require.Equal(t, map[string]int{"n": 1}, w.counts(`SELECT 'n', unknowns FROM deliveries`))
		close(stuck) // what it does now is not recorded
		require.NoError(t, <-first)
		require.Equal(t, map[string]int{"replica-2": 1}, w.counts(`SELECT owner, COUNT(*) FROM attempts GROUP BY 1`))
	})
}

func TestATickThatWasMissedIsMadeUpForAtTheStart(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		daily := strings.Replace(rulesYAML, `schedule: "@every 1s"`, `schedule: "0 12 * * *"`, 1)
		time.Sleep(time.Until(time.Now().Truncate(24 * time.Hour).Add(36*time.Hour - time.Second)))
		w.runWith(daily, "replica-1", 2*time.Second) // its first tick, at noon, sets the start
		time.Sleep(time.Hour)
		w.settle("bet1", "ann", "WON")
		time.Sleep(23*time.Hour + 30*time.Minute) // nothing runs at the next noon
		w.settle("bet2", "ann", "WON")            // which this one has missed by half an hour
		w.runWith(daily, "replica-1", time.Minute)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

func TestALongReadKeepsItsRun(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.run(2500 * time.Millisecond) // between two ticks
		w.settle("bet1", "ann", "WON")
		var slowed atomic.Bool
		w.setFault(func(query string) error {
			if strings.Contains(query, "settled_bets") && slowed.CompareAndSwap(false, true) {
				time.Sleep(50 * time.Second) // longer than a run may stay without a sign of life
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		second := w.start(ctx, rulesYAML, "replica-2", w.ledger)
		w.run(70 * time.Second)
		cancel()
		require.NoError(t, <-second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.Empty(t, w.counts(`SELECT error, COUNT(*) FROM runs WHERE rule_id = 'settled' AND state = 'failed' GROUP BY 1`))
	})
}

func TestAKilledReplicaKeepsItsRuleForSecondsOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.run(2500 * time.Millisecond) // between two ticks
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		rule, _ := rules.Get("settled")
		tick := time.Now()
		_, ok, err := w.ledger.Begin(t.Context(), notifier.BeginRun{
			Rule: rule.ID, Identity: rule.Identity, TickAt: tick, Owner: "killed", Lease: 20 * time.Second, Generation: rules.Generation(),
			Plan: func(p *notifier.Progress, _ time.Time) notifier.RunWindow { return notifier.PlanRun(rule, p, tick) },
		})
		require.NoError(t, err)
		require.True(t, ok)
		w.settle("bet1", "ann", "WON")
		w.run(30 * time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}
