package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// setProvisional keeps back what a run releases from a state and what waits to be
// confirmed. endHolds releases it.
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
		ORDER BY n.hold_until, n.id LIMIT $2` + l.db.Dialect().SkipLocked + `)`
}

// endHolds releases a batch of what waits no longer; more says that there may be another.
func (l *Ledger) endHolds(ctx context.Context) (more bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		n, err := sqldb.Exec(ctx, tx, l.endHoldsQuery(), now, holdBatch)
		more = n == holdBatch
		return err
	})
	if err != nil {
		return false, fmt.Errorf("release what is provisional no longer: %w", err)
	}
	return more, nil
}
