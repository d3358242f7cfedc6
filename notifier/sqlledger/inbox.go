package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.InboxStore = (*Ledger)(nil)

// readBatch is how many items one transaction marks as read at most, so that a
// large inbox does not hold the writer.
const readBatch = 1000

// told is true of a delivery x that reached its device, or may have. The text
// is that of the partial index deliveries_told.
const told = `(x.state IN ('sent', 'unconfirmed') OR x.unknowns > 0)`

// ownItem is true of a notification n that is for the user $2 alone, and of a class
// that is shown. The empty user stands in the text because the partial index
// notifications_user has it.
const ownItem = `n.user_id = $2 AND n.user_id <> '' AND n.state = 'released' AND NOT n.shadow
	AND NOT EXISTS (SELECT 1 FROM deliveries s WHERE s.notification_id = n.id AND s.state = 'suppressed' AND s.reason = 'shadow')
	AND n.rule_id NOT IN (SELECT j.rule_id FROM {rules}) {shown}`

// inboxPage is the ids of at most $4 items of the user $2 below $3, newest
// first; the rules in $1 are hidden. Either branch steps down an index of its
// own, and what was told of the user's own is in both.
const inboxPage = `own AS (SELECT n.id FROM notifications n
		WHERE ` + ownItem + ` AND n.id < $3 {unread n.id} ORDER BY n.id DESC LIMIT $4),
	told AS (SELECT DISTINCT x.notification_id AS id FROM deliveries x
		WHERE x.user_id = $2 AND ` + told + ` AND x.notification_id < $3 {unread x.notification_id} {shown of x}
		ORDER BY x.notification_id DESC LIMIT $4),
	page AS (SELECT id FROM own UNION SELECT id FROM told ORDER BY id DESC LIMIT $4)`

const inboxEntries = `WITH ` + inboxPage + `
	SELECT n.id, n.rule_id, n.key, n.version, n.version_hash, n.order_value, n.user_id, n.variant, n.category, n.class, n.thread,
		n.source_row, n.due_at, n.expires_at, n.created_at, n.released_at, COALESCE(r.read_at, 0),
		EXISTS (SELECT 1 FROM notifications o WHERE o.thread = n.thread AND o.id > n.id AND o.state = 'released' AND (n.shadow OR NOT o.shadow)),
		CASE WHEN n.follow_up THEN EXISTS (SELECT 1 FROM notifications o
			JOIN deliveries x ON x.notification_id = o.id AND x.user_id = $2
			WHERE o.thread = n.thread AND o.id < n.id AND ` + told + `) ELSE FALSE END
	FROM page p CROSS JOIN notifications n
	LEFT JOIN inbox_reads r ON r.user_id = $2 AND r.notification_id = p.id
	WHERE n.id = p.id ORDER BY p.id DESC`

// inboxQuery fills in what a query leaves open. What is not of the classes is left
// out; nil is every class.
func (l *Ledger) inboxQuery(query string, unread bool, classes []notifier.Class) string {
	only := func(string) string { return "" }
	if unread {
		only = func(id string) string {
			return `AND NOT EXISTS (SELECT 1 FROM inbox_reads u WHERE u.user_id = $2 AND u.notification_id = ` + id + `)`
		}
	}
	shown, shownOfX := "", "" // the plan of the usual case has nothing to look up
	if classes != nil {
		of := func(n string) string {
			in := "FALSE"
			if len(classes) > 0 {
				in = n + ".class IN ('" + strings.Join(texts(classes), "', '") + "')"
			}
			return in
		}
		shown, shownOfX = "AND "+of("n"), "AND EXISTS (SELECT 1 FROM notifications c WHERE c.id = x.notification_id AND "+of("c")+")"
	}
	return strings.NewReplacer(
		"{shown}", shown, "{shown of x}", shownOfX, "{rules}", l.records("rule_id TEXT"),
		"{unread n.id}", only("n.id"), "{unread x.notification_id}", only("x.notification_id"),
	).Replace(query)
}

// Inbox implements notifier.InboxStore.
func (l *Ledger) Inbox(ctx context.Context, user devices.UserID, sel notifier.InboxSelection) (rec notifier.InboxRecord, err error) {
	hidden, err := rulesBatch(sel.Hidden)
	if err != nil {
		return rec, err
	}
	before := int64(sel.Before)
	if before <= 0 {
		before = maxID
	}
	classes, err := l.shownClasses(ctx, l.db.SQL(), user)
	if err != nil {
		return rec, err
	}
	rows, err := l.db.SQL().QueryContext(ctx, l.inboxQuery(inboxEntries, sel.Unread, classes), hidden, string(user), before, sel.Limit)
	if rec.Entries, err = sqldb.Collect(rows, err, scanInboxEntry); err != nil {
		return rec, fmt.Errorf("read inbox: %w", err)
	}
	err = l.db.SQL().QueryRowContext(ctx, `SELECT locale, time_zone FROM devices WHERE user_id = $1 AND state = 'active'
		ORDER BY activated_at DESC, id LIMIT 1`, string(user)).Scan(&rec.Locale, &rec.TimeZone)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return rec, fmt.Errorf("read locale: %w", err)
	}
	return rec, nil
}

