package notifier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// provisionalYAML is rulesYAML whose settlements are held for a minute while they are provisional.
func provisionalYAML(t *testing.T) string {
	t.Helper()
	rules := strings.Replace(rulesYAML, "    ttl: {for: 1h}\n    variant: outcome\n",
		"    ttl: {for: 1h}\n    provisional: {column: status, values: [PROVISIONAL], hold: 1m}\n    variant: outcome\n", 1)
	require.NotEqual(t, rulesYAML, rules)
	return rules
}

// stage adds a settlement that arrives now and is provisional or not.
func (w *world) stage(bet, user, outcome, status string) {
	cols := notifier.Row{"bet_id": bet, "user_id": user, "outcome": outcome, "status": nil}
	if status != "" {
		cols["status"] = status
	}
	w.add(row{view: "settled_bets", cols: cols})
}

// versions lists the state of each version of the settlements, oldest first.
func (w *world) versions() []string {
	w.t.Helper()
	rows, err := w.db.SQL().QueryContext(w.t.Context(), `SELECT variant, state FROM notifications WHERE rule_id = 'settled' ORDER BY id`)
	require.NoError(w.t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var variant, state string
		require.NoError(w.t, rows.Scan(&variant, &state))
		out = append(out, variant+" "+state)
	}
	require.NoError(w.t, rows.Err())
	return out
}

func TestAProvisionalResultIsHeldUntilItIsConfirmed(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		start := time.Now()
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			w.stage("bet2", "ann", "LOST", "") // a row that does not say is final
			time.Sleep(10 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL") // written once more: it is held no longer for that
			time.Sleep(10 * time.Second)
			w.device("a2", "ann") // the news is of the time at which it is told
			w.stage("bet1", "ann", "WON", "FINAL")
		}()
		w.runWith(provisionalYAML(t), "replica-1", 20*time.Second)
		require.Equal(t, []string{"lost bet2→tok-a1"}, w.accepted())
		require.Equal(t, []string{"WON provisional", "LOST released"}, w.versions())
		w.runWith(provisionalYAML(t), "replica-2", 2*time.Minute)
		require.Equal(t, []string{"lost bet2→tok-a1", "won bet1→tok-a1", "won bet1→tok-a2"}, w.accepted())
		at := w.attempts()[1].at.Sub(start)
		require.Greater(t, at, 22*time.Second)
		require.Less(t, at, 25*time.Second, "at once")
		n, err := w.ledger.Notification(t.Context(), w.attempts()[1].Message.NotificationID)
		require.NoError(t, err)
		require.False(t, n.ConfirmedAt.IsZero())
		require.Equal(t, n.ConfirmedAt, n.HeldUntil)
	})
}

// Its end stands in the database: whichever replica runs then keeps it.
func TestAHoldEndsByItselfWhateverStopsMeanwhile(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		start := time.Now()
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			time.Sleep(3 * time.Second)
			w.setFault(func(string) error { return errCut }) // nothing is read any more
		}()
		w.runWith(provisionalYAML(t), "replica-1", 10*time.Second)
		time.Sleep(30 * time.Second)
		w.runWith(provisionalYAML(t), "replica-2", 20*time.Second)
		require.Empty(t, w.accepted())
		w.runWith(provisionalYAML(t), "replica-3", 10*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		at := w.attempts()[0].at.Sub(start)
		require.GreaterOrEqual(t, at, time.Minute+2*time.Second, "a minute after its row arrived")
		require.Less(t, at, 70*time.Second)
	})
}

func TestNobodyIsToldOfAProvisionalResultThatWasChanged(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			time.Sleep(20 * time.Second)
			w.stage("bet1", "ann", "LOST", "PROVISIONAL")
			time.Sleep(50 * time.Second) // the first hold would be over
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			time.Sleep(5 * time.Second)
			w.stage("bet1", "ann", "LOST", "FINAL")
		}()
		w.runWith(provisionalYAML(t), "replica-1", 5*time.Minute)
		require.Equal(t, []string{"lost bet1→tok-a1"}, w.accepted(), "it corrects nothing that was told")
		require.Equal(t, []string{"WON superseded", "LOST superseded", "WON superseded", "LOST released"}, w.versions())
	})
}

// A final result that is doubted later is corrected once, when that is sure.
func TestAProvisionalCorrectionIsHeldToo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "FINAL")
			w.stage("bet2", "ann", "WON", "FINAL")
			time.Sleep(5 * time.Second)
			w.stage("bet1", "ann", "LOST", "PROVISIONAL")
			w.stage("bet2", "ann", "LOST", "PROVISIONAL")
			time.Sleep(5 * time.Second)
			w.stage("bet1", "ann", "LOST", "FINAL")
			w.stage("bet2", "ann", "WON", "FINAL") // after all
		}()
		w.runWith(provisionalYAML(t), "replica-1", 2*time.Minute)
		require.Equal(t, []string{"corrected bet1→tok-a1", "won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 3, "suppressed/unchanged": 1}, w.states())
	})
}

