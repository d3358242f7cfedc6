package notifier_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func TestTheSmallerBoundIsTheLimit(t *testing.T) {
	t.Parallel()
	growth := &notifier.Growth{Times: 10, Over: 1000}
	for name, c := range map[string]struct {
		rule    notifier.Rule
		largest int
		want    int
	}{
		"none":                    {notifier.Rule{}, 200, 0},
		"absolute":                {notifier.Rule{MaxDeliveries: 500}, 200, 500},
		"no history":              {notifier.Rule{MaxGrowth: growth}, 0, 0},
		"no history, absolute":    {notifier.Rule{MaxGrowth: growth, MaxDeliveries: 500}, 0, 500},
		"grown":                   {notifier.Rule{MaxGrowth: growth}, 200, 2000},
		"small":                   {notifier.Rule{MaxGrowth: growth}, 2, 1000},
		"grown, absolute smaller": {notifier.Rule{MaxGrowth: growth, MaxDeliveries: 500}, 200, 500},
		"grown, absolute larger":  {notifier.Rule{MaxGrowth: growth, MaxDeliveries: 50_000}, 200, 2000},
	} {
		require.Equal(t, c.want, c.rule.Limit(c.largest), name)
	}
}

func TestMaxGrowthIsCompiled(t *testing.T) {
	t.Parallel()
	with := func(text string) (*notifier.RuleSet, error) {
		return notifier.CompileRules(notifier.RuleSource{YAML: []byte(strings.Replace(rulesYAML, "audience: {user: user_id}", "audience: {user: user_id}\n    "+text, 1))})
	}
	set, err := with("max_growth: {times: 10}")
	require.NoError(t, err)
	rule, _ := set.Get("settled")
	require.Equal(t, &notifier.Growth{Times: 10, Over: notifier.DefaultGrowthOver}, rule.MaxGrowth)
	for text, want := range map[string]string{
		"max_growth: {times: 1}":            "max_growth.times",
		"max_growth: {over: 5}":             "max_growth.times",
		"max_growth: {times: 2, over: -1}":  "max_growth.over",
		"max_growth: {times: 2, under: 10}": "max_growth.under",
	} {
		_, err := with(text)
		require.ErrorContains(t, err, want)
	}
}

// grownVariable says how many rows the result of the rule jumps to in
// TestARunThatHasGrownIsHeldUntilAnOperatorDecides.
const grownVariable = "BUGLE_TEST_GROWN_ROWS"

// A rule whose result jumps is held; released, each goes out once; discarded, none does, and later
// ticks and sweeps that read the same rows again bring none of them back.
func TestARunThatHasGrownIsHeldUntilAnOperatorDecides(t *testing.T) {
	t.Parallel()
	usual, jump := 200, 10_000
	if text := os.Getenv(grownVariable); text != "" {
		var err error
		jump, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	require.Greater(t, jump, 10*usual)
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules := strings.Replace(rulesYAML, "audience: {user: user_id}", "audience: {user: user_id}\n    max_growth: {times: 10, over: 300}", 1)
		rules = strings.Replace(rules, `schedule: "@every 1s"`, `schedule: "@every 5s"`, 1)
		control, run := w.controlled(rules, "replica-1")
		settle := func(prefix string, n int) {
			for i := range n {
				w.settle(fmt.Sprintf("%s%05d", prefix, i), "ann", "WON")
			}
		}
		held := func() notifier.RunRecord {
			runs, err := w.ledger.Runs(t.Context(), notifier.RunQuery{State: notifier.RunHeld, Limit: 10})
			require.NoError(t, err)
			require.Len(t, runs, 1)
			return runs[0]
		}
		accepted := func(n int) {
			t.Helper()
			for range 300 {
				if len(w.accepted()) >= n {
					break
				}
				time.Sleep(2 * time.Second)
			}
			require.Len(t, w.accepted(), n)
		}
		run(time.Minute, func() {
			time.Sleep(7500 * time.Millisecond) // news is what comes after the first tick
			settle("usual", usual)
			accepted(usual) // a first run has no history

			settle("lost", jump)
			time.Sleep(15 * time.Second) // ticks read the same rows again, as far as the lookback
			r := held()
			require.Equal(t, int64(10*usual), r.Limit)
			require.Equal(t, int64(10*usual+1), r.Planned)
			sample, err := control.Sample(t.Context(), r.ID, 3)
			require.NoError(t, err)
			require.Len(t, sample, 3)
			require.Equal(t, "won lost00000", sample[0].Texts[""].Title)
			require.Equal(t, 1, sample[0].Devices)
			_, err = control.Discard(t.Context(), operator, r.ID)
			require.NoError(t, err)
			_, err = control.Sample(t.Context(), r.ID, 3)
			require.ErrorIs(t, err, notifier.ErrRunNotHeld)
			time.Sleep(90 * time.Second) // sweeps read them all again
			require.Len(t, w.accepted(), usual, "nothing comes back")

			settle("sent", jump)
			time.Sleep(15 * time.Second)
			_, err = control.Release(t.Context(), operator, held().ID)
			require.NoError(t, err)
			accepted(usual + jump)
			settle("more", 11*usual) // which would have been too many before
			accepted(usual + jump + 11*usual)
		})
		got := map[string]int{}
		for _, s := range w.accepted() {
			got[s]++
		}
		require.Len(t, got, usual+jump+11*usual, "each once, and what an operator let pass is history")
		for s, n := range got {
			require.Equal(t, 1, n, s)
			require.NotContains(t, s, "lost")
		}
	})
}
