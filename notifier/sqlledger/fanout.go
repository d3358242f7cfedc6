package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// madeAt is when a notification n was there for the devices of that moment: what
// was provisional when it was released, what was not when it was made.
const madeAt = `(CASE WHEN n.hold_until > 0 THEN n.released_at ELSE n.created_at END)`

// fanBatch is how many notifications for single users one transaction fans out.
const fanBatch = 500

// FanOut implements notifier.FanLedger: one batch for single users, then one
// step of the oldest broad notification, so that neither waits for the other.
func (l *Ledger) FanOut(ctx context.Context, limit int) (made int, more bool, err error) {
	users, moreUsers, err := l.fanUsers(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("fan out to users: %w", err)
	}
	broad, moreBroad, err := l.fanBroad(ctx, limit)
	if err != nil {
		return users, false, fmt.Errorf("fan out to many: %w", err)
	}
	return users + broad, moreUsers || moreBroad, nil
}

func (l *Ledger) fanUsers(ctx context.Context) (made int, more bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		made, more = 0, false
		rows, err := tx.QueryContext(ctx, `SELECT id FROM notifications
			WHERE audience = 'user' AND state = 'released' AND fanned_at = 0 ORDER BY id LIMIT $1`+l.db.Dialect().SkipLocked, fanBatch)
		set, err := sqldb.Collect(rows, err, func(r *sql.Rows) (id notifier.NotificationID, err error) { return id, r.Scan(&id) })
		if err != nil || len(set) == 0 {
			return err
		}
		param, err := ids(set)
		if err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		// CROSS JOIN makes SQLite go from the batch to the devices; to PostgreSQL it is a join like any other.
		made, err = sqldb.Exec(ctx, tx, `INSERT INTO deliveries
			(notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
			SELECT n.id, d.id, d.user_id, n.rule_id, d.provider, n.urgency, n.follow_up, 'queued', $2, n.expires_at, $2
			FROM `+l.records("id BIGINT")+` CROSS JOIN notifications n CROSS JOIN devices d
			WHERE n.id = j.id AND d.user_id = n.user_id
			  AND d.state = 'active' AND d.activated_at <= `+madeAt+` AND n.expires_at > $2
			ON CONFLICT (notification_id, device_id) DO NOTHING`, param, now)
		if err != nil {
			return fmt.Errorf("insert deliveries: %w", err)
		}
		more = len(set) == fanBatch
		if err := l.onIDs(ctx, tx, set, `UPDATE notifications SET fanned_at = $2 WHERE id IN `, now); err != nil {
			return fmt.Errorf("note fan-out: %w", err)
		}
		return nil
	})
	return made, more, err
}

// broad is a notification for many devices that is being fanned out.
type broad struct {
	id       notifier.NotificationID
	audience notifier.AudienceKind
	thread   string
	cursor   string
	expires  int64
}

func (l *Ledger) fanBroad(ctx context.Context, limit int) (made int, more bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		made, more = 0, false
		var b broad
		err := tx.QueryRowContext(ctx, `SELECT id, audience, thread, fan_cursor, expires_at FROM notifications
			WHERE audience IN ('all', 'follows') AND state = 'released' AND fanned_at = 0 ORDER BY id LIMIT 1`+l.db.Dialect().SkipLocked).
			Scan(&b.id, &b.audience, &b.thread, &b.cursor, &b.expires)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read pending: %w", err)
		}
		more = true
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		over, err := l.overtaken(ctx, tx, b, now)
		if err != nil {
			return err
		}
		last := ""
		if !over {
			if last, err = l.fanBound(ctx, tx, b, limit); err != nil {
				return err
			}
			if made, err = l.fanChunk(ctx, tx, b, last, now); err != nil {
				return err
			}
		}
		if last == "" {
			_, err = tx.ExecContext(ctx, `UPDATE notifications SET fanned_at = $1 WHERE id = $2`, now, b.id)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE notifications SET fan_cursor = $1 WHERE id = $2`, last, b.id)
		}
		if err != nil {
			return fmt.Errorf("note fan-out: %w", err)
		}
		return nil
	})
	return made, more && err == nil, err
}

// overtaken tells whether making more deliveries of b is useless: it has
// expired, or its thread has something newer.
func (l *Ledger) overtaken(ctx context.Context, tx *sql.Tx, b broad, now int64) (over bool, err error) {
	if b.expires <= now {
		return true, nil
	}
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM notifications x JOIN notifications n ON n.id = $2
		WHERE x.thread = $1 AND x.id > $2 AND x.state = 'released' AND (n.shadow OR NOT x.shadow))`,
		b.thread, b.id).Scan(&over)
	if err != nil {
		return false, fmt.Errorf("look for newer: %w", err)
	}
	return over, nil
}

