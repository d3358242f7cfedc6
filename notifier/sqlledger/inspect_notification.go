package sqlledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// Notification returns a notification and counts its deliveries, or
// notifier.ErrUnknownNotification.
func (l *Ledger) Notification(ctx context.Context, id notifier.NotificationID) (notifier.NotificationRecord, error) {
	rows, err := l.db.SQL().QueryContext(ctx, selectNotification+` WHERE id = $1`, id)
	found, err := sqldb.Collect(rows, err, scanNotification)
	if err != nil {
		return notifier.NotificationRecord{}, fmt.Errorf("read notification %d: %w", id, err)
	}
	if len(found) == 0 {
		return notifier.NotificationRecord{}, notifier.ErrUnknownNotification
	}
	n := found[0]
	n.Deliveries, err = counts[notifier.DeliveryState](ctx, l,
		`SELECT state, COUNT(*) FROM (SELECT state FROM deliveries WHERE notification_id = $1 LIMIT $2) c GROUP BY state`, id, notifier.MaxCounted)
	if err != nil {
		return n, fmt.Errorf("count deliveries of notification %d: %w", id, err)
	}
	return n, nil
}

const selectNotification = `SELECT id, rule_id, identity, shadow, follow_up, key, version, version_hash, order_value, latest, thread,
	audience, user_id, variant, category, class, urgency, state, run_id, source_row, due_at, expires_at, created_at,
	released_at, fanned_at, hold_until, confirmed_at FROM notifications`

// Held implements notifier.ControlLedger.
func (l *Ledger) Held(ctx context.Context, id notifier.RunID, limit int) ([]notifier.NotificationRecord, error) {
	rows, err := l.db.SQL().QueryContext(ctx, selectNotification+` WHERE run_id = $1 AND state = 'held' ORDER BY run_id, id LIMIT $2`, id, limit)
	found, err := sqldb.Collect(rows, err, scanNotification)
	if err != nil {
		return nil, fmt.Errorf("read what run %d holds: %w", id, err)
	}
	return found, nil
}

// RunNotifications returns a page of a run's notifications, without counts, by their ids.
func (l *Ledger) RunNotifications(ctx context.Context, q notifier.RunNotificationQuery) ([]notifier.NotificationRecord, error) {
	out, err := list(ctx, l, runNotificationsStatement(q), scanNotification)
	if err != nil {
		return nil, fmt.Errorf("list notifications of run %d: %w", q.Run, err)
	}
	return out, nil
}

func runNotificationsStatement(q notifier.RunNotificationQuery) *statement {
	var s statement
	s.text(selectNotification + ` WHERE TRUE`)
	s.and(`run_id = ?`, q.Run)
	if q.After > 0 {
		s.and(`id > ?`, q.After)
	}
	s.text(` ORDER BY run_id, id`) // as the index has it
	return s.limit(q.Limit)
}

func scanNotification(r *sql.Rows) (n notifier.NotificationRecord, err error) {
	var due, expires, created, released, fanned, hold, confirmed int64
	var row string
	err = r.Scan(&n.ID, &n.Rule, &n.Identity, &n.Shadow, &n.FollowUp, &n.Key, &n.Version, &n.VersionHash, &n.Order, &n.Latest, &n.Thread,
		&n.Audience, &n.User, &n.Variant, &n.Category, &n.Class, &n.Urgency, &n.State, &n.Run, &row, &due, &expires, &created,
		&released, &fanned, &hold, &confirmed)
	if err != nil {
		return n, err
	}
	n.DueAt, n.ExpiresAt, n.CreatedAt = sqldb.Time(due), sqldb.Time(expires), sqldb.Time(created)
	n.HeldUntil, n.ConfirmedAt = sqldb.Time(hold), sqldb.Time(confirmed)
	n.ReleasedAt, n.FannedOut = sqldb.Time(released), sqldb.Time(fanned)
	n.Row, err = decodeRow(row)
	return n, err
}

// decodeRow keeps BIGINT and DECIMAL exact.
func decodeRow(text string) (row notifier.Row, err error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	if err := dec.Decode(&row); err != nil {
		return nil, fmt.Errorf("decode row: %w", err)
	}
	return row, nil
}

