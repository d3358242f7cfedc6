package notifier_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// idleRule reads its users again at each tick, as long as they are idle.
const idleRule = `
  - id: idle
    schedule: "@every 1m"
    class: marketing
    query: SELECT user_id FROM idle_users WHERE balance > 0
    key: [user_id]
    audience: {user: user_id}
    forget_after: 1d
    notification: {category: news, title: "idle {{.user_id}}"}
`

// rowCounts are the numbers of rows of the tables that must not grow for ever.
func (w *world) rowCounts() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for _, table := range []string{"runs", "notifications", "deliveries", "attempts", "bad_rows", "inbox_reads"} {
		maps.Copy(out, w.counts(`SELECT '`+table+`', COUNT(*) FROM `+table))
	}
	return out
}

// Weeks in which the notifier runs for some minutes of each day: every kind of
// rule announces something each day, and what is remembered does not grow.
func TestWeeksOfTicksGrowsNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.retention = notifier.Retention{Deliveries: 48 * time.Hour, Runs: 24 * time.Hour}
		yaml := strings.NewReplacer(`"@every 1s"`, `"@every 30s"`, "lookback: 5m}", "lookback: 72h}").Replace(rulesYAML) + idleRule
		w.device("a1", "ann")
		w.add(row{view: "idle_users", cols: notifier.Row{"user_id": "ann"}})
		var want []string
		var flat map[string]int
		want = append(want, "idle ann→tok-a1")
		time.Sleep(15 * time.Second) // no tick is due when it starts or stops
		for day := range 14 {
			go func() {
				time.Sleep(20 * time.Second)
				bet, race := fmt.Sprint("bet", day), fmt.Sprint("race", day)
				w.settle(bet, "ann", "WON")
				w.race(race, 4*time.Minute)
				w.add(row{view: "settled_bets", cols: notifier.Row{"bet_id": fmt.Sprint("bad", day), "user_id": "ann", "outcome": "DRAWN"}})
				time.Sleep(time.Minute)
				w.settle(bet, "ann", "LOST")
				w.change(race, "POSTPONED")
				w.exec(`INSERT INTO inbox_reads (user_id, notification_id, read_at) SELECT 'ann', MAX(id), 1 FROM notifications WHERE rule_id = 'settled'`)
			}()
			want = append(want, fmt.Sprintf("won bet%d→tok-a1", day), fmt.Sprintf("corrected bet%d→tok-a1", day),
				fmt.Sprintf("soon race%d→tok-a1", day), fmt.Sprintf("changed race%d→tok-a1", day))
			w.runWith(yaml, "replica-1", 150*time.Second)
			if day == 6 {
				flat = w.rowCounts()
			}
			if day > 6 {
				require.Equal(t, flat, w.rowCounts(), "day %d", day)
			}
			time.Sleep(24*time.Hour - 150*time.Second)
		}
		slices.Sort(want)
		require.Equal(t, want, w.accepted())
		for table, n := range flat {
			require.Positive(t, n, table)
		}
	})
}

func TestTheKeysOfARemovedRuleAreForgottenInTime(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.retention = notifier.Retention{Deliveries: 24 * time.Hour}
		yaml := strings.ReplaceAll(rulesYAML, `"@every 1s"`, `"@every 10s"`)
		w.device("a1", "ann")
		w.add(row{view: "idle_users", cols: notifier.Row{"user_id": "ann"}})
		w.runWith(yaml+idleRule, "replica-1", 70*time.Second)
		time.Sleep(20 * time.Hour)
		w.runWith(yaml, "replica-1", 70*time.Second)
		w.runWith(yaml+idleRule, "replica-1", 70*time.Second)
		require.Equal(t, []string{"idle ann→tok-a1"}, w.accepted(), "it has come back soon enough")
		time.Sleep(30 * time.Hour)
		w.settle("bet1", "ann", "WON")
		w.runWith(yaml, "replica-1", 70*time.Second)
		require.Equal(t, map[string]int{"settled": 1}, w.counts(`SELECT rule_id, COUNT(*) FROM notifications GROUP BY 1`))
	})
}

// Its query does not ask whether the race is over.
const everyRace = `
rules:
  - id: races
    schedule: "@every 1h"
    class: marketing
    query: SELECT event_id, starts_at FROM all_races WHERE TRUE
    key: [event_id]
    audience: all
    expires: starts_at
    notification: {category: race, title: "race {{.event_id}}"}
`

func TestAnExpiredRowThatIsReadForWeeksStaysKnown(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(everyRace)})
		require.NoError(t, err)
		rule, _ := set.Get("races")
		planner := notifier.NewPlanner(notifier.PlannerConfig{Source: w, Ledger: w.ledger, Owner: "r", Metrics: notifier.NewMetrics(nil), Log: zerolog.Nop()})
		janitor := notifier.NewJanitor(w.ledger, notifier.NewRules(set), notifier.Retention{Deliveries: 24 * time.Hour}, notifier.NewMetrics(nil), zerolog.Nop())
		soon := time.Now().Add(5 * time.Minute).UTC().Format(time.RFC3339)
		w.add(row{view: "all_races", cols: notifier.Row{"event_id": "e1", "starts_at": soon}})
		hours := func(n int) {
			for range n {
				require.NoError(t, planner.Tick(t.Context(), rule, time.Now().Truncate(time.Second)))
				_, _, err := w.ledger.FanOut(t.Context(), 100)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				require.NoError(t, janitor.Run(ctx))
				cancel()
			}
		}
		seq := func() int {
			return w.counts(`SELECT 'max', seq FROM sqlite_sequence WHERE name = 'notifications'`)["max"]
		}
		hours(24 * 7)
		require.Equal(t, 1, seq(), "it has been one notification all the time")
		// Once it is not read any more it is forgotten; read again, it makes no delivery.
		rows := w.rows
		w.rows = nil
		hours(30)
		require.Zero(t, w.counts(`SELECT 'n', COUNT(*) FROM notifications`)["n"])
		w.rows = rows
		w.device("a1", "ann")
		hours(2)
		require.Equal(t, 2, seq())
		require.Empty(t, w.states())
	})
}