// An expiry that comes before the hold's end is respected.
func TestWhatExpiresWhileItIsHeldIsNeverTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.Replace(provisionalYAML(t), "    ttl: {for: 1h}\n    provisional", "    expires: until\n    provisional", 1)
		require.NotEqual(t, provisionalYAML(t), rules)
		go func() {
			time.Sleep(2 * time.Second)
			w.add(row{view: "settled_bets", cols: notifier.Row{
				"bet_id": "bet1", "user_id": "ann", "outcome": "WON", "status": "PROVISIONAL",
				"until": time.Now().Add(30 * time.Second).UTC().Format(time.RFC3339Nano),
			}})
		}()
		w.runWith(rules, "replica-1", 2*time.Minute)
		require.Empty(t, w.attempts())
		require.Empty(t, w.states())
		require.Equal(t, []string{"WON released"}, w.versions())
	})
}

// A row that only a failed run has read is held all the same, and from its arrival.
func TestAHoldIsAdopted(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.runWith(provisionalYAML(t), "replica-1", 2*time.Second) // the first tick sets the start
		w.stage("bet1", "ann", "WON", "PROVISIONAL")
		w.setFault(func(string) error { return errCut }) // after the rows
		w.runWith(provisionalYAML(t), "replica-1", 5*time.Second)
		w.setFault(nil)
		w.runWith(provisionalYAML(t), "replica-1", 45*time.Second)
		require.Equal(t, []string{"WON provisional"}, w.versions())
		w.runWith(provisionalYAML(t), "replica-1", 20*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

// While an operator has paused the rule, a hold that ends releases nothing.
func TestAPausedRuleKeepsWhatItHolds(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		by := notifier.Actor{Name: "alice"}
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			time.Sleep(5 * time.Second)
			_ = w.ledger.SetPaused(context.WithoutCancel(t.Context()), by, "settled", true, "")
		}()
		w.runWith(provisionalYAML(t), "replica-1", 2*time.Minute)
		require.Equal(t, []string{"WON provisional"}, w.versions())
		require.NoError(t, w.ledger.SetPaused(t.Context(), by, "settled", false, ""))
		w.runWith(provisionalYAML(t), "replica-1", 10*time.Second)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

// What a run of too many deliveries holds and an operator releases is held on
// while it is provisional.
func TestAReleasedRunHoldsOnToWhatIsProvisional(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("a2", "ann")
		rules := strings.Replace(provisionalYAML(t), "    provisional:", "    max_deliveries: 5\n    provisional:", 1)
		go func() {
			time.Sleep(2500 * time.Millisecond)
			for _, bet := range []string{"bet1", "bet2", "bet3"} {
				w.stage(bet, "ann", "WON", "PROVISIONAL")
			}
			time.Sleep(5 * time.Second)
			w.stage("bet2", "ann", "WON", "FINAL")
			w.stage("bet3", "ann", "LOST", "FINAL") // 2 deliveries: below the limit
		}()
		w.runWith(rules, "replica-1", 20*time.Second)
		require.Equal(t, []string{"lost bet3→tok-a1", "lost bet3→tok-a2"}, w.accepted())
		require.Equal(t, []string{"WON held", "WON held", "WON superseded", "LOST released"}, w.versions())
		run := w.counts(`SELECT 'id', id FROM runs WHERE state = 'held'`)["id"]
		require.NoError(t, w.ledger.ReleaseHeld(t.Context(), notifier.RunID(run)))
		require.Equal(t, []string{"WON provisional", "WON released", "WON superseded", "LOST released"}, w.versions())
		w.runWith(rules, "replica-1", time.Minute)
		require.Equal(t, []string{"WON released", "WON released", "WON superseded", "LOST released"}, w.versions())
	})
}

// A changed identity takes nothing as known that is still held.
func TestAHoldOutlivesANewBaseline(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
		}()
		w.runWith(provisionalYAML(t), "replica-1", 5*time.Second)
		require.Equal(t, []string{"WON provisional"}, w.versions())
		changed := strings.Replace(provisionalYAML(t), "version: [outcome]", "version: [outcome, user_id]", 1)
		w.runWith(changed, "replica-1", 2*time.Minute)
		require.Equal(t, []string{"WON superseded", "WON released"}, w.versions())
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}

