package sqlledger_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func TestWhatHasExpiredOrFindsNobodyHoldsNoRun(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("ttl: {for: 1h}", "ttl: {from: settled, for: 1h}\n    max_deliveries: 2").Replace(rules)
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(text)})
	require.NoError(t, err)
	db := sqldbtest.SQLite(t)
	b := &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
	b.devices("ann", 1)
	run, ok := b.begin("settled", "r1")
	require.True(t, ok)
	// A catch-up after a long outage reads mostly what nobody wants to know any more.
	for i, age := range []time.Duration{5 * time.Hour, 4 * time.Hour, 3 * time.Hour, 2 * time.Hour, time.Minute} {
		d, err := b.rule("settled").Draft(notifier.Row{
			"bet": string(rune('a' + i)), "user": "ann", "outcome": "WON", "rowtime": json.Number("1700000000000"),
			"settled": time.Now().Add(-age).UTC().Format(time.RFC3339Nano),
		})
		require.NoError(t, err)
		b.stage(run, d)
	}
	rel, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
	require.NoError(t, err)
	require.Equal(t, notifier.RunReleased, rel.State)
	require.Equal(t, 1, rel.Planned)
}
