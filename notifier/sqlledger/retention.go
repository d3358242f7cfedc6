package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// seenMargin is by how much a key may have been seen later than its note says
// (seenEvery), and clocks may differ from one another.
const seenMargin = 2 * seenEvery

// The texts that pick what is removed. Each walks an index from its oldest end
// and stops at the limit; rows that must stay there meanwhile are few.
const (
	// The delivery with the largest id stays: SQLite would give its id out once more, and the
	// audit names deliveries by id.
	oldDeliveries = `SELECT d.id FROM deliveries d
		WHERE d.created_at < $1 AND d.finished_at < $1 AND d.state NOT IN ('queued', 'leased')
		  AND d.id < (SELECT MAX(id) FROM deliveries)
		ORDER BY d.created_at, d.id LIMIT $2`

	replacedVersions = `SELECT n.id FROM notifications n
		WHERE NOT n.latest AND n.created_at < $1 AND ` + settled + ` AND ` + undelivered + `
		ORDER BY n.created_at, n.id LIMIT $2`

	unseenKeys = `SELECT n.id, n.seen_at FROM notifications n
		WHERE n.rule_id = $1 AND n.latest AND n.seen_at < $2 AND n.expires_at <= $3 AND ` + settled + ` AND ` + undelivered + `
		  AND NOT EXISTS (SELECT 1 FROM notifications o WHERE o.rule_id = n.rule_id AND o.key = n.key AND o.version < n.version)
		ORDER BY n.seen_at, n.id LIMIT $4`

	// The newest run tells where the rule goes on, by its tick, and keeps SQLite from giving its
	// id out once more. Those that a jump is measured against stay however old they are: after a
	// quiet season the first run would have no history, and so no bound.
	oldRuns = `SELECT r.id FROM runs r
		WHERE r.rule_id = $1 AND r.tick_at < $2 AND r.finished_at < $2 AND r.state IN ('released', 'discarded', 'failed')
		  AND r.tick_at < (SELECT MAX(tick_at) FROM runs WHERE rule_id = $1) AND r.id < (SELECT MAX(id) FROM runs WHERE rule_id = $1)
		  AND r.id NOT IN (SELECT h.id FROM (SELECT id FROM runs WHERE rule_id = $1 AND state = 'released' AND planned > 0 ORDER BY id DESC LIMIT 20) h)
		ORDER BY r.tick_at LIMIT $3`

	lastCleanTick = `SELECT tick_at FROM runs WHERE rule_id = $1 AND state IN ('released', 'held', 'discarded')
		ORDER BY tick_at DESC LIMIT 1`
)

// The texts that remove a set of ids, which is $1 and stands for {set}.
const (
	deleteAttempts   = `DELETE FROM attempts WHERE delivery_id IN {set}`
	deleteDeliveries = `DELETE FROM deliveries WHERE id IN {set}`
	deleteReads      = `DELETE FROM inbox_reads WHERE (user_id, notification_id) IN
		(SELECT r.user_id, r.notification_id FROM inbox_reads r WHERE r.notification_id IN {set} LIMIT $2)`
)

// deleteBadRows removes bad rows, of which those that were first read longest ago come first. A row
// that is read again and again stays; there are few, or they would be mended.
func deleteBadRows(lock string) string {
	return `DELETE FROM bad_rows WHERE (rule_id, row_hash) IN (SELECT rule_id, row_hash FROM bad_rows
		WHERE first_seen < $1 AND last_seen < $1 ORDER BY first_seen, rule_id, row_hash LIMIT $2` + lock + `)`
}

// settled is true of a notification n from which no delivery is made any more:
// neither waits it for a run or an operator to release it, nor for the fan-out.
const settled = `n.state NOT IN ('passed', 'held', 'provisional') AND (n.state <> 'released' OR n.fanned_at > 0)`

// undelivered is true of a notification n that has no delivery (left).
const undelivered = `NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id)`

