package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.UserStore = (*Ledger)(nil)

// userTable is what the ledger has about a user $1: the names of one record and of all. Those
// without the latter are not counted.
type userTable struct{ kind, all, query string }

func userTables() []userTable {
	return []userTable{
		{"suppression", "suppressions", `SELECT reason, class, from_at, until_at, note, set_by, set_at FROM suppressions WHERE user_id = $1 ORDER BY reason`},
		{"imported_suppression", "imported_suppressions", `SELECT reason, class, from_at, until_at, set_by, set_at FROM imported_suppressions WHERE user_id = $1 ORDER BY reason`},
		{"notification", "notifications", `SELECT id, rule_id, key, version, variant, category, class, state, source_row, due_at, expires_at, created_at, released_at
			FROM notifications WHERE user_id <> '' AND user_id = $1 ORDER BY id`},
		{"delivery", "deliveries", `SELECT id, notification_id, device_id, rule_id, provider, state, reason, attempts, unknowns, created_at, finished_at
			FROM deliveries WHERE user_id = $1 ORDER BY created_at, id`},
		{"attempt", "attempts", `SELECT a.delivery_id, a.started_at, a.ended_at, a.verdict, a.code, a.status, a.provider_id
			FROM deliveries d JOIN attempts a ON a.delivery_id = d.id WHERE d.user_id = $1 ORDER BY d.created_at, d.id, a.id`},
		{"inbox_read", "inbox_reads", `SELECT notification_id, read_at FROM inbox_reads WHERE user_id = $1 ORDER BY notification_id`},
		{"frequency", "frequency", `SELECT notification_id, category, class, verdict, at FROM frequency WHERE user_id = $1 ORDER BY notification_id`},
		// Of their devices it is not: those may have been others' before.
		{"audit", "", `SELECT at, actor, action, subject, before_state, after_state FROM audit WHERE subject IN (
			SELECT 'user/' || CAST($1 AS TEXT) UNION ALL ` + subjectsOfSuppressions() + `
			UNION ALL SELECT 'delivery/' || CAST(id AS TEXT) FROM deliveries WHERE user_id = $1) ORDER BY id`},
	}
}

// subjectsOfSuppressions are the names in the audit of what the user $1 can be suppressed for.
func subjectsOfSuppressions() string {
	var out []string
	for _, reason := range notifier.SuppressionReasons() {
		out = append(out, `SELECT '`+notifier.SubjectSuppression(notifier.SuppressionKey{Reason: reason})+`' || CAST($1 AS TEXT)`)
	}
	return strings.Join(out, ` UNION ALL `)
}

// CountUser implements notifier.UserStore. What the audit has is not counted: it is where the counts go.
func (l *Ledger) CountUser(ctx context.Context, user devices.UserID) (map[string]int64, error) {
	out := map[string]int64{}
	for _, t := range userTables() {
		if t.all == "" {
			continue
		}
		var n int64
		if err := l.db.SQL().QueryRowContext(ctx, `SELECT COUNT(*) FROM (`+t.query+`) c`, string(user)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count %s: %w", t.all, err)
		}
		out[t.all] = n
	}
	bad, err := l.badRowsOf(ctx, l.db.SQL(), user, math.MaxInt)
	if err != nil {
		return nil, fmt.Errorf("count bad rows: %w", err)
	}
	out["bad_rows"] = int64(len(bad))
	return out, nil
}

// ExportUser implements notifier.UserStore. Times are microseconds since 1970, as they are stored.
func (l *Ledger) ExportUser(ctx context.Context, user devices.UserID, emit func(kind string, record any) error) error {
	for _, t := range userTables() {
		if err := l.exportTable(ctx, t.kind, t.query, user, emit); err != nil {
			return fmt.Errorf("export %s: %w", t.kind, err)
		}
	}
	bad, err := l.badRowsOf(ctx, l.db.SQL(), user, math.MaxInt)
	if err != nil {
		return fmt.Errorf("export bad rows: %w", err)
	}
	for _, b := range bad {
		if err := emit("bad_row", b); err != nil {
			return err
		}
	}
	return nil
}

// userBadRow is a row that names a user and made no notification.
type userBadRow struct {
	Rule      string          `json:"rule_id"`
	Hash      string          `json:"row_hash"`
	Reason    string          `json:"reason"`
	Detail    string          `json:"detail"`
	Row       json.RawMessage `json:"source_row"`
	FirstSeen int64           `json:"first_seen"`
	LastSeen  int64           `json:"last_seen"`
}

