package notifier_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func ruleSet(t *testing.T, yaml string) *notifier.RuleSet {
	t.Helper()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(yaml)})
	require.NoError(t, err)
	return set
}

// changed returns rulesYAML with one text replaced.
func changed(t *testing.T, old, replacement string) *notifier.RuleSet {
	t.Helper()
	yaml := strings.Replace(rulesYAML, old, replacement, 1)
	require.NotEqual(t, rulesYAML, yaml)
	return ruleSet(t, yaml)
}

// without returns rulesYAML without the rule settled.
func without(t *testing.T) *notifier.RuleSet {
	t.Helper()
	_, rest, ok := strings.Cut(rulesYAML, "  - id: soon")
	require.True(t, ok)
	return ruleSet(t, "rules:\n  - id: soon"+rest)
}

// reloadable starts a notifier whose rules can be replaced; stop ends it.
func (w *world) reloadable(rules *notifier.RuleSet) (n *notifier.Notifier, stop func()) {
	w.t.Helper()
	n, err := notifier.New(notifier.Config{
		Rules: rules, Source: w, Ledger: w.ledger, Retirer: w, Owner: "replica-1", Log: zerolog.Nop(),
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, func() {
		w.t.Helper()
		cancel()
		require.NoError(w.t, <-done)
	}
}

func TestAChangedScheduleTakesEffectWithoutARestart(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		slow := changed(t, `schedule: "@every 1s"`, `schedule: "@every 24h"`)
		n, stop := w.reloadable(slow)
		defer stop()
		time.Sleep(10 * time.Second)
		w.settle("before", "ann", "WON")
		time.Sleep(10 * time.Second)
		require.Empty(t, w.accepted())

		require.True(t, n.ReplaceRules(ruleSet(t, rulesYAML)))
		require.Equal(t, ruleSet(t, rulesYAML).Generation(), n.Rules().Generation())
		time.Sleep(5 * time.Second) // its first tick sets the start
		w.settle("after", "ann", "WON")
		time.Sleep(5500 * time.Millisecond) // between two ticks
		require.Equal(t, []string{"won after→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{ruleSet(t, rulesYAML).Generation(): 10},
			w.counts(`SELECT generation, COUNT(*) FROM runs WHERE rule_id = 'settled' GROUP BY 1`), "one run for each second since")

		require.True(t, n.ReplaceRules(slow))
		w.settle("too late", "ann", "WON")
		time.Sleep(10 * time.Second)
		require.Len(t, w.accepted(), 1, "the slow schedule holds again")
	})
}

func TestTheSameRulesChangeNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		n, stop := w.reloadable(ruleSet(t, rulesYAML))
		defer stop()
		before := n.Rules()
		time.Sleep(5500 * time.Millisecond)
		require.False(t, n.ReplaceRules(ruleSet(t, "# another comment\n"+rulesYAML)))
		require.Same(t, before, n.Rules())
		time.Sleep(5 * time.Second)
		require.Equal(t, map[string]int{"settled": 10, "soon": 11, "changed": 10}, w.counts(`SELECT rule_id, COUNT(*) FROM runs GROUP BY 1`))
	})
}

func TestWhatIsQueuedIsRenderedWithTheRulesInForce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Status: 503, After: 10 * time.Second}
		})
		n, stop := w.reloadable(ruleSet(t, rulesYAML))
		defer stop()
		time.Sleep(3 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(3 * time.Second)
		require.NotEmpty(t, w.attempts())
		require.True(t, n.ReplaceRules(changed(t, `title: "won {{.bet_id}}"`, `title: "hurrah {{.bet_id}}"`)))
		w.setAnswer(nil)
		time.Sleep(time.Minute)
		require.Equal(t, []string{"hurrah bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1}, w.states(), "the same row is no news under the new rules")
	})
}

func TestARemovedRuleLeavesNothingQueuedAndTakesNoTicks(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Status: 503, After: 10 * time.Second}
		})
		n, stop := w.reloadable(ruleSet(t, rulesYAML))
		defer stop()
		time.Sleep(3 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(3 * time.Second)
		require.True(t, n.ReplaceRules(without(t)))
		w.setAnswer(nil)
		w.settle("bet2", "ann", "WON")
		time.Sleep(time.Minute)
		require.Equal(t, map[string]int{"queued": 1}, w.states(), "another replica may know the rule")
		time.Sleep(6 * time.Minute)
		require.Empty(t, w.accepted())
		require.Equal(t, map[string]int{"cancelled/rule_removed": 1}, w.states())

		// It comes back: what arrived meanwhile, within its lookback and beyond, is caught up with.
		require.True(t, n.ReplaceRules(ruleSet(t, rulesYAML)))
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"won bet2→tok-a1"}, w.accepted())
	})
}

func TestARuleThatIsPausedInItsFileTakesNoTicks(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		n, stop := w.reloadable(ruleSet(t, rulesYAML))
		defer stop()
		time.Sleep(5500 * time.Millisecond)
		require.True(t, n.ReplaceRules(changed(t, "  - id: settled\n", "  - id: settled\n    mode: paused\n")))
		time.Sleep(5 * time.Second)
		require.Equal(t, map[string]int{"settled": 5, "soon": 11, "changed": 10}, w.counts(`SELECT rule_id, COUNT(*) FROM runs GROUP BY 1`))
	})
}

// countedTicks counts ticks, each of which takes a while.
type countedTicks struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *countedTicks) Tick(_ context.Context, rule *notifier.Rule, _ time.Time) error {
	c.mu.Lock()
	c.n[rule.ID]++
	c.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	return nil
}

func (*countedTicks) LastTick(context.Context, *notifier.Rule) time.Time { return time.Now() }

func (*countedTicks) LastRun(context.Context, *notifier.Rule) (notifier.LastRun, error) {
	return notifier.LastRun{}, nil
}

func (c *countedTicks) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.n)
}

func (c *countedTicks) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// A rule that goes and comes again and again, also while it runs, ends up with
// exactly one loop: as many ticks as seconds.
func TestAStormOfReloadsLeavesOneLoopForEachRule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all, fewer := ruleSet(t, rulesYAML), without(t)
		rules := notifier.NewRules(all)
		counted := &countedTicks{n: map[string]int{}}
		s := notifier.NewScheduler(rules, counted, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := range 2000 {
			if i%3 == 0 {
				time.Sleep(7 * time.Millisecond)
			}
			rules.Replace(fewer)
			if i%5 == 0 {
				synctest.Wait()
			}
			rules.Replace(all)
		}
		synctest.Wait()
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1500 * time.Millisecond)))
		counted.clear()
		time.Sleep(10 * time.Second)
		require.Equal(t, map[string]int{"settled": 10, "soon": 10, "changed": 10}, counted.all())
		cancel()
		require.NoError(t, <-done)
	})
}
