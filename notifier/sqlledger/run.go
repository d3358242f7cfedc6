package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// Begin implements notifier.RunLedger.
func (l *Ledger) Begin(ctx context.Context, req notifier.BeginRun) (run notifier.Run, ok bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := l.now()
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET state = 'failed', error = 'lease lapsed', finished_at = $1
			WHERE rule_id = $2 AND state = 'reading' AND lease_until <= $1`, now, req.Rule); err != nil {
			return fmt.Errorf("fail lapsed run: %w", err)
		}
		known, err := l.progress(ctx, tx, req.Rule)
		if err != nil {
			return err
		}
		w := req.Plan(known)
		run = notifier.Run{Rule: req.Rule, TickAt: req.TickAt, Owner: req.Owner, Lease: req.Lease, RunWindow: w, Position: w.StartAt}
		if known != nil {
			run.Position = known.Position
		}
		err = tx.QueryRowContext(ctx, `INSERT INTO runs
			(rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at)
			VALUES ($1, $2, 'reading', $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT DO NOTHING RETURNING id`,
			req.Rule, sqldb.Micros(req.TickAt), w.Baseline, sqldb.Micros(w.Since), sqldb.Micros(w.Until), req.Generation, req.Owner,
			now+req.Lease.Microseconds(), now).Scan(&run.ID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // this tick has its run, or another run of the rule is still reading
		}
		if err != nil {
			return fmt.Errorf("insert run: %w", err)
		}
		ok = true
		if known == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO watermarks (rule_id, identity, start_at, position, swept_at)
				VALUES ($1, $2, $3, $3, $4)`, req.Rule, req.Identity, sqldb.Micros(w.StartAt), sqldb.Micros(req.TickAt))
			if err != nil {
				return fmt.Errorf("insert watermark: %w", err)
			}
		}
		return nil
	})
	return run, ok && err == nil, err
}

func (l *Ledger) progress(ctx context.Context, tx *sql.Tx, rule string) (*notifier.Progress, error) {
	var p notifier.Progress
	var start, position, swept int64
	err := tx.QueryRowContext(ctx, `SELECT identity, start_at, position, swept_at FROM watermarks WHERE rule_id = $1`+
		l.db.Dialect().ForUpdate, rule).Scan(&p.Identity, &start, &position, &swept)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read watermark: %w", err)
	}
	p.StartAt, p.Position, p.SweptAt = sqldb.Time(start), sqldb.Time(position), sqldb.Time(swept)
	return &p, nil
}

// hold checks the fence and renews the lease; every step of a run begins with it.
func (l *Ledger) hold(ctx context.Context, tx *sql.Tx, run notifier.Run) error {
	n, err := exec(ctx, tx, `UPDATE runs SET lease_until = $1 WHERE id = $2 AND owner = $3 AND state = 'reading'`,
		l.now()+run.Lease.Microseconds(), run.ID, run.Owner)
	if err != nil {
		return fmt.Errorf("hold run: %w", err)
	}
	if n == 0 {
		return notifier.ErrRunLost
	}
	return nil
}

// Advance implements notifier.RunLedger.
func (l *Ledger) Advance(ctx context.Context, run notifier.Run, from, to time.Time) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		n, err := exec(ctx, tx, `UPDATE watermarks SET position = $1 WHERE rule_id = $2 AND position = $3`,
			sqldb.Micros(to), run.Rule, sqldb.Micros(from))
		if err != nil {
			return fmt.Errorf("move watermark: %w", err)
		}
		if n == 0 {
			return notifier.ErrWatermarkMoved
		}
		return nil
	})
}

// Finish implements notifier.RunLedger.
func (l *Ledger) Finish(ctx context.Context, run notifier.Run, rule *notifier.Rule) (rel notifier.Release, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		rel = notifier.Release{State: notifier.RunReleased}
		if rule.MaxDeliveries > 0 {
			if rel.Planned, err = l.planned(ctx, tx, run.ID); err != nil {
				return err
			}
			if rel.Planned > rule.MaxDeliveries {
				rel.State = notifier.RunHeld
			}
		}
		now := l.now()
		if rel.Notifications, err = l.setStaged(ctx, tx, run.ID, rel.State, now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET state = $1, planned = $2, finished_at = $3 WHERE id = $4`,
			rel.State, rel.Planned, now, run.ID); err != nil {
			return fmt.Errorf("finish run: %w", err)
		}
		if run.Baseline || run.Sweep {
			_, err = tx.ExecContext(ctx, `UPDATE watermarks SET identity = $1, start_at = $2, swept_at = $3 WHERE rule_id = $4`,
				rule.Identity, sqldb.Micros(run.StartAt), sqldb.Micros(run.TickAt), run.Rule)
			if err != nil {
				return fmt.Errorf("note sweep: %w", err)
			}
		}
		return nil
	})
	return rel, err
}

// setStaged moves what a run has staged to the state that the run ends in.
func (l *Ledger) setStaged(ctx context.Context, tx *sql.Tx, run notifier.RunID, state notifier.RunState, now int64) (int, error) {
	n, err := exec(ctx, tx, `UPDATE notifications SET state = $1, released_at = $2 WHERE run_id = $3 AND state = 'staged'`,
		state, now, run)
	if err != nil {
		return 0, fmt.Errorf("release notifications: %w", err)
	}
	return n, nil
}

// planned counts the deliveries that releasing a run would make.
func (l *Ledger) planned(ctx context.Context, tx *sql.Tx, run notifier.RunID) (n int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM notifications n JOIN devices d ON d.user_id = n.user_id
			WHERE n.run_id = $1 AND n.state = 'staged' AND n.audience = 'user' AND d.state = 'active')
		+ (SELECT COUNT(*) FROM notifications n WHERE n.run_id = $1 AND n.state = 'staged' AND n.audience = 'all')
			* (SELECT COUNT(*) FROM devices d WHERE d.state = 'active')
		+ (SELECT COUNT(*) FROM notifications n JOIN notifications o ON o.thread = n.thread AND o.id < n.id
			JOIN deliveries x ON x.notification_id = o.id
			WHERE n.run_id = $1 AND n.state = 'staged' AND n.audience = 'follows' AND x.state IN ('sent', 'leased', 'unconfirmed'))`,
		run).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count planned deliveries: %w", err)
	}
	return n, nil
}

// Fail implements notifier.RunLedger.
func (l *Ledger) Fail(ctx context.Context, run notifier.Run, reason string) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE runs SET state = 'failed', error = $1, finished_at = $2 WHERE id = $3`,
			reason, l.now(), run.ID)
		return err
	})
}

// ReleaseHeld releases what a held run holds: an operator has looked at it.
func (l *Ledger) ReleaseHeld(ctx context.Context, id notifier.RunID) error {
	return l.endHeld(ctx, id, notifier.RunReleased)
}

// DiscardHeld drops what a held run holds, for good: the same version is never announced.
func (l *Ledger) DiscardHeld(ctx context.Context, id notifier.RunID) error {
	return l.endHeld(ctx, id, notifier.RunDiscarded)
}

func (l *Ledger) endHeld(ctx context.Context, id notifier.RunID, state notifier.RunState) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := exec(ctx, tx, `UPDATE runs SET state = $1 WHERE id = $2 AND state = 'held'`, state, id)
		if err != nil {
			return fmt.Errorf("end held run: %w", err)
		}
		if n == 0 {
			return notifier.ErrRunLost
		}
		_, err = tx.ExecContext(ctx, `UPDATE notifications SET state = $1, released_at = $2 WHERE run_id = $3 AND state = 'held'`,
			state, l.now(), id)
		return err
	})
}