// reader is a database or a transaction.
type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// badRowsOf returns at most limit bad rows in which a column has the user's id, whichever it is: what is
// wrong may be the column itself. They are few in all, and looked through.
func (l *Ledger) badRowsOf(ctx context.Context, q reader, user devices.UserID, limit int) (out []userBadRow, err error) {
	rows, err := q.QueryContext(ctx, `SELECT rule_id, row_hash, reason, detail, source_row, first_seen, last_seen FROM bad_rows ORDER BY rule_id, row_hash`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for len(out) < limit && rows.Next() {
		var b userBadRow
		var text string
		if err := rows.Scan(&b.Rule, &b.Hash, &b.Reason, &b.Detail, &text, &b.FirstSeen, &b.LastSeen); err != nil {
			return nil, err
		}
		b.Row = json.RawMessage(text)
		if row, err := decodeRow(text); err != nil && strings.Contains(text, string(user)) || row.Names(string(user)) {
			out = append(out, b)
		}
	}
	return out, rows.Err()
}

// eraseBadRows removes bad rows that name a user.
func (l *Ledger) eraseBadRows(ctx context.Context, tx *sql.Tx, user devices.UserID, limit int) (int, error) {
	found, err := l.badRowsOf(ctx, tx, user, limit)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	param, err := sqldb.Batch(found)
	if err != nil {
		return 0, err
	}
	return sqldb.Exec(ctx, tx, `DELETE FROM bad_rows WHERE (rule_id, row_hash) IN
		(SELECT j.rule_id, j.row_hash FROM `+l.records("rule_id TEXT", "row_hash TEXT")+`)`, param)
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

// cancelOfUser ends as $1 at $2 what is queued for a user $3.
func cancelOfUser() string {
	return `UPDATE deliveries SET state = 'cancelled', reason = $1, finished_at = $2
		WHERE user_id = $3 AND ` + besideIndex("state") + ` = 'queued'`
}

// endedOfUser picks at most $2 deliveries of a user $1 that nobody is sending.
const endedOfUser = `SELECT id FROM deliveries WHERE user_id = $1 AND state || '' <> 'leased' ORDER BY created_at, id LIMIT $2`

// eraseStep erases at most $2 rows of a kind of a user $1.
type eraseStep struct{ kind, query string }

func eraseSteps() []eraseStep {
	return []eraseStep{
		{"notifications", `UPDATE notifications SET user_id = '', source_row = '{}' WHERE id IN
			(SELECT id FROM notifications WHERE user_id <> '' AND user_id = $1 ORDER BY id LIMIT $2)`},
		{"inbox_reads", `DELETE FROM inbox_reads WHERE user_id = $1 AND notification_id IN
			(SELECT notification_id FROM inbox_reads WHERE user_id = $1 ORDER BY notification_id LIMIT $2)`},
		{"frequency", `DELETE FROM frequency WHERE user_id = $1 AND notification_id IN
			(SELECT notification_id FROM frequency WHERE user_id = $1 ORDER BY notification_id LIMIT $2)`},
	}
}

// EraseUser implements notifier.UserStore. Notifications keep what tells that their row has been
// announced, without the user and the row: else it would be announced again.
func (l *Ledger) EraseUser(ctx context.Context, user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		erased, more = map[string]int64{}, false
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		if err := l.awaitFanOut(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, cancelOfUser(), notifier.ReasonErased, now, string(user)); err != nil {
			return fmt.Errorf("cancel deliveries: %w", err)
		}
		// Picked once, and locked: a result that is recorded meanwhile would leave its attempt behind.
		ended, err := l.pick(ctx, tx, endedOfUser, string(user), limit)
		if err != nil {
			return err
		}
		for _, step := range []struct{ kind, query string }{{"attempts", deleteAttempts}, {"deliveries", deleteDeliveries}} {
			n, err := l.onSet(ctx, tx, step.query, ended)
			if err != nil {
				return fmt.Errorf("erase %s: %w", step.kind, err)
			}
			erased[step.kind] = int64(n)
		}
		bad, err := l.eraseBadRows(ctx, tx, user, limit)
		if err != nil {
			return fmt.Errorf("erase bad rows: %w", err)
		}
		erased["bad_rows"] = int64(bad)
		more = len(ended) == limit || bad == limit
		for _, step := range eraseSteps() {
			n, err := sqldb.Exec(ctx, tx, step.query, string(user), limit)
			if err != nil {
				return fmt.Errorf("erase %s: %w", step.kind, err)
			}
			erased[step.kind] = int64(n)
			more = more || n == limit
		}
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM deliveries WHERE user_id = $1`, string(user)).Scan(&waiting)
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("erase user: %w", err)
	}
	return erased, waiting, more, nil
}

// awaitFanOut waits for the steps of fan-out that are under way: one may be making a delivery for a
// device that was active when it began. Those to single users are waited for with their notifications.
func (l *Ledger) awaitFanOut(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM notifications
		WHERE audience IN ('all', 'follows') AND state = 'released' AND fanned_at = 0 ORDER BY id`+l.db.Dialect().ForUpdate)
	_, err = sqldb.Collect(rows, err, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) })
	if err != nil {
		return fmt.Errorf("wait for fan-out: %w", err)
	}
	return nil
}

// badRowsSearched is how many bad rows, the newest ones, are looked through for one user.
const badRowsSearched = 1000

// BadRowsNaming implements notifier.ExplainLedger. The database looks for the id as JSON writes it, and so
// sends few rows; whether it is the value of a column is seen here.
func (l *Ledger) BadRowsNaming(ctx context.Context, user devices.UserID, limit int) ([]notifier.BadRowRecord, error) {
	text, err := json.Marshal(string(user))
	if err != nil {
		return nil, fmt.Errorf("encode user: %w", err)
	}
	var s statement
	s.text(`SELECT rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen FROM (`)
	s.text(`SELECT * FROM bad_rows ORDER BY first_seen DESC, rule_id DESC, row_hash DESC`)
	s.limit(badRowsSearched)
	s.text(`) b WHERE TRUE`)
	like := strings.NewReplacer(`!`, `!!`, `%`, `!%`, `_`, `!_`).Replace(strings.Trim(string(text), `"`))
	s.and(`source_row LIKE ? ESCAPE '!'`, "%"+like+"%")
	s.text(` ORDER BY first_seen DESC, rule_id DESC, row_hash DESC`)
	found, err := list(ctx, l, &s, scanBadRow)
	if err != nil {
		return nil, fmt.Errorf("list bad rows of a user: %w", err)
	}
	found = slices.DeleteFunc(found, func(b notifier.BadRowRecord) bool { return !b.Row.Names(string(user)) })
	return found[:min(len(found), limit)], nil
}