// BadRows returns a page of bad rows, those first seen last first: unlike the
// last time they were seen, that never changes while somebody turns the pages.
func (l *Ledger) BadRows(ctx context.Context, q notifier.BadRowQuery) ([]notifier.BadRowRecord, error) {
	out, err := list(ctx, l, badRowsStatement(q), scanBadRow)
	if err != nil {
		return nil, fmt.Errorf("list bad rows: %w", err)
	}
	return out, nil
}

func scanBadRow(r *sql.Rows) (b notifier.BadRowRecord, err error) {
	var first, last int64
	var row string
	if err = r.Scan(&b.Rule, &b.Hash, &b.Reason, &b.Detail, &row, &b.Times, &first, &last); err != nil {
		return b, err
	}
	b.FirstSeen, b.LastSeen = sqldb.Time(first), sqldb.Time(last)
	b.Row, err = decodeRow(row)
	return b, err
}

func badRowsStatement(q notifier.BadRowQuery) *statement {
	var s statement
	s.text(`SELECT rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen FROM bad_rows WHERE TRUE`)
	if q.Rule != "" {
		s.and(`rule_id = ?`, q.Rule)
		if q.After != nil {
			s.and(`(first_seen, row_hash) < (?, ?)`, sqldb.Micros(q.After.FirstSeen), q.After.Hash)
		}
		s.text(` ORDER BY first_seen DESC, row_hash DESC`)
		return s.limit(q.Limit)
	}
	if q.After != nil {
		s.and(`(first_seen, rule_id, row_hash) < (?, ?, ?)`, sqldb.Micros(q.After.FirstSeen), q.After.Rule, q.After.Hash)
	}
	s.text(` ORDER BY first_seen DESC, rule_id DESC, row_hash DESC`)
	return s.limit(q.Limit)
}

// Known implements notifier.PreviewLedger.
func (l *Ledger) Known(ctx context.Context, rule *notifier.Rule, keys []string) (map[string]notifier.KnownVersion, error) {
	type item struct {
		Key string `json:"key"`
	}
	items, threads := make([]item, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		items[i].Key, threads[i] = k, rule.Thread(k)
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return nil, err
	}
	type pair struct {
		key string
		notifier.KnownVersion
	}
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT key, id, version, identity, version_hash, order_value, state,
		hold_until > 0 AND confirmed_at = 0 AND state IN ('staged', 'passed', 'held', 'provisional') FROM notifications
		WHERE rule_id = $2 AND latest AND key IN (SELECT j.key FROM `+l.records("key TEXT")+`)`, param, rule.ID)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (p pair, err error) {
		return p, r.Scan(&p.key, &p.ID, &p.Version, &p.Identity, &p.VersionHash, &p.Order, &p.State, &p.Held)
	})
	if err != nil {
		return nil, fmt.Errorf("read known versions: %w", err)
	}
	said, err := l.spokenOn(ctx, l.db.SQL(), rule, threads)
	if err != nil {
		return nil, err
	}
	out := make(map[string]notifier.KnownVersion, len(found))
	for _, p := range found {
		p.Spoken = said[rule.Thread(p.key)]
		out[p.key] = p.KnownVersion
	}
	return out, nil
}

// Reach implements notifier.PreviewLedger.
func (l *Ledger) Reach(ctx context.Context, q notifier.ReachQuery) (n int, err error) {
	var s statement
	if q.Audience == notifier.AudienceFollows {
		s.add(`SELECT COUNT(DISTINCT x.device_id) FROM notifications o
			JOIN deliveries x ON x.notification_id = o.id JOIN devices d ON d.id = x.device_id AND d.user_id = x.user_id
			WHERE o.thread = ? AND o.rule_id = ? AND d.state = 'active' AND (x.state IN ('sent', 'leased', 'unconfirmed') OR x.unknowns > 0)`,
			q.Thread, q.Follows)
	} else {
		s.text(`SELECT COUNT(*) FROM devices d LEFT JOIN preferences p ON p.user_id = d.user_id WHERE d.state = 'active'`)
		if q.Audience == notifier.AudienceUser {
			s.and(`d.user_id = ?`, q.User)
		}
		has := func(list string) string {
			return `EXISTS (SELECT 1 FROM ` + l.db.Dialect().Texts(`p.`+list) + ` WHERE j.value = ?)`
		}
		s.and(`NOT `+has("muted"), q.Category)
		if q.OptIn {
			s.and(has("opted_in"), q.Category)
		}
	}
	if err := l.db.SQL().QueryRowContext(ctx, s.sql.String(), s.args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count devices: %w", err)
	}
	return n, nil
}