// reading is one step of a history of reads and removals.
type reading struct {
	do    string
	after time.Duration // how much time passes before it
	late  time.Duration // how long after its arrival a row can be read
}

// Whatever the sequence of reads, failures, removals and reloads: no row is
// announced twice, and none is lost that was visible in time.
func TestNoRowIsAnnouncedTwiceHoweverKeysAreForgotten(t *testing.T) {
	t.Parallel()
	step := rapid.Custom(func(rt *rapid.T) reading {
		return reading{
			do:    rapid.SampledFrom([]string{"row", "row", "tick", "tick", "tick", "cut", "remove", "remove", "short", "long"}).Draw(rt, "do"),
			after: time.Duration(rapid.SampledFrom([]int{0, 1, 30, 90, 300}).Draw(rt, "minutes")) * time.Minute,
			late:  time.Duration(rapid.SampledFrom([]int{0, 0, 5, 60, 400}).Draw(rt, "late")) * time.Minute,
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(step, 5, 30).Draw(rt, "steps")
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = history(t, steps) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// history plays steps and returns what went wrong.
func history(t *testing.T, steps []reading) string {
	db, err := sqldb.Open(t.Context(), "sqlite::memory:", sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = sqldb.Migrate(t.Context(), db)
	require.NoError(t, err)
	w := &world{t: t, db: db, ledger: sqlledger.New(db), tries: map[string]int{}}
	compile := func(yaml string) *notifier.RuleSet {
		set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(yaml)})
		require.NoError(t, err)
		return set
	}
	const lookback = 10 * time.Minute
	short := strings.Replace(rulesYAML, "lookback: 10s, max_window: 10m}\n    sweep: {every: 1m, lookback: 5m}", "lookback: 10m, max_window: 1h}", 1)
	long := strings.Replace(short, "max_window: 1h}", "max_window: 1h}\n    sweep: {every: 1m, lookback: 30d}", 1)
	sets := map[string]*notifier.RuleSet{"short": compile(short), "long": compile(long)}
	rules := notifier.NewRules(sets["short"])
	planner := notifier.NewPlanner(notifier.PlannerConfig{Source: w, Ledger: w.ledger, Owner: "r", Metrics: notifier.NewMetrics(nil), Log: zerolog.Nop()})
	janitor := notifier.NewJanitor(w.ledger, rules, notifier.Retention{Deliveries: time.Hour, Runs: time.Hour}, notifier.NewMetrics(nil), zerolog.Nop())

	arrivals := map[string]reading{}
	announced := map[string]int{} // by bet
	last := 0                     // the newest notification that has been counted
	tick := func(fails bool) {
		w.setFault(func(string) error {
			if fails {
				return errCut
			}
			return nil
		})
		rule, _ := rules.Get("settled")
		err := planner.Tick(t.Context(), rule, time.Now().Truncate(time.Second))
		require.Equal(t, fails && err != nil, err != nil)
		for more := true; more; {
			_, more, err = w.ledger.FanOut(t.Context(), 100)
			require.NoError(t, err)
		}
		newest := w.counts(fmt.Sprintf(`SELECT key, COUNT(*) FROM notifications WHERE id > %d GROUP BY key`, last))
		last = w.counts(`SELECT 'max', COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'notifications'), 0)`)["max"]
		for key, n := range newest {
			announced[key] += n
		}
		// Everything that is due is sent at once.
		w.exec(`UPDATE deliveries SET state = 'sent', finished_at = $1 WHERE state = 'queued'`, time.Now().UnixMicro())
	}
	w.device("a1", "ann")
	tick(false) // the rule begins
	for i, s := range append(steps, reading{do: "tick", after: 9 * time.Minute}) {
		time.Sleep(s.after + time.Second)
		switch s.do {
		case "row":
			bet := fmt.Sprint("bet", i)
			arrivals[`["`+bet+`"]`] = s
			w.settleAt(bet, "ann", "WON", time.Now(), time.Now().Add(s.late))
			time.Sleep(time.Second) // a tick does not read what arrives in its own second
		case "tick", "cut":
			tick(s.do == "cut")
		case "remove":
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			require.NoError(t, janitor.Run(ctx))
			cancel()
		default:
			rules.Replace(sets[s.do])
		}
	}
	for key, s := range arrivals {
		switch n := announced[key]; {
		case n > 1:
			return fmt.Sprintf("%s was announced %d times", key, n)
		case n == 0 && s.late < lookback:
			return fmt.Sprintf("%s was lost: %v %v", key, announced, steps)
		}
	}
	return ""
}
