package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// notStopped is true of a rule id r.rule_id of which something may be sent.
const notStopped = `NOT EXISTS (SELECT 1 FROM stops s WHERE s.rule_id IN ('', r.rule_id))`

const selectStops = `SELECT rule_id, actor, reason, at FROM stops`

func scanStop(r *sql.Rows) (s notifier.Stop, err error) {
	var at int64
	err = r.Scan(&s.Rule, &s.Actor, &s.Reason, &at)
	s.At = sqldb.Time(at)
	return s, err
}

// Stops implements notifier.StopReader.
func (l *Ledger) Stops(ctx context.Context) ([]notifier.Stop, error) {
	return collectStops(l.db.SQL().QueryContext(ctx, selectStops+` ORDER BY rule_id`))
}

func collectStops(rows *sql.Rows, err error) ([]notifier.Stop, error) {
	out, err := sqldb.Collect(rows, err, scanStop)
	if err != nil {
		return nil, fmt.Errorf("list stops: %w", err)
	}
	return out, nil
}

// SetStopped implements notifier.ControlLedger.
func (l *Ledger) SetStopped(ctx context.Context, by notifier.Actor, rule string, stopped bool, reason string) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.db.Lock(ctx, tx, "stop "+rule); err != nil {
			return err
		}
		var before stopState
		err := tx.QueryRowContext(ctx, `SELECT reason FROM stops WHERE rule_id = $1`, rule).Scan(&before.Reason)
		before.Stopped = err == nil
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("read stop: %w", err)
		case before.Stopped == stopped:
			return nil // the first one to say it stays on record
		}
		action, subject := notifier.ActionStart, notifier.SubjectSending
		if rule != "" {
			subject = notifier.SubjectRule(rule)
		}
		if stopped {
			action = notifier.ActionStop
			now, err := l.now(ctx, tx)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO stops (rule_id, actor, reason, at) VALUES ($1, $2, $3, $4)`, rule, by.Name, reason, now)
			if err != nil {
				return fmt.Errorf("write stop: %w", err)
			}
		} else if _, err := tx.ExecContext(ctx, `DELETE FROM stops WHERE rule_id = $1`, rule); err != nil {
			return fmt.Errorf("delete stop: %w", err)
		}
		return l.note(ctx, tx, by, action, subject, before, stopState{Stopped: stopped, Reason: reason})
	})
	if err != nil {
		return fmt.Errorf("set stopped: %w", err)
	}
	return nil
}
