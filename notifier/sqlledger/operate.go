package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var (
	_ notifier.ControlLedger = (*Ledger)(nil)
	_ notifier.Auditor       = (*Ledger)(nil)
)

// control reads an operator's word on a rule and holds it, also while there is
// none, until the transaction ends. It comes first in a transaction.
func (l *Ledger) control(ctx context.Context, tx *sql.Tx, rule string) (notifier.RuleControl, error) {
	if err := l.db.Lock(ctx, tx, "control "+rule); err != nil {
		return notifier.RuleControl{}, err
	}
	return scanControl(tx.QueryRowContext(ctx, selectControl, rule))
}

const selectControl = `SELECT paused, actor, reason, at FROM rule_controls WHERE rule_id = $1`

func scanControl(row *sql.Row) (c notifier.RuleControl, err error) {
	var at int64
	err = row.Scan(&c.Paused, &c.Actor, &c.Reason, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return notifier.RuleControl{}, nil
	}
	if err != nil {
		return notifier.RuleControl{}, fmt.Errorf("read control of rule: %w", err)
	}
	c.At = sqldb.Time(at)
	return c, nil
}

// SetPaused implements notifier.ControlLedger.
func (l *Ledger) SetPaused(ctx context.Context, by notifier.Actor, rule string, paused bool, reason string) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := l.control(ctx, tx, rule)
		if err != nil || before.Paused == paused {
			return err // the first one to say it stays on record
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO rule_controls (rule_id, paused, actor, reason, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (rule_id) DO UPDATE SET paused = excluded.paused, actor = excluded.actor, reason = excluded.reason, at = excluded.at`,
			rule, paused, by.Name, reason, now)
		if err != nil {
			return fmt.Errorf("write control: %w", err)
		}
		action := notifier.ActionResume
		if paused {
			action = notifier.ActionPause
		}
		return l.note(ctx, tx, by, action, notifier.SubjectRule(rule),
			pauseState{Paused: before.Paused, Reason: before.Reason}, pauseState{Paused: paused, Reason: reason})
	})
	if err != nil {
		return fmt.Errorf("set paused of rule %s: %w", rule, err)
	}
	return nil
}

// EndHeld implements notifier.ControlLedger.
func (l *Ledger) EndHeld(ctx context.Context, by notifier.Actor, id notifier.RunID, state notifier.RunState) (run notifier.RunRecord, err error) {
	action := notifier.ActionRelease
	if state == notifier.RunDiscarded {
		action = notifier.ActionDiscard
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := l.endHeld(ctx, tx, id, state)
		if errors.Is(err, notifier.ErrRunLost) {
			err = l.whyNotHeld(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		var s statement
		s.text(selectRun)
		s.and(`id = ?`, id)
		if run, err = one(ctx, tx, &s, scanRun); err != nil {
			return fmt.Errorf("read run: %w", err)
		}
		return l.note(ctx, tx, by, action, notifier.SubjectRun(id), runState{State: notifier.RunHeld}, runState{State: state, Notifications: n})
	})
	if err != nil {
		return notifier.RunRecord{}, fmt.Errorf("end held run %d: %w", id, err)
	}
	return run, nil
}

func (l *Ledger) whyNotHeld(ctx context.Context, tx *sql.Tx, id notifier.RunID) error {
	var state notifier.RunState
	err := tx.QueryRowContext(ctx, `SELECT state FROM runs WHERE id = $1`, id).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return notifier.ErrUnknownRun
	case err != nil:
		return fmt.Errorf("read run: %w", err)
	}
	return fault.Wrap(fault.Conflict, notifier.ErrRunNotHeld,
		fmt.Sprintf("the run is %s: only a held run can be released or discarded", state))
}

// endHeld returns how many notifications it moved, and ErrRunLost when the run is not held.
func (l *Ledger) endHeld(ctx context.Context, tx *sql.Tx, id notifier.RunID, state notifier.RunState) (int, error) {
	n, err := sqldb.Exec(ctx, tx, `UPDATE runs SET state = $1 WHERE id = $2 AND state = 'held'`, state, id)
	if err != nil {
		return 0, fmt.Errorf("end held run: %w", err)
	}
	if n == 0 {
		return 0, notifier.ErrRunLost
	}
	now, err := l.now(ctx, tx)
	if err != nil {
		return 0, err
	}
	provisional := 0
	if state == notifier.RunReleased {
		if provisional, err = l.setProvisional(ctx, tx, id, "held", now); err != nil {
			return 0, err
		}
	}
	n, err = sqldb.Exec(ctx, tx, `UPDATE notifications SET state = $1, released_at = $2 WHERE run_id = $3 AND state = 'held'`,
		state, now, id)
	if err != nil {
		return 0, fmt.Errorf("move held notifications: %w", err)
	}
	return provisional + n, nil
}

// ReleaseHeld releases what a held run holds, without an operator. It returns
// ErrRunLost when the run is not held.
func (l *Ledger) ReleaseHeld(ctx context.Context, id notifier.RunID) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := l.endHeld(ctx, tx, id, notifier.RunReleased)
		return err
	})
}

// DiscardHeld drops what a held run holds, for good: the same version is never
// announced. It returns ErrRunLost when the run is not held.
func (l *Ledger) DiscardHeld(ctx context.Context, id notifier.RunID) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := l.endHeld(ctx, tx, id, notifier.RunDiscarded)
		return err
	})
}

// Requeue implements notifier.ControlLedger.
func (l *Ledger) Requeue(ctx context.Context, by notifier.Actor, id notifier.DeliveryID) (queued notifier.DeliveryRecord, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var before deliveryState
		var expires int64
		err := tx.QueryRowContext(ctx, `SELECT state, reason, expires_at FROM deliveries WHERE id = $1`+l.db.Dialect().ForUpdate, id).
			Scan(&before.State, &before.Reason, &expires)
		if errors.Is(err, sql.ErrNoRows) {
			return notifier.ErrUnknownDelivery
		}
		if err != nil {
			return fmt.Errorf("read delivery: %w", err)
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		switch {
		case !slices.Contains(notifier.RequeueableStates(), before.State):
			return fault.Newf(fault.Conflict, "the delivery is %s: only gone, rejected, expired, unconfirmed and cancelled ones can be requeued", before.State)
		case expires <= now:
			return fault.Newf(fault.Conflict, "the notification expired at %s: it is worth nothing any more",
				sqldb.Time(expires).Format("2006-01-02T15:04:05Z07:00"))
		}
		// Attempts and unknowns stay: they happened, and a correction may depend on them.
		_, err = tx.ExecContext(ctx, `UPDATE deliveries SET state = 'queued', reason = '', owner = '', lease_until = 0,
			due_at = $1, finished_at = 0 WHERE id = $2`, now, id)
		if err != nil {
			return fmt.Errorf("update delivery: %w", err)
		}
		var s statement
		s.text(selectDelivery)
		s.and(`id = ?`, id)
		if queued, err = one(ctx, tx, &s, scanDelivery); err != nil {
			return fmt.Errorf("read delivery: %w", err)
		}
		return l.note(ctx, tx, by, notifier.ActionRequeue, notifier.SubjectDelivery(id), before, deliveryState{State: notifier.Queued})
	})
	if err != nil {
		return notifier.DeliveryRecord{}, fmt.Errorf("requeue delivery %d: %w", id, err)
	}
	if whole, err := l.Delivery(ctx, id); err == nil {
		return whole, nil
	}
	return queued, nil // it is done, whether its attempts can be read or not
}
