package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.UserStore = (*Ledger)(nil)

// userTables are what the ledger has about a user $1.
func userTables() []struct{ kind, query string } {
	return []struct{ kind, query string }{
		{"suppression", `SELECT reason, class, from_at, until_at, note, set_by, set_at FROM suppressions WHERE user_id = $1 ORDER BY reason`},
		{"notification", `SELECT id, rule_id, key, version, variant, category, class, state, source_row, due_at, expires_at, created_at, released_at
			FROM notifications WHERE user_id <> '' AND user_id = $1 ORDER BY id`},
		{"delivery", `SELECT id, notification_id, device_id, rule_id, provider, state, reason, attempts, unknowns, created_at, finished_at
			FROM deliveries WHERE user_id = $1 ORDER BY created_at, id`},
		{"attempt", `SELECT a.delivery_id, a.started_at, a.ended_at, a.verdict, a.code, a.status, a.provider_id
			FROM deliveries d JOIN attempts a ON a.delivery_id = d.id WHERE d.user_id = $1 ORDER BY d.created_at, d.id, a.id`},
		{"inbox_read", `SELECT notification_id, read_at FROM inbox_reads WHERE user_id = $1 ORDER BY notification_id`},
		{"frequency", `SELECT notification_id, category, class, verdict, at FROM frequency WHERE user_id = $1 ORDER BY notification_id`},
	}
}

// ExportUser implements notifier.UserStore. Times are microseconds since 1970, as they are stored.
func (l *Ledger) ExportUser(ctx context.Context, user devices.UserID, emit func(kind string, record any) error) error {
	for _, t := range userTables() {
		if err := l.exportTable(ctx, t.kind, t.query, user, emit); err != nil {
			return fmt.Errorf("export %s: %w", t.kind, err)
		}
	}
	return nil
}

func (l *Ledger) exportTable(ctx context.Context, kind, query string, user devices.UserID, emit func(kind string, record any) error) error {
	rows, err := l.db.SQL().QueryContext(ctx, query, string(user))
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(names))
	for rows.Next() {
		into := make([]any, len(names))
		for i := range values {
			values[i] = nil
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		record := make(map[string]any, len(names))
		for i, name := range names {
			record[name] = values[i]
			if text, ok := values[i].(string); ok && name == "source_row" {
				record[name] = json.RawMessage(text)
			}
		}
		if err := emit(kind, record); err != nil {
			return err
		}
	}
	return rows.Err()
}

// cancelErased is the reason of deliveries that were queued when their user was erased.
const cancelErased = "erased"

// EraseUser implements notifier.UserStore. Notifications keep what tells that their row has been
// announced, without the user and the row: else it would be announced again.
func (l *Ledger) EraseUser(ctx context.Context, user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		erased, more = map[string]int64{}, false
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET state = 'cancelled', reason = $1, finished_at = $2
			WHERE user_id = $3 AND `+besideIndex("state")+` = 'queued'`, cancelErased, now, string(user)); err != nil {
			return fmt.Errorf("cancel deliveries: %w", err)
		}
		const ended = `(SELECT id FROM deliveries WHERE user_id = $1 AND state || '' <> 'leased' ORDER BY created_at, id LIMIT $2)`
		for _, step := range []struct {
			kind, query string
			bounded     bool
		}{
			{"attempts", `DELETE FROM attempts WHERE delivery_id IN ` + ended, false}, // of as many deliveries
			{"deliveries", `DELETE FROM deliveries WHERE id IN ` + ended, true},
			{"notifications", `UPDATE notifications SET user_id = '', source_row = '{}' WHERE id IN
				(SELECT id FROM notifications WHERE user_id <> '' AND user_id = $1 ORDER BY id LIMIT $2)`, true},
			{"inbox_reads", `DELETE FROM inbox_reads WHERE user_id = $1 AND notification_id IN
				(SELECT notification_id FROM inbox_reads WHERE user_id = $1 ORDER BY notification_id LIMIT $2)`, true},
			{"frequency", `DELETE FROM frequency WHERE user_id = $1 AND notification_id IN
				(SELECT notification_id FROM frequency WHERE user_id = $1 ORDER BY notification_id LIMIT $2)`, true},
		} {
			n, err := sqldb.Exec(ctx, tx, step.query, string(user), limit)
			if err != nil {
				return fmt.Errorf("erase %s: %w", step.kind, err)
			}
			erased[step.kind] = int64(n)
			more = more || step.bounded && n == limit
		}
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM deliveries WHERE user_id = $1`, string(user)).Scan(&waiting)
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("erase user: %w", err)
	}
	return erased, waiting, more, nil
}
