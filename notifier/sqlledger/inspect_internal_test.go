package sqlledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// planOf returns what SQLite would do.
func planOf(t *testing.T, l *Ledger, s *statement) string {
	t.Helper()
	rows, err := l.db.SQL().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+s.sql.String(), s.args...)
	require.NoError(t, err)
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return strings.Join(steps, "\n")
}

// Every combination of filters is led by an index that also has the order.
func TestNoListOfDeliveriesScansOrSorts(t *testing.T) {
	t.Parallel()
	l := New(sqldbtest.SQLite(t))
	at := time.Now()
	cursor := &notifier.DeliveryCursor{CreatedAt: at, ID: 7, Device: "d"}
	states := []notifier.DeliveryState{"", notifier.Queued, notifier.Leased, notifier.Sent, notifier.Rejected, notifier.Suppressed}
	for bits := range 1 << 6 {
		on := func(i int) bool { return bits&(1<<i) != 0 }
		for _, state := range states {
			q := notifier.DeliveryQuery{State: state, Limit: 50}
			if on(0) {
				q.User = "ann"
			}
			if on(1) {
				q.Device = "d"
			}
			if on(2) {
				q.Notification = 3
			}
			if on(3) {
				q.Rule = "settled"
			}
			if on(4) {
				q.Since, q.Until = at, at
			}
			if on(5) {
				q.After = cursor
			}
			want := "INDEX deliveries_created"
			switch {
			case q.Notification != 0 && (q.Device != "" || q.User == ""):
				want = "INDEX sqlite_autoindex_deliveries_1 (notification_id=?"
			case q.Device != "":
				want = "INDEX deliveries_device (device_id=?"
			case q.User != "":
				want = "INDEX deliveries_user (user_id=?"
			case state == notifier.Rejected || state == notifier.Suppressed:
				want = "INDEX deliveries_unsent (state=?"
			case q.Rule != "":
				want = "INDEX deliveries_rule (rule_id=?"
			}
			s := deliveriesStatement(q)
			got := planOf(t, l, s)
			name := fmt.Sprintf("%+v\n%s\n%s", q, s.sql.String(), got)
			require.Contains(t, got, want, name)
			if q.Notification == 0 && q.After != nil {
				require.NotContains(t, s.sql.String(), "AND created_at <", name) // a second upper bound
			}
			if q.Notification == 0 || q.ByDevice() { // one device's or user's share of a notification is a handful
				require.NotContains(t, got, "TEMP B-TREE", name)
			}
			if want == "INDEX deliveries_created" && q.Since.IsZero() && q.After == nil {
				continue // the newest of all: walked backwards until the page is full
			}
			require.NotContains(t, got, "SCAN", name)
		}
	}
}

// Whatever the filter, a page begins where the one before ended: with two bounds on that side, SQLite seeks
// by the first and reads what lies between for every page.
func TestAPageOfTheAuditBeginsWhereTheOneBeforeEnded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, q := range []notifier.AuditQuery{
		{Forward: true, After: 1000, Limit: 5},
		{Before: 1000, Limit: 5},
		{Forward: true, After: 10, Limit: 5},
		{Before: 5000, Limit: 5},
	} {
		q.Since, q.Until, q.Actor = now, now, "alice"
		s := auditStatement(q, auditIDs{first: 500, last: 2000})
		require.Equal(t, 1, strings.Count(s.sql.String(), "id >"), s.sql.String())
		require.Equal(t, 1, strings.Count(s.sql.String(), "id <"), s.sql.String())
		want := []any{int64(500), int64(2000)}
		switch {
		case q.After == 1000:
			want[0] = int64(1001)
		case q.Before == 1000:
			want[1] = int64(999)
		}
		require.Equal(t, want, s.args[3:5])
	}
}

