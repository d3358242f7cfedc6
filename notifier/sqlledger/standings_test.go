package sqlledger_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// Many rules are asked about at once what one is asked about alone.
func TestManyRulesStandAsEachAlone(t *testing.T) {
	t.Parallel()
	for _, kind := range sqldbtest.Databases(t) {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			db := kind.Open(t)
			l := sqlledger.New(db)
			exec := func(query string, args ...any) {
				t.Helper()
				require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, query, args...)
					return err
				}))
			}
			var rules []string
			for i := range 250 { // more than one statement takes
				rules = append(rules, fmt.Sprintf("rule-%d", i))
			}
			exec(`INSERT INTO runs (rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at)
				SELECT 'rule-' || (i % 200), i, CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'released' END, FALSE, 0, 0, 'g', 'x', 0, 1
				FROM (WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n) n`)
			exec(`INSERT INTO watermarks (rule_id, identity, start_at, position, swept_at) VALUES ('rule-1', 'id', 1, 2, 3), ('rule-249', 'id', 4, 5, 6)`)
			by := notifier.Actor{Name: "alice", RequestID: "q"}
			require.NoError(t, l.SetPaused(t.Context(), by, "rule-2", true, "why"))
			require.NoError(t, l.SetPaused(t.Context(), by, "rule-249", true, ""))
			require.NoError(t, l.SetStopped(t.Context(), by, "rule-3", true, "odds"))
			require.NoError(t, l.SetStopped(t.Context(), by, "", true, "all"))

			all, err := l.Standings(t.Context(), rules)
			require.NoError(t, err)
			require.Len(t, all, len(rules))
			for _, rule := range rules {
				alone, err := l.Standing(t.Context(), rule)
				require.NoError(t, err)
				require.Equal(t, alone, all[rule], rule)
			}
			require.NotNil(t, all["rule-1"].Progress)
			require.True(t, all["rule-2"].Control.Paused)
			require.NotNil(t, all["rule-3"].Stop)
			require.NotNil(t, all["rule-3"].LastFailed)
			require.Nil(t, all["rule-230"].LastRun)

			last, err := l.LastRuns(t.Context(), rules, 4)
			require.NoError(t, err)
			require.Len(t, last, 200)
			for rule, runs := range last {
				alone, err := l.Runs(t.Context(), notifier.RunQuery{Rule: rule, Limit: 4})
				require.NoError(t, err)
				require.Equal(t, alone, runs, rule)
			}
			none, err := l.Standings(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, none)
		})
	}
}
