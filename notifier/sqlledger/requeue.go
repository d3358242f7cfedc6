package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
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
	// After is the delivery behind which it went on; 0 when it began.
	After    notifier.DeliveryID `json:"after,omitempty"`
	Matching int                 `json:"matching"`
	// Unconfirmed counts what was left out.
	Unconfirmed int `json:"unconfirmed,omitempty"`
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
		unconfirmed := f
		unconfirmed.State = notifier.Unconfirmed
		counts := []struct {
			of   notifier.RequeueFilter
			live bool
			n    *int
		}{{f, true, &out.Matching}, {f, false, &out.Expired}, {unconfirmed, true, &out.Unconfirmed}}
		if f.State != "" {
			counts = counts[:2] // nothing is left out
		}
		for _, c := range counts {
			s := requeueCount(c.of, now, c.live)
			if err := tx.QueryRowContext(ctx, s.sql.String(), s.args...).Scan(c.n); err != nil {
				return fmt.Errorf("count deliveries: %w", err)
			}
		}
		if f.DryRun {
			return nil
		}
		s := l.requeueUpdate(f, now)
		// Attempts and unknowns stay: they happened, and a correction may depend on them.
		rows, err := tx.QueryContext(ctx, s.sql.String(), s.args...)
		done, err := sqldb.Collect(rows, err, scanRequeued)
		if err != nil {
			return fmt.Errorf("update deliveries: %w", err)
		}
		if out.Requeued = len(done); len(done) == f.Limit {
			last := slices.MaxFunc(done, func(a, b notifier.RequeueCursor) int {
				return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
			})
			out.Next = &last
		}
		before := requeueState{
			State: f.State, Rule: f.Rule, Provider: f.Provider, Reason: f.Reason, Since: orNil(f.Since), Until: orNil(f.Until),
			Matching: out.Matching, Unconfirmed: out.Unconfirmed,
		}
		if f.After != nil {
			before.After = f.After.ID
		}
		return l.note(ctx, tx, by, notifier.ActionRequeueAll, notifier.SubjectDeliveries, before, requeuedState{State: notifier.Queued, Deliveries: out.Requeued})
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
	s.text(l.db.Dialect().SkipLocked + `) RETURNING created_at, id`)
	return &s
}

func scanRequeued(r *sql.Rows) (c notifier.RequeueCursor, err error) {
	var created int64
	err = r.Scan(&created, &c.ID)
	c.CreatedAt = sqldb.Time(created)
	return c, err
}

// requeueFrom picks deliveries along the index of what went wrong, one state after the other.
func requeueFrom(s *statement, f notifier.RequeueFilter, now int64, live bool) {
	s.text(`SELECT id FROM deliveries WHERE TRUE` + unsentStates)
	if f.State != "" {
		s.and(`state = ?`, f.State)
	} else {
		s.text(` AND state IN ('gone', 'rejected', 'expired', 'cancelled')`) // notifier.UntoldStates
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
	if f.After != nil {
		s.and(`(created_at, id) > (?, ?)`, sqldb.Micros(f.After.CreatedAt), f.After.ID)
	}
	if live {
		s.and(`expires_at > ?`, now)
	} else {
		s.and(`expires_at <= ?`, now)
	}
}