// RulesOnRecord implements notifier.RetentionLedger.
func (l *Ledger) RulesOnRecord(ctx context.Context) ([]string, error) {
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT rule_id FROM watermarks ORDER BY rule_id`)
	out, err := sqldb.Collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
	if err != nil {
		return nil, fmt.Errorf("list rules on record: %w", err)
	}
	return out, nil
}

// RemoveDeliveries implements notifier.RetentionLedger.
func (l *Ledger) RemoveDeliveries(ctx context.Context, keep time.Duration, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		set, err := l.pick(ctx, tx, oldDeliveries, now-keep.Microseconds(), limit)
		if err != nil || len(set) == 0 {
			return err
		}
		r.More = len(set) == limit
		if r.Attempts, err = l.onSet(ctx, tx, deleteAttempts, set); err != nil {
			return fmt.Errorf("attempts: %w", err)
		}
		r.Deliveries, err = l.onSet(ctx, tx, deleteDeliveries, set)
		return err
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("remove deliveries: %w", err)
	}
	return r, nil
}

// RemoveReplaced implements notifier.RetentionLedger.
func (l *Ledger) RemoveReplaced(ctx context.Context, keep time.Duration, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		set, err := l.pick(ctx, tx, replacedVersions, now-keep.Microseconds(), limit)
		if err != nil || len(set) == 0 {
			return err
		}
		r.More = len(set) == limit
		return l.removeNotifications(ctx, tx, set, limit, &r)
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("remove replaced versions: %w", err)
	}
	return r, nil
}

// ForgetKeys implements notifier.RetentionLedger.
//
// A row arrived before it was seen. So when a key was last seen before the
// watermark less what a poll or sweep reaches back, its row is behind that too.
// The bound below which the rule reads nothing is raised to there in the same
// transaction: what is forgotten stays unread even when the rule reaches further
// back one day.
func (l *Ledger) ForgetKeys(ctx context.Context, m notifier.KeyMemory, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		switch inForce, err := l.rulesInForce(ctx, tx); {
		case err != nil:
			return err
		case inForce != "" && inForce != m.Generation:
			return nil // a rule that this replica does not know may need its keys
		}
		clock, err := l.keyClock(ctx, tx, m, now)
		if err != nil {
			return err
		}
		bound := clock - m.Keep.Microseconds()
		if bound <= 0 {
			return nil // nobody knows when the rule has read
		}
		type unseen struct{ id, at int64 }
		rows, err := tx.QueryContext(ctx, unseenKeys+l.db.Dialect().SkipLocked, m.Rule, bound-seenMargin.Microseconds(), now, limit)
		found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (u unseen, err error) { return u, r.Scan(&u.id, &u.at) })
		if err != nil {
			return fmt.Errorf("pick: %w", err)
		}
		r.More = len(found) == limit
		var forget, unnoted []int64
		for _, u := range found {
			if u.at == 0 {
				unnoted = append(unnoted, u.id)
			} else {
				forget = append(forget, u.id)
			}
		}
		if len(unnoted) > 0 {
			// Nobody has noted when these were seen: their time begins now.
			if _, err := l.onSet(ctx, tx, `UPDATE notifications SET seen_at = $2 WHERE id IN {set}`, unnoted, now); err != nil {
				return fmt.Errorf("note seen keys: %w", err)
			}
		}
		if len(forget) == 0 {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `UPDATE watermarks SET start_at = $1 WHERE rule_id = $2 AND start_at < $1`, bound, m.Rule); err != nil {
			return fmt.Errorf("raise bound: %w", err)
		}
		return l.removeNotifications(ctx, tx, forget, limit, &r)
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("forget keys of %s: %w", m.Rule, err)
	}
	return r, nil
}

// keyClock returns the time against which the age of a rule's keys is measured,
// 0 when it is not known. It locks where the rule stands: no run of it begins
// before the transaction ends.
func (l *Ledger) keyClock(ctx context.Context, tx *sql.Tx, m notifier.KeyMemory, now int64) (int64, error) {
	var position int64
	err := tx.QueryRowContext(ctx, `SELECT position FROM watermarks WHERE rule_id = $1`+l.db.Dialect().ForUpdate, m.Rule).Scan(&position)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read watermark: %w", err)
	}
	clock := now
	switch m.Clock {
	case notifier.ClockNow:
	case notifier.ClockWatermark:
		clock = position
	case notifier.ClockTick:
		err := tx.QueryRowContext(ctx, lastCleanTick, m.Rule).Scan(&clock)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read last tick: %w", err)
		}
	}
	return min(clock, now), nil
}

// removeNotifications removes notifications and what says that they were read,
// at most limit rows of the latter. When there may be more of those, the
// notifications stay for the next step.
func (l *Ledger) removeNotifications(ctx context.Context, tx *sql.Tx, set []int64, limit int, r *notifier.Removed) (err error) {
	r.InboxReads, err = l.onSet(ctx, tx, deleteReads, set, limit)
	if err != nil {
		return fmt.Errorf("inbox reads: %w", err)
	}
	if r.InboxReads == limit {
		r.More = true
		return nil
	}
	r.Notifications, err = l.onSet(ctx, tx, `DELETE FROM notifications WHERE id IN {set}`, set)
	return err
}

// RemoveRuns implements notifier.RetentionLedger.
func (l *Ledger) RemoveRuns(ctx context.Context, rule string, keep time.Duration, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		set, err := l.pick(ctx, tx, oldRuns, rule, now-keep.Microseconds(), limit)
		if err != nil || len(set) == 0 {
			return err
		}
		r.More = len(set) == limit
		r.Runs, err = l.onSet(ctx, tx, `DELETE FROM runs WHERE id IN {set}`, set)
		return err
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("remove runs of %s: %w", rule, err)
	}
	return r, nil
}

// RemoveBadRows implements notifier.RetentionLedger.
func (l *Ledger) RemoveBadRows(ctx context.Context, keep time.Duration, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		r.BadRows, err = sqldb.Exec(ctx, tx, deleteBadRows(l.db.Dialect().SkipLocked), now-keep.Microseconds(), limit)
		r.More = r.BadRows == limit
		return err
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("remove bad rows: %w", err)
	}
	return r, nil
}

// pick locks what a step removes and returns its ids.
func (l *Ledger) pick(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, query+l.db.Dialect().SkipLocked, args...)
	set, err := sqldb.Collect(rows, err, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) })
	if err != nil {
		return nil, fmt.Errorf("pick: %w", err)
	}
	return set, nil
}

// onSet runs a statement over a set of ids, which is $1 and stands for {set}, and
// returns how many rows it touched.
func (l *Ledger) onSet(ctx context.Context, tx *sql.Tx, query string, set []int64, args ...any) (int, error) {
	param, err := ids(set)
	if err != nil {
		return 0, err
	}
	query = onSet(query, l.idSet())
	return sqldb.Exec(ctx, tx, query, append([]any{param}, args...)...)
}

func onSet(query, set string) string { return strings.ReplaceAll(query, "{set}", set) }
