package sqlledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

// Removing must cost what is removed, not what is kept.
func TestNothingIsRemovedByAScan(t *testing.T) {
	t.Parallel()
	l := New(sqldbtest.SQLite(t))
	set := l.idSet()
	for name, tc := range map[string]struct {
		query string
		args  []any
		want  []string
	}{
		"deliveries":        {oldDeliveries, []any{1, 1}, []string{"SEARCH d USING INDEX deliveries_created (created_at<?)"}},
		"replaced versions": {replacedVersions, []any{1, 1}, []string{"SEARCH n USING INDEX notifications_replaced (created_at<?)", "sqlite_autoindex_deliveries_1 (notification_id=?)"}},
		"keys": {unseenKeys, []any{"r", 1, 1, 1}, []string{
			"SEARCH n USING INDEX notifications_seen (rule_id=? AND seen_at<?)", "sqlite_autoindex_deliveries_1 (notification_id=?)",
			"sqlite_autoindex_notifications_1 (rule_id=? AND key=? AND version<?)",
		}},
		"runs":            {oldRuns, []any{"r", 1, 1}, []string{"SEARCH r USING INDEX sqlite_autoindex_runs_1 (rule_id=? AND tick_at<?)"}},
		"last clean tick": {lastCleanTick, []any{"r"}, []string{"SEARCH runs USING INDEX sqlite_autoindex_runs_1 (rule_id=?)"}},
		"bad rows":        {deleteBadRows(""), []any{1, 1}, []string{"SEARCH bad_rows USING COVERING INDEX sqlite_autoindex_bad_rows_1", "INDEX bad_rows_seen (first_seen<?)"}},
		"verdicts":        {oldFrequency, []any{1, 1}, []string{"SEARCH frequency USING INDEX frequency_at (at<?)"}},
		"inbox reads": {onSet(deleteReads, set), []any{"[]", 1}, []string{
			"SEARCH inbox_reads USING COVERING INDEX sqlite_autoindex_inbox_reads_1", "INDEX inbox_reads_notification (notification_id=?)",
		}},
		"a set of attempts":   {onSet(deleteAttempts, set), []any{"[]"}, []string{"SEARCH attempts USING COVERING INDEX attempts_delivery (delivery_id=?)"}},
		"a set of deliveries": {onSet(deleteDeliveries, set), []any{"[]"}, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &statement{args: tc.args}
			s.text(tc.query)
			got := planOf(t, l, s)
			for _, want := range tc.want {
				require.Contains(t, got, want)
			}
			require.NotRegexp(t, `SCAN (?:[^j]|j[^s])`, got, "only the batch is read through")
			require.NotContains(t, got, "TEMP B-TREE")
		})
	}
}
