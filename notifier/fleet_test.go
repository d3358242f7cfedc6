package notifier_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// replica starts one more replica and returns what ends it, in good order.
func (w *world) replica(yaml, owner string) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := w.start(ctx, yaml, owner, w.ledger)
	return func() {
		cancel()
		require.NoError(w.t, <-done)
	}
}

// runsOf counts the runs of a rule by replica since a time.
func (w *world) runsOf(rule string, since time.Time) map[string]int {
	w.t.Helper()
	rows, err := w.db.SQL().QueryContext(w.t.Context(), `SELECT owner FROM runs WHERE rule_id = $1 AND started_at >= $2`, rule, since.UnixMicro())
	require.NoError(w.t, err)
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var owner string
		require.NoError(w.t, rows.Scan(&owner))
		out[owner]++
	}
	require.NoError(w.t, rows.Err())
	return out
}

func TestTwoReplicasRunEachTickOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		first, second := w.replica(rulesYAML, "replica-1"), w.replica(rulesYAML, "replica-2")
		time.Sleep(20*time.Second + 500*time.Millisecond)
		first()
		second()
		require.Equal(t, map[string]int{"settled": 20, "soon": 21, "changed": 20}, w.counts(`SELECT rule_id, COUNT(*) FROM runs GROUP BY 1`),
			"soon, which has no watermark, has run the tick that was due at the start")
		require.Empty(t, w.counts(`SELECT rule_id, COUNT(*) FROM runs GROUP BY rule_id, tick_at HAVING COUNT(*) > 1`))
	})
}

// seldom is a rule that nobody would run again soon when its one run fails.
const seldom = `
rules:
  - id: seldom
    schedule: "@every 10m"
    class: transactional
    query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    ttl: {for: 48h}
    notification: {category: win, title: "{{.bet_id}}", body: "{{.outcome}}"}
`

// begunAndGone begins the run of a tick as a replica that is then killed.
func (w *world) begunAndGone(yaml, rule string, tick time.Time) notifier.Run {
	w.t.Helper()
	set := ruleSet(w.t, yaml)
	r, _ := set.Get(rule)
	run, ok, err := w.ledger.Begin(w.t.Context(), notifier.BeginRun{
		Rule: rule, Identity: r.Identity, TickAt: tick, Owner: "killed", Generation: set.Generation(), Lease: 20 * time.Second,
		Plan: func(p *notifier.Progress, now time.Time) notifier.RunWindow { return notifier.PlanRun(r, p, now) },
	})
	require.NoError(w.t, err)
	require.True(w.t, ok)
	return run
}

func TestTheRunOfAKilledReplicaIsDoneAgainBeforeTheNextTickIsDue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.runWith(seldom, "replica-1", 11*time.Minute) // the rule begins with its first tick
		w.settle("bet1", "ann", "WON")
		second, third := w.replica(seldom, "replica-2"), w.replica(seldom, "replica-3")
		time.Sleep(time.Until(time.Now().Truncate(10*time.Minute).Add(10*time.Minute)) - time.Second)
		w.begunAndGone(seldom, "seldom", time.Now().Add(time.Second).UTC())
		began := time.Now()
		time.Sleep(3 * time.Minute) // a lease, half a minute of patience, and looks twice a minute
		second()
		third()
		require.Equal(t, []string{"bet1→tok-a1"}, w.accepted())
		runs := w.runsOf("seldom", began)
		require.Equal(t, 2, runs["killed"]+runs["replica-2"]+runs["replica-3"], "the one that was lost, and one more: %v", runs)
	})
}

func TestOfDifferentRulesThoseOfTheNewestReplicaAreInForce(t *testing.T) {
	t.Parallel()
	newer := strings.ReplaceAll(withExtra, "won {{.bet_id}}", "you won {{.bet_id}}")
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		old := w.replica(rulesYAML, "old")
		time.Sleep(5 * time.Second)
		next := w.replica(newer, "new")
		time.Sleep(time.Second + 500*time.Millisecond)
		since := time.Now()
		for i := range 40 {
			w.settle(string(rune('a'+i%26))+string(rune('a'+i/26)), "ann", "WON")
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		require.Empty(t, w.runsOf("settled", since)["old"], "older rules take no ticks")
		require.NotEmpty(t, w.runsOf("extra", since)["new"])
		// The old replica has claimed some of what only the new one knows, and has left them to it.
		require.Len(t, w.accepted(), 80)
		require.Equal(t, map[string]int{"sent": 80}, w.states())
		next()

		since = time.Now()
		time.Sleep(10 * time.Second)
		require.NotEmpty(t, w.runsOf("settled", since)["old"], "when the newest has left, the next ones are in force")
		old()
	})
}

func TestANewestReplicaThatHangsIsReplacedByOlderRules(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		old := w.replica(rulesYAML, "old")
		time.Sleep(2 * time.Second)
		_, err := w.ledger.Join(t.Context(), notifier.Replica{Owner: "hangs", Generation: "newer"})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		since := time.Now()
		time.Sleep(5 * time.Second)
		require.Empty(t, w.runsOf("settled", since))
		time.Sleep(notifier.ReplicaLife + 5*time.Second)
		require.NotEmpty(t, w.runsOf("settled", since))
		old()
	})
}

func TestATickThatIsEarlyByTheDatabasesClockWaits(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		set := ruleSet(t, rulesYAML)
		rule, _ := set.Get("settled")
		begin := func(tick time.Time) error {
			_, _, err := w.ledger.Begin(t.Context(), notifier.BeginRun{
				Rule: rule.ID, Identity: rule.Identity, TickAt: tick, Owner: "ahead", Generation: set.Generation(), Lease: time.Second,
				Plan: func(p *notifier.Progress, now time.Time) notifier.RunWindow { return notifier.PlanRun(rule, p, now) },
			})
			return err
		}
		var early *notifier.EarlyTickError
		require.ErrorAs(t, begin(time.Now().Add(time.Minute)), &early)
		require.InDelta(t, 60, early.By.Seconds(), 0.1)
		require.NoError(t, begin(time.Now().Add(time.Second)), "clocks that are kept in time differ a little")

		// A planner whose clock is ahead waits for the tick.
		w.exec(`DELETE FROM runs`)
		planner := notifier.NewPlanner(notifier.PlannerConfig{Source: w, Ledger: w.ledger, Owner: "ahead", Metrics: notifier.NewMetrics(nil)})
		began := time.Now()
		require.NoError(t, planner.Tick(t.Context(), rule, began.Add(10*time.Second)))
		require.InDelta(t, 9, time.Since(began).Seconds(), 1.1)
		require.Equal(t, 1, w.runsOf("settled", began)["ahead"])
	})
}

func TestABaselineAnnouncesWhatArrivedSinceTheLastRun(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("old", "ann", "WON")
		}()
		w.run(5*time.Second + 100*time.Millisecond)
		w.settle("new", "ann", "WON") // while nobody is running
		time.Sleep(2 * time.Second)
		changed := strings.Replace(rulesYAML, "version: [outcome]", "version: [outcome, user_id]", 1)
		w.runWith(changed, "replica-1", 10*time.Second)
		require.Equal(t, []string{"won new→tok-a1", "won old→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"released": 2, "baseline": 1}, w.counts(`SELECT state, COUNT(*) FROM notifications GROUP BY 1`))
	})
}
