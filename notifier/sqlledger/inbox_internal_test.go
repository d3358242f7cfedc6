package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// plan returns SQLite's plan of a query, without the tree.
func plan(t *testing.T, l *Ledger, query string, args ...any) []string {
	t.Helper()
	rows, err := l.db.SQL().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	steps, err := sqldb.Collect(rows, err, func(r *sql.Rows) (string, error) {
		var id, parent, unused int
		var detail string
		return detail, r.Scan(&id, &parent, &unused, &detail)
	})
	require.NoError(t, err)
	return steps
}

func TestTheInboxStepsDownItsIndexes(t *testing.T) {
	t.Parallel()
	l := New(sqldbtest.SQLite(t))
	for _, c := range []struct {
		unread  bool
		classes []notifier.Class
	}{{false, nil}, {true, nil}, {false, []notifier.Class{notifier.Transactional}}, {true, []notifier.Class{notifier.Transactional, notifier.Service}}} {
		steps := plan(t, l, l.inboxQuery(inboxEntries, c.unread, c.classes), "[]", "ann", int64(maxID), 50)
		all := strings.Join(steps, "\n")
		for _, want := range []string{
			"SEARCH n USING INDEX notifications_user (user_id=? AND id<?)",
			"SEARCH x USING INDEX deliveries_told (user_id=? AND notification_id<?)",
			"SEARCH o USING INDEX notifications_thread (thread=? AND id>?)",
			"SEARCH x USING INDEX deliveries_told (user_id=? AND notification_id=?)",
			"SEARCH n USING INTEGER PRIMARY KEY (rowid=?)",
		} {
			require.Contains(t, all, want)
		}
		for _, step := range steps {
			if !strings.HasPrefix(step, "SCAN") {
				continue
			}
			// What may be read as a whole: pages of at most a limit, and the rules in the parameter.
			require.Regexp(t, `^SCAN (own|told|page|p|j|json_each)\b`, step, all)
		}
	}
}

// A page of an inbox must not become slower with what lies behind it.
func TestALargeInboxStaysFast(t *testing.T) {
	t.Parallel()
	small, large := inboxOf(t, 1000), inboxOf(t, 10_000)
	for _, unread := range []bool{false, true} {
		few, many := pageTime(t, small, unread), pageTime(t, large, unread)
		t.Logf("unread only %t: a page of 1000 takes %s, of 10000 %s", unread, few, many)
		require.Less(t, many, 5*few, "ten times the inbox must not cost ten times as much")
	}
}

// inboxOf returns a ledger with that many notifications for ann, half of them
// her own and half of them broad.
func inboxOf(t *testing.T, size int) *Ledger {
	t.Helper()
	l := New(sqldbtest.SQLite(t))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // more than a service would give it
	defer cancel()
	require.NoError(t, l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i := range size {
			audience, user := notifier.AudienceUser, "ann"
			if i%2 == 1 {
				audience, user = notifier.AudienceAll, ""
			}
			var id int64
			if err := tx.QueryRowContext(ctx, `INSERT INTO notifications (rule_id, key, version, version_hash, order_value, latest, thread,
				follow_up, audience, user_id, category, class, urgency, state, run_id, source_row, expires_at, created_at, released_at)
				VALUES ('r', $1, 1, '', 0, TRUE, $1, $2, $3, $4, 'win', 'service', 'high', 'released', 1, '{}', 1, 1, 1) RETURNING id`,
				fmt.Sprint(i), i%3 == 0, audience, user).Scan(&id); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency,
				follow_up, state, due_at, expires_at, created_at)
				VALUES ($1, 'd', 'ann', 'r', 'fcm', 'high', FALSE, 'sent', 1, 1, 1)`, id); err != nil {
				return err
			}
		}
		return nil
	}))
	return l
}

// pageTime is the best of ten readings of the newest page.
func pageTime(t *testing.T, l *Ledger, unread bool) time.Duration {
	t.Helper()
	best := time.Hour
	for range 10 {
		start := time.Now()
		rec, err := l.Inbox(t.Context(), "ann", notifier.InboxSelection{Limit: 50, Unread: unread})
		best = min(best, time.Since(start))
		require.NoError(t, err)
		require.Len(t, rec.Entries, 50)
	}
	return best
}