// fanBound returns the last device of the next step, empty when that is the
// last step. The step is bounded by what it has to look at, not by what it makes
// of that, and the order of ids is the database's.
func (l *Ledger) fanBound(ctx context.Context, tx *sql.Tx, b broad, limit int) (last string, err error) {
	query := `SELECT COALESCE((SELECT id FROM devices WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2), '')`
	args := []any{b.cursor, limit - 1}
	if b.audience == notifier.AudienceFollows {
		query = `SELECT COALESCE(MIN(u.id), '') FROM (SELECT (SELECT x.device_id FROM deliveries x
			WHERE x.notification_id = o.id AND x.device_id > $1 ORDER BY x.device_id LIMIT 1 OFFSET $2) AS id
			FROM notifications o WHERE o.thread = $3 AND o.id < $4) u`
		args = append(args, b.thread, b.id)
	}
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&last); err != nil {
		return "", fmt.Errorf("read the bound of a step: %w", err)
	}
	return last, nil
}

// fanChunk makes deliveries for the devices behind the cursor, up to last or,
// when that is empty, to the end.
func (l *Ledger) fanChunk(ctx context.Context, tx *sql.Tx, b broad, last string, now int64) (made int, err error) {
	args := []any{now, b.id, b.cursor}
	if last != "" {
		args = append(args, last)
	}
	made, err = sqldb.Exec(ctx, tx, fanQuery(b.audience, last != ""), args...)
	if err != nil {
		return 0, fmt.Errorf("insert deliveries: %w", err)
	}
	return made, nil
}

// fanQuery makes the deliveries of one step, at the time $1 for the notification
// $2, for the devices behind $3 and, when it is bounded, up to $4.
func fanQuery(audience notifier.AudienceKind, bounded bool) string {
	bound := func(string) string { return "" }
	if bounded {
		bound = func(column string) string { return ` AND ` + column + ` <= $4` }
	}
	who := `TRUE`
	if audience == notifier.AudienceFollows {
		// Those who were told, or may have been: also those who are just being told. From them to
		// the devices, because they may be a few of very many.
		who = `(d.id, d.user_id) IN (SELECT x.device_id, x.user_id FROM notifications m JOIN notifications o ON o.thread = m.thread AND o.id < m.id
			JOIN deliveries x ON x.notification_id = o.id
			WHERE m.id = $2 AND x.device_id > $3` + bound("x.device_id") + ` AND (x.state IN ('sent', 'leased', 'unconfirmed') OR x.unknowns > 0))`
	}
	return `INSERT INTO deliveries
		(notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
		SELECT n.id, d.id, d.user_id, n.rule_id, d.provider, n.urgency, n.follow_up, 'queued', $1, n.expires_at, $1
		FROM devices d, notifications n
		WHERE n.id = $2 AND d.id > $3` + bound("d.id") + ` AND d.state = 'active' AND d.activated_at <= ` + madeAt + ` AND ` + who + `
		ON CONFLICT (notification_id, device_id) DO NOTHING`
}