func TestNoOtherListScansOrSorts(t *testing.T) {
	t.Parallel()
	l := New(sqldbtest.SQLite(t))
	for name, tc := range map[string]struct {
		s    *statement
		want string
	}{
		"runs of a rule":          {runsStatement(notifier.RunQuery{Rule: "r", Limit: 5}), "INDEX runs_rule (rule_id=?)"},
		"runs of a rule, on":      {runsStatement(notifier.RunQuery{Rule: "r", Before: 9, Limit: 5}), "INDEX runs_rule (rule_id=? AND id<?)"},
		"released runs of a rule": {runsStatement(notifier.RunQuery{Rule: "r", State: "released", Limit: 5}), "INDEX runs_rule (rule_id=?)"},
		"failed runs of a rule":   {runsStatement(notifier.RunQuery{Rule: "r", State: "failed", Limit: 5}), "INDEX runs_failed (rule_id=?)"},
		"held runs":               {runsStatement(notifier.RunQuery{State: "held", Before: 9, Limit: 5}), "INDEX runs_state (state=? AND id<?)"},
		"held runs of a rule":     {runsStatement(notifier.RunQuery{Rule: "r", State: "held", Limit: 5}), "INDEX runs_state (state=?)"},
		"runs, on":                {runsStatement(notifier.RunQuery{Before: 9, Limit: 5}), "PRIMARY KEY (rowid<?)"},
		"bad rows of a rule":      {badRowsStatement(notifier.BadRowQuery{Rule: "r", Limit: 5}), "INDEX bad_rows_rule_seen (rule_id=?)"},
		"bad rows of a rule, on":  {badRowsStatement(notifier.BadRowQuery{Rule: "r", After: &notifier.BadRowCursor{FirstSeen: time.Now()}, Limit: 5}), "INDEX bad_rows_rule_seen (rule_id=? AND (first_seen,row_hash)<(?,?))"},
		"bad rows, on":            {badRowsStatement(notifier.BadRowQuery{After: &notifier.BadRowCursor{FirstSeen: time.Now()}, Limit: 5}), "INDEX bad_rows_seen ((first_seen,rule_id,row_hash)<(?,?,?))"},
		"audit, forward":          {auditStatement(notifier.AuditQuery{Forward: true, After: 3, Limit: 5}, allAuditIDs()), "PRIMARY KEY (rowid>?)"},
		"audit of a subject":      {auditStatement(notifier.AuditQuery{AuditFilter: notifier.AuditFilter{Subject: "run/1", Actor: "a", Action: "run"}, Limit: 5}, allAuditIDs()), "INDEX audit_subject (subject=?)"},
		"audit of an actor":       {auditStatement(notifier.AuditQuery{AuditFilter: notifier.AuditFilter{Actor: "a", Action: "run"}, Before: 9, Limit: 5}, allAuditIDs()), "INDEX audit_actor (actor=? AND id<?)"},
		"audit of an action":      {auditStatement(notifier.AuditQuery{AuditFilter: notifier.AuditFilter{Action: "run"}, Forward: true, Limit: 5}, allAuditIDs()), "INDEX audit_action (action=? AND id>?)"},
		"audit of a time":         {auditStatement(notifier.AuditQuery{AuditFilter: notifier.AuditFilter{Since: time.Now(), Until: time.Now()}, Limit: 5}, auditIDs{3, 9}), "PRIMARY KEY (rowid>? AND rowid<?)"},
		"undelivered of a user":   {undeliveredStatement("ann", 9, 3, 5), "INDEX notifications_user (user_id=? AND id>? AND id<?)"},
		"a thread":                {threadStatement("th", 5), "INDEX notifications_thread (thread=?)"},
		"notifications of a run":  {runNotificationsStatement(notifier.RunNotificationQuery{Run: 3, After: 9, Limit: 5}), "INDEX notifications_run (run_id=? AND rowid>?)"},
		"audit, backward":         {auditStatement(notifier.AuditQuery{Before: 3, Limit: 5}, allAuditIDs()), "PRIMARY KEY (rowid<?)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := planOf(t, l, tc.s)
			require.Contains(t, got, tc.want)
			require.NotContains(t, got, "SCAN")
			require.NotContains(t, got, "TEMP B-TREE")
		})
	}
	// The newest of all have nothing to search for: they walk an index that has the order.
	for _, s := range []*statement{
		runsStatement(notifier.RunQuery{Limit: 5}), badRowsStatement(notifier.BadRowQuery{Limit: 5}), auditStatement(notifier.AuditQuery{Limit: 5}, allAuditIDs()),
	} {
		require.NotContains(t, planOf(t, l, s), "TEMP B-TREE")
	}
}
