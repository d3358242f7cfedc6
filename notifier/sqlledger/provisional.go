package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// setProvisional keeps back what a run releases from a state and what waits to be
// confirmed. EndHolds releases it.
func (l *Ledger) setProvisional(ctx context.Context, tx *sql.Tx, run notifier.RunID, from string, now int64) (int, error) {
	n, err := sqldb.Exec(ctx, tx, `UPDATE notifications SET state = $1 WHERE run_id = $2 AND state = $3 AND hold_until > $4`,
		notifier.NotificationProvisional, run, from, now)
	if err != nil {
		return 0, fmt.Errorf("hold provisional notifications: %w", err)
	}
	return n, nil
}

// holdBatch is how many holds end in one transaction.
const holdBatch = 1000

// endHoldsQuery releases what has been confirmed or held for long enough. What an
// operator has paused releases nothing.
func (l *Ledger) endHoldsQuery() string {
	return `UPDATE notifications SET state = 'released', released_at = $1 WHERE id IN (SELECT n.id FROM notifications n
		WHERE n.state = 'provisional' AND n.hold_until <= $1
		  AND NOT EXISTS (SELECT 1 FROM rule_controls c WHERE c.rule_id = n.rule_id AND c.paused)
		ORDER BY n.hold_until, n.id LIMIT $2` + l.db.Dialect().SkipLocked + `) RETURNING rule_id, confirmed_at`
}

// EndHolds implements notifier.FanLedger.
func (l *Ledger) EndHolds(ctx context.Context) (ended []notifier.EndedHolds, more bool, err error) {
	type hold struct {
		rule      string
		confirmed int64
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		ended = nil
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, l.endHoldsQuery(), now, holdBatch)
		found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (h hold, err error) { return h, r.Scan(&h.rule, &h.confirmed) })
		more = len(found) == holdBatch
		for _, h := range found {
			i := slices.IndexFunc(ended, func(e notifier.EndedHolds) bool { return e.Rule == h.rule })
			if i < 0 {
				i, ended = len(ended), append(ended, notifier.EndedHolds{Rule: h.rule})
			}
			if h.confirmed > 0 {
				ended[i].Confirmed++
			} else {
				ended[i].Elapsed++
			}
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("release what is provisional no longer: %w", err)
	}
	return ended, more, nil
}

// unreleasedCounted is how many provisional notifications are counted: it costs as much as there are.
const unreleasedCounted = 10_000

const unreleasedQuery = `SELECT rule_id, COUNT(*), 0 FROM runs WHERE state = 'held' GROUP BY rule_id
	UNION ALL SELECT p.rule_id, 0, COUNT(*) FROM (SELECT n.rule_id FROM notifications n
		WHERE n.state = 'provisional' ORDER BY n.hold_until, n.id LIMIT $1) p GROUP BY p.rule_id`

// Unreleased implements notifier.Queue.
func (l *Ledger) Unreleased(ctx context.Context) (map[string]notifier.Unreleased, error) {
	type count struct {
		rule string
		notifier.Unreleased
	}
	rows, err := l.db.SQL().QueryContext(ctx, unreleasedQuery, unreleasedCounted)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (h count, err error) { return h, r.Scan(&h.rule, &h.Runs, &h.Provisional) })
	if err != nil {
		return nil, fmt.Errorf("count what is held: %w", err)
	}
	out := map[string]notifier.Unreleased{}
	for _, h := range found {
		sum := out[h.rule]
		out[h.rule] = notifier.Unreleased{Runs: sum.Runs + h.Runs, Provisional: sum.Provisional + h.Provisional}
	}
	return out, nil
}
