package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// requeueState is what stands in the audit of requeueing by a filter.
type requeueState struct {
	State    notifier.DeliveryState `json:"state,omitempty"`
	Rule     string                 `json:"rule,omitempty"`
	Provider devices.Provider       `json:"provider,omitempty"`
	Reason   string                 `json:"reason,omitempty"`
	Since    *time.Time             `json:"since,omitempty"`
	Until    *time.Time             `json:"until,omitempty"`
	Matching int                    `json:"matching"`
}

// requeuedState is what has become of them.
type requeuedState struct {
	State      notifier.DeliveryState `json:"state"`
	Deliveries int                    `json:"deliveries"`
}

// RequeueAll implements notifier.ControlLedger.
func (l *Ledger) RequeueAll(ctx context.Context, by notifier.Actor, f notifier.RequeueFilter) (out notifier.Requeued, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out = notifier.Requeued{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			live bool
			n    *int
		}{{true, &out.Matching}, {false, &out.Expired}} {
			s := requeueCount(f, now, c.live)
			if err := tx.QueryRowContext(ctx, s.sql.String(), s.args...).Scan(c.n); err != nil {
				return fmt.Errorf("count deliveries: %w", err)
			}
		}
		if f.DryRun {
			return nil
		}
		s := l.requeueUpdate(f, now)
		// Attempts and unknowns stay: they happened, and a correction may depend on them.
		if out.Requeued, err = sqldb.Exec(ctx, tx, s.sql.String(), s.args...); err != nil {
			return fmt.Errorf("update deliveries: %w", err)
		}
		return l.note(ctx, tx, by, notifier.ActionRequeueAll, notifier.SubjectDeliveries, requeueState{
			State: f.State, Rule: f.Rule, Provider: f.Provider, Reason: f.Reason, Since: orNil(f.Since), Until: orNil(f.Until), Matching: out.Matching,
		}, requeuedState{State: notifier.Queued, Deliveries: out.Requeued})
	})
	if err != nil {
		return notifier.Requeued{}, fmt.Errorf("requeue deliveries: %w", err)
	}
	return out, nil
}

func requeueCount(f notifier.RequeueFilter, now int64, live bool) *statement {
	var s statement
	s.text(`SELECT COUNT(*) FROM (`)
	requeueFrom(&s, f, now, live)
	s.limit(notifier.RequeueCounted)
	s.text(`) c`)
	return &s
}

func (l *Ledger) requeueUpdate(f notifier.RequeueFilter, now int64) *statement {
	var s statement
	s.add(`UPDATE deliveries SET state = 'queued', reason = '', owner = '', lease_until = 0, due_at = ?, finished_at = 0 WHERE id IN (`, now)
	requeueFrom(&s, f, now, true)
	s.text(` ORDER BY created_at, id`)
	s.limit(f.Limit)
	s.text(l.db.Dialect().SkipLocked + `)`)
	return &s
}

// requeueFrom picks deliveries along the index of what went wrong, one state after the other.
func requeueFrom(s *statement, f notifier.RequeueFilter, now int64, live bool) {
	s.text(`SELECT id FROM deliveries WHERE TRUE` + unsentStates)
	if f.State != "" {
		s.and(`state = ?`, f.State)
	} else {
		s.text(` AND state IN ('gone', 'rejected', 'expired', 'unconfirmed', 'cancelled')`)
	}
	if f.Rule != "" {
		s.and(besideLead("rule_id"), f.Rule)
	}
	if f.Provider != "" {
		s.and(`provider = ?`, f.Provider)
	}
	if f.Reason != "" {
		s.and(`reason = ?`, f.Reason)
	}
	if !f.Since.IsZero() {
		s.and(`created_at >= ?`, sqldb.Micros(f.Since))
	}
	if !f.Until.IsZero() {
		s.and(`created_at < ?`, sqldb.Micros(f.Until))
	}
	if live {
		s.and(`expires_at > ?`, now)
	} else {
		s.and(`expires_at <= ?`, now)
	}
}