// shownClasses returns the classes of which no suppression in force stops
// anything to the user; nil for every one, known or not.
func (l *Ledger) shownClasses(ctx context.Context, q rowsQueryer, user devices.UserID) ([]notifier.Class, error) {
	rows, err := q.QueryContext(ctx, shownQuery, string(user))
	set, err := sqldb.Collect(rows, err, func(r *sql.Rows) (notifier.Suppression, error) {
		var s suppressionRow
		err := r.Scan(&s.Class, &s.From, &s.Until)
		return s.suppression(), err
	})
	if err != nil {
		return nil, fmt.Errorf("read suppressions: %w", err)
	}
	if len(set) == 0 {
		return nil, nil
	}
	now, err := l.db.Now(ctx, q)
	if err != nil {
		return nil, err
	}
	return notifier.ClassesLeft(set, now), nil
}

const shownQuery = `SELECT class, from_at, until_at FROM suppressions WHERE user_id = $1
	UNION ALL SELECT class, from_at, until_at FROM imported_suppressions WHERE user_id = $1`

// texts are the words of a closed set.
func texts[T ~string](set []T) []string {
	out := make([]string, len(set))
	for i, s := range set {
		out[i] = string(s)
	}
	return out
}

// maxID is above every id.
const maxID = 1<<63 - 1

func scanInboxEntry(r *sql.Rows) (e notifier.InboxEntry, err error) {
	var row string
	var due, expires, created, released, read int64
	err = r.Scan(&e.ID, &e.Rule, &e.Key, &e.Version, &e.VersionHash, &e.Order, &e.User, &e.Variant, &e.Category, &e.Class, &e.Thread,
		&row, &due, &expires, &created, &released, &read, &e.Superseded, &e.Told)
	if err != nil {
		return e, err
	}
	e.DueAt, e.ExpiresAt, e.CreatedAt = sqldb.Time(due), sqldb.Time(expires), sqldb.Time(created)
	e.ReleasedAt, e.ReadAt = sqldb.Time(released), sqldb.Time(read)
	dec := json.NewDecoder(strings.NewReader(row))
	dec.UseNumber() // BIGINT and DECIMAL stay exact
	if err := dec.Decode(&e.Row); err != nil {
		return e, fmt.Errorf("decode row of notification %d: %w", e.ID, err)
	}
	return e, nil
}

// MarkRead implements notifier.InboxStore.
func (l *Ledger) MarkRead(ctx context.Context, user devices.UserID, id notifier.NotificationID, hidden []string) (found bool, err error) {
	rules, err := rulesBatch(hidden)
	if err != nil {
		return false, err
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		classes, err := l.shownClasses(ctx, tx, user)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, l.inboxQuery(`SELECT EXISTS (SELECT 1 FROM notifications n WHERE n.id = $3 AND `+ownItem+`)
			OR EXISTS (SELECT 1 FROM deliveries x WHERE x.user_id = $2 AND x.notification_id = $3 AND `+told+` {shown of x})`, false, classes),
			rules, string(user), int64(id)).Scan(&found)
		if err != nil || !found {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO inbox_reads (user_id, notification_id, read_at) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, notification_id) DO NOTHING`, string(user), int64(id), now)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("note read: %w", err)
	}
	return found, nil
}

// MarkReadUpTo implements notifier.InboxStore.
func (l *Ledger) MarkReadUpTo(ctx context.Context, user devices.UserID, id notifier.NotificationID, hidden []string) error {
	rules, err := rulesBatch(hidden)
	if err != nil {
		return err
	}
	below := min(int64(id), maxID-1) + 1
	for marked := readBatch; marked == readBatch; {
		err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			now, err := l.now(ctx, tx)
			if err != nil {
				return err
			}
			classes, err := l.shownClasses(ctx, tx, user)
			if err != nil {
				return err
			}
			query := l.inboxQuery(`WITH `+inboxPage+` INSERT INTO inbox_reads (user_id, notification_id, read_at)
				SELECT $2, p.id, $5 FROM page p WHERE TRUE ON CONFLICT (user_id, notification_id) DO NOTHING`, true, classes)
			marked, err = sqldb.Exec(ctx, tx, query, rules, string(user), below, readBatch, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("note read: %w", err)
		}
	}
	return nil
}

// rulesBatch is a batch of rule ids.
func rulesBatch(rules []string) (string, error) {
	type item struct {
		Rule string `json:"rule_id"`
	}
	items := make([]item, len(rules))
	for i, r := range rules {
		items[i].Rule = r
	}
	return sqldb.Batch(items)
}