// Whatever rows come, and whichever replicas stop and start: nobody is told of a
// provisional result before its hold is over, and everybody of the last result.
func TestHoldsKeepTheirPromiseWhateverComes(t *testing.T) {
	t.Parallel()
	const users, hold = 30, time.Minute
	for seed := range uint64(2) {
		inWorld(t, func(t *testing.T, w *world) {
			rng := rand.New(rand.NewPCG(seed, 15))
			type shown struct {
				outcome string
				final   bool
				at      time.Time
			}
			history := map[string][]shown{}
			for i := range users {
				user := fmt.Sprintf("u%02d", i)
				w.device(user, user)
				at := time.Now().Add(3 * time.Second)
				for range 1 + rng.IntN(4) {
					s := shown{[]string{"WON", "LOST"}[rng.IntN(2)], rng.IntN(3) == 0, at}
					history[user] = append(history[user], s)
					time.AfterFunc(time.Until(at), func() { w.stage(user, user, s.outcome, map[bool]string{true: "FINAL", false: "PROVISIONAL"}[s.final]) })
					at = at.Add(time.Duration(1+rng.IntN(90)) * time.Second)
				}
			}
			w.runWith(provisionalYAML(t), "replica-0", 2*time.Second)
			for i := range 8 {
				ctx, cancel := context.WithCancel(t.Context())
				one, two := w.start(ctx, provisionalYAML(t), fmt.Sprintf("a-%d", i), w.ledger), w.start(ctx, provisionalYAML(t), fmt.Sprintf("b-%d", i), w.ledger)
				time.Sleep(time.Duration(20+rng.IntN(60)) * time.Second)
				cancel()
				require.NoError(t, <-one)
				require.NoError(t, <-two)
			}
			for user, rows := range history {
				last := ""
				for _, p := range w.attempts() {
					if p.Target.Value.Reveal() != "tok-"+user {
						continue
					}
					last = strings.ToUpper(p.Message.Body)
					i := 0
					for j, s := range rows {
						if !s.at.After(p.at) {
							i = j
						}
					}
					// Some row said so before, finally or for as long as the hold.
					ok := false
					for j, s := range rows[:i+1] {
						until := p.at
						for _, n := range rows[j+1 : i+1] {
							if n.outcome != s.outcome {
								until = n.at
								break
							}
						}
						ok = ok || s.outcome == last && (s.final || until.Sub(s.at) >= hold)
					}
					require.True(t, ok, "seed %d: %s was told %s at %s: %v", seed, user, last, p.at, rows)
				}
				require.Equal(t, rows[len(rows)-1].outcome, last, "seed %d: %s: %v", seed, user, rows)
			}
		})
	}
}

// Whoever watches sees what waits, for whom it waits, and what was told although nobody had confirmed it.
func TestMetricsShowWhatIsHeldAndHowHoldsEnd(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		reg := prometheus.NewRegistry()
		w.configure = func(c *notifier.Config) { c.Registerer = reg }
		shows := func(want map[string]float64) {
			t.Helper()
			families, err := reg.Gather()
			require.NoError(t, err)
			got := map[string]float64{}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					name := f.GetName()
					for _, l := range m.GetLabel() {
						name += " " + l.GetValue()
					}
					switch f.GetName() {
					case "bugle_runs_held", "bugle_notifications_provisional":
						got[name] = m.GetGauge().GetValue()
					case "bugle_holds_ended_total":
						got[name] = m.GetCounter().GetValue()
					}
				}
			}
			require.Equal(t, want, got)
		}
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			w.stage("bet2", "ann", "WON", "PROVISIONAL")
			time.Sleep(18 * time.Second)
			shows(map[string]float64{"bugle_runs_held settled": 0, "bugle_notifications_provisional settled": 2})
			w.stage("bet1", "ann", "WON", "FINAL")
			time.Sleep(20 * time.Second)
			shows(map[string]float64{
				"bugle_runs_held settled": 0, "bugle_notifications_provisional settled": 1,
				"bugle_holds_ended_total confirmed settled": 1, "bugle_holds_ended_total elapsed settled": 0,
			})
			time.Sleep(40 * time.Second)
			for i := range 5 {
				w.stage(fmt.Sprintf("many%d", i), "ann", "WON", "FINAL")
			}
			time.Sleep(20 * time.Second)
			shows(map[string]float64{
				"bugle_runs_held settled": 1, "bugle_notifications_provisional settled": 0,
				"bugle_holds_ended_total confirmed settled": 1, "bugle_holds_ended_total elapsed settled": 1,
			})
		}()
		w.runWith(strings.Replace(provisionalYAML(t), "    ttl: {for: 1h}\n    provisional:", "    ttl: {for: 1h}\n    max_deliveries: 4\n    provisional:", 1), "replica-1", 2*time.Minute)
	})
}

// A row that confirms and is seen late confirms nothing that has been provisional again since.
func TestAConfirmationThatIsOlderThanWhatIsHeldConfirmsNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		start := time.Now()
		go func() {
			time.Sleep(2 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			w.add(row{
				view: "settled_bets", rowtime: time.Now().Add(time.Second), visible: time.Now().Add(8 * time.Second),
				cols: notifier.Row{"bet_id": "bet1", "user_id": "ann", "outcome": "WON", "status": "FINAL"},
			})
			time.Sleep(4 * time.Second)
			w.stage("bet1", "ann", "WON", "PROVISIONAL")
			time.Sleep(2 * time.Second)
			w.mu.Lock() // a standby answers from now on, which does not have the newest row yet
			w.rows = w.rows[:len(w.rows)-1]
			w.mu.Unlock()
		}()
		w.runWith(provisionalYAML(t), "replica-1", 30*time.Second)
		require.Empty(t, w.accepted())
		require.Equal(t, []string{"WON provisional"}, w.versions())
		w.runWith(provisionalYAML(t), "replica-1", time.Minute)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.GreaterOrEqual(t, w.attempts()[0].at.Sub(start), time.Minute+2*time.Second)
	})
}
