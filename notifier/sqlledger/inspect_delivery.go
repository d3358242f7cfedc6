package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

const selectDelivery = `SELECT id, notification_id, device_id, user_id, rule_id, provider, urgency, state, reason,
	attempts, unknowns, owner, due_at, expires_at, created_at, finished_at FROM deliveries WHERE TRUE`

func scanDelivery(r *sql.Rows) (d notifier.DeliveryRecord, err error) {
	var due, expires, created, finished int64
	err = r.Scan(&d.ID, &d.Notification, &d.Device, &d.User, &d.Rule, &d.Provider, &d.Urgency, &d.State, &d.Reason,
		&d.Counted, &d.Unknowns, &d.Owner, &due, &expires, &created, &finished)
	d.DueAt, d.ExpiresAt = sqldb.Time(due), sqldb.Time(expires)
	d.CreatedAt, d.FinishedAt = sqldb.Time(created), sqldb.Time(finished)
	return d, err
}

// Deliveries returns a page of deliveries, in the order that the query tells.
func (l *Ledger) Deliveries(ctx context.Context, q notifier.DeliveryQuery) ([]notifier.DeliveryRecord, error) {
	out, err := list(ctx, l, deliveriesStatement(q), scanDelivery)
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return out, nil
}

// unsentStates spells the condition of the index deliveries_unsent, without
// which a planner does not use it.
const unsentStates = ` AND state NOT IN ('queued', 'leased', 'sent')`

// deliveriesStatement leads the query along the index that finds least: that of
// the device, the user, the notification, a state that is not the usual one, the
// rule, and else the time. The others are looked at row by row.
func deliveriesStatement(q notifier.DeliveryQuery) *statement {
	var s statement
	s.text(selectDelivery)
	led := false
	// lead takes the first condition for the index; the later ones stay beside it.
	lead := func(column string, value any) {
		if led {
			s.and(besideLead(column), value)
			return
		}
		led = true
		s.and(column+` = ?`, value)
	}
	if q.Notification != 0 {
		if q.ByDevice() || q.Device != "" {
			s.and(`notification_id = ?`, q.Notification) // unique with the device
			if q.Device != "" {
				s.and(`device_id = ?`, q.Device)
			}
			led = true
		} else {
			s.and(`notification_id + 0 = ?`, q.Notification)
		}
	} else if q.Device != "" {
		lead("device_id", q.Device)
	}
	if q.User != "" {
		lead("user_id", q.User)
	}
	switch q.State {
	case "":
	case notifier.Queued, notifier.Leased, notifier.Sent:
		s.and(besideLead("state"), q.State)
	default:
		if !led {
			s.text(unsentStates)
		}
		lead("state", q.State)
	}
	if q.Rule != "" {
		lead("rule_id", q.Rule)
	}
	if q.Provider != "" {
		s.and(besideLead("provider"), q.Provider)
	}
	if q.Reason != "" {
		s.and(besideLead("reason"), q.Reason)
	}
	if !q.Since.IsZero() {
		s.and(`created_at >= ?`, sqldb.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		column := `created_at`
		if q.After != nil && !q.ByDevice() {
			column += ` + 0` // the index is for where the page before ended: of two upper bounds it takes one
		}
		s.and(column+` < ?`, sqldb.Micros(q.Until))
	}
	if q.ByDevice() {
		if q.After != nil {
			s.and(`device_id > ?`, q.After.Device)
		}
		s.text(` ORDER BY device_id`)
		return s.limit(q.Limit)
	}
	if q.After != nil {
		s.and(`(created_at, id) < (?, ?)`, sqldb.Micros(q.After.CreatedAt), q.After.ID)
	}
	s.text(` ORDER BY created_at DESC, id DESC`)
	return s.limit(q.Limit)
}

// Delivery returns a delivery with its attempts, or notifier.ErrUnknownDelivery.
func (l *Ledger) Delivery(ctx context.Context, id notifier.DeliveryID) (notifier.DeliveryRecord, error) {
	var s statement
	s.text(selectDelivery)
	s.and(`id = ?`, id)
	found, err := list(ctx, l, &s, scanDelivery)
	if err != nil {
		return notifier.DeliveryRecord{}, fmt.Errorf("read delivery %d: %w", id, err)
	}
	if len(found) == 0 {
		return notifier.DeliveryRecord{}, notifier.ErrUnknownDelivery
	}
	d := found[0]
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT generation, owner, started_at, ended_at, verdict, code, status, provider_id
		FROM attempts WHERE delivery_id = $1 ORDER BY id`, id)
	d.Attempts, err = sqldb.Collect(rows, err, func(r *sql.Rows) (a notifier.AttemptRecord, err error) {
		var started, ended int64
		err = r.Scan(&a.Generation, &a.Owner, &started, &ended, &a.Verdict, &a.Code, &a.Status, &a.ProviderID)
		a.StartedAt, a.EndedAt = sqldb.Time(started), sqldb.Time(ended)
		return a, err
	})
	if err != nil {
		return d, fmt.Errorf("read attempts of delivery %d: %w", id, err)
	}
	return d, nil
}
