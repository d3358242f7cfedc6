package setup_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// The rules that hold differ in nothing that would announce anything anew.
func TestHoldProvisionalChangesOneRule(t *testing.T) {
	t.Parallel()
	text, err := setup.Rules()
	require.NoError(t, err)
	held, err := setup.HoldProvisional(text)
	require.NoError(t, err)
	before, err := notifier.CompileRules(notifier.RuleSource{YAML: text})
	require.NoError(t, err)
	after, err := notifier.CompileRules(notifier.RuleSource{YAML: held})
	require.NoError(t, err)
	hold, err := time.ParseDuration(setup.Hold)
	require.NoError(t, err)
	for _, rule := range before.All() {
		got, ok := after.Get(rule.ID)
		require.True(t, ok)
		require.Equal(t, rule.Identity, got.Identity)
		if rule.ID != "bet-settled" {
			require.Equal(t, rule.Query, got.Query)
			require.Nil(t, got.Provisional)
			continue
		}
		require.Contains(t, got.Query, "status, ROWTIME")
		require.Contains(t, got.Query, "FROM settled_bets_with_status\n")
		require.Equal(t, &notifier.Provisional{Column: "status", Values: []string{"PROVISIONAL"}, Hold: hold}, got.Provisional)
	}
}
