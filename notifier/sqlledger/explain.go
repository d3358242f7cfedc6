package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.ExplainLedger = (*Ledger)(nil)

// NotificationsOf implements notifier.ExplainLedger.
func (l *Ledger) NotificationsOf(ctx context.Context, set []notifier.NotificationID) ([]notifier.NotificationRecord, error) {
	if len(set) == 0 {
		return nil, nil
	}
	param, err := ids(set)
	if err != nil {
		return nil, err
	}
	rows, err := l.db.SQL().QueryContext(ctx, l.notificationsOfQuery(), param)
	out, err := sqldb.Collect(rows, err, scanNotification)
	if err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	return out, nil
}

func (l *Ledger) notificationsOfQuery() string {
	return selectNotification + ` WHERE id IN ` + l.idSet()
}

// Undelivered implements notifier.ExplainLedger.
func (l *Ledger) Undelivered(
	ctx context.Context, user devices.UserID, before, from notifier.NotificationID, limit int,
) ([]notifier.NotificationRecord, error) {
	out, err := list(ctx, l, undeliveredStatement(user, before, from, limit), scanNotification)
	if err != nil {
		return nil, fmt.Errorf("list notifications without deliveries: %w", err)
	}
	return out, nil
}

func undeliveredStatement(user devices.UserID, before, from notifier.NotificationID, limit int) *statement {
	var s statement
	s.text(selectNotification + ` WHERE user_id <> ''`) // word for word, so that the partial index serves
	s.and(`user_id = ?`, string(user))
	if before > 0 {
		s.and(`id < ?`, before)
	}
	if from > 0 {
		s.and(`id >= ?`, from)
	}
	s.text(` AND NOT EXISTS (SELECT 1 FROM deliveries x WHERE x.notification_id = notifications.id) ORDER BY id DESC`)
	return s.limit(limit)
}

// Thread implements notifier.ExplainLedger.
func (l *Ledger) Thread(ctx context.Context, thread string, limit int) ([]notifier.ThreadEntry, error) {
	out, err := list(ctx, l, threadStatement(thread, limit), func(r *sql.Rows) (e notifier.ThreadEntry, err error) {
		var created, released int64
		err = r.Scan(&e.ID, &e.Rule, &e.Version, &e.Variant, &e.State, &e.Shadow, &created, &released)
		e.CreatedAt, e.ReleasedAt = sqldb.Time(created), sqldb.Time(released)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("read thread: %w", err)
	}
	return out, nil
}

func threadStatement(thread string, limit int) *statement {
	var s statement
	s.text(`SELECT id, rule_id, version, variant, state, shadow, created_at, released_at FROM notifications WHERE TRUE`)
	s.and(`thread = ?`, thread)
	s.text(` ORDER BY id DESC`)
	return s.limit(limit)
}

// Replaced implements notifier.ExplainLedger.
func (l *Ledger) Replaced(ctx context.Context, set []notifier.NotificationID) (map[notifier.NotificationID]notifier.NotificationID, error) {
	if len(set) == 0 {
		return nil, nil
	}
	param, err := ids(set)
	if err != nil {
		return nil, err
	}
	type pair struct{ old, by notifier.NotificationID }
	rows, err := l.db.SQL().QueryContext(ctx, l.replacedQuery(), param)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (p pair, err error) { return p, r.Scan(&p.old, &p.by) })
	if err != nil {
		return nil, fmt.Errorf("read what took the place of notifications: %w", err)
	}
	out := make(map[notifier.NotificationID]notifier.NotificationID, len(found))
	for _, p := range found {
		if p.by != 0 {
			out[p.old] = p.by
		}
	}
	return out, nil
}

// replacedQuery walks each thread from its newest end to the first that counts.
func (l *Ledger) replacedQuery() string {
	return `SELECT n.id, COALESCE((SELECT o.id FROM notifications o WHERE o.thread = n.thread AND o.id > n.id AND o.state = 'released'
			AND (n.shadow OR NOT o.shadow) ORDER BY o.thread DESC, o.id DESC LIMIT 1), 0)
		FROM notifications n WHERE n.id IN ` + l.idSet()
}

// RunsOf implements notifier.ExplainLedger.
func (l *Ledger) RunsOf(ctx context.Context, set []notifier.RunID) ([]notifier.RunRecord, error) {
	if len(set) == 0 {
		return nil, nil
	}
	var s statement
	s.text(selectRun)
	among(&s, "id", set)
	out, err := list(ctx, l, &s, scanRun)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return out, nil
}

const selectAttempts = `SELECT delivery_id, generation, owner, started_at, ended_at, verdict, code, status, provider_id FROM attempts`

// Attempts implements notifier.ExplainLedger.
func (l *Ledger) Attempts(ctx context.Context, set []notifier.DeliveryID) (map[notifier.DeliveryID][]notifier.AttemptRecord, error) {
	if len(set) == 0 {
		return nil, nil
	}
	type attempt struct {
		delivery notifier.DeliveryID
		notifier.AttemptRecord
	}
	found, err := list(ctx, l, attemptsStatement(set), func(r *sql.Rows) (a attempt, err error) {
		var started, ended int64
		err = r.Scan(&a.delivery, &a.Generation, &a.Owner, &started, &ended, &a.Verdict, &a.Code, &a.Status, &a.ProviderID)
		a.StartedAt, a.EndedAt = sqldb.Time(started), sqldb.Time(ended)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	out := map[notifier.DeliveryID][]notifier.AttemptRecord{}
	for _, a := range found {
		out[a.delivery] = append(out[a.delivery], a.AttemptRecord)
	}
	return out, nil
}

func attemptsStatement(set []notifier.DeliveryID) *statement {
	var s statement
	s.text(selectAttempts + ` WHERE TRUE`)
	among(&s, "delivery_id", set)
	s.text(` ORDER BY id`)
	return &s
}

// StoppedBy implements notifier.ExplainLedger.
func (l *Ledger) StoppedBy(ctx context.Context, set []notifier.DeliveryID) (map[notifier.DeliveryID]notifier.Stopped, error) {
	type item struct {
		Subject string `json:"subject"`
	}
	items := make([]item, len(set))
	for i, id := range set {
		items[i].Subject = notifier.SubjectDelivery(id)
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return nil, err
	}
	type entry struct{ subject, after string }
	rows, err := l.db.SQL().QueryContext(ctx, l.stoppedByQuery(), param)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (e entry, err error) { return e, r.Scan(&e.subject, &e.after) })
	if err != nil {
		return nil, fmt.Errorf("read what suppressions stopped: %w", err)
	}
	out := make(map[notifier.DeliveryID]notifier.Stopped, len(found))
	for _, e := range found {
		_, text, _ := strings.Cut(e.subject, "/")
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue // SubjectDelivery writes numbers
		}
		var s notifier.Stopped
		if err := json.Unmarshal([]byte(e.after), &s); err != nil {
			return nil, fmt.Errorf("read audit entry of %s: %w", e.subject, err)
		}
		out[notifier.DeliveryID(id)] = s // the latest comes last
	}
	return out, nil
}

func (l *Ledger) stoppedByQuery() string {
	return `SELECT subject, after_state FROM audit WHERE ` + besideIndex("action") + ` = 'stopped'
		AND subject IN (SELECT j.subject FROM ` + l.records("subject TEXT") + `) ORDER BY id`
}
