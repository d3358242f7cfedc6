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

// countedFailures bounds how many failed runs in a row are told apart: after that
// many the waits between them do not grow any more.
const countedFailures = 16

// LastRun implements notifier.RunLedger.
func (l *Ledger) LastRun(ctx context.Context, rule string) (last notifier.LastRun, err error) {
	type ended struct {
		tick, at int64
		state    notifier.RunState
	}
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT tick_at, state, finished_at FROM runs WHERE rule_id = $1 ORDER BY id DESC LIMIT $2`,
		rule, countedFailures)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (e ended, err error) { return e, r.Scan(&e.tick, &e.state, &e.at) })
	if err != nil {
		return last, fmt.Errorf("read last run: %w", err)
	}
	for i, e := range found {
		if i == 0 {
			last.TickAt, last.EndedAt = sqldb.Time(e.tick), sqldb.Time(e.at)
		}
		if e.state != notifier.RunFailed {
			break
		}
		last.Failures++
	}
	return last, nil
}

// FailLapsed implements notifier.RunLedger.
func (l *Ledger) FailLapsed(ctx context.Context) (rules []string, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, failLapsed+` WHERE id IN (SELECT id FROM runs WHERE state = 'reading' AND lease_until <= $1`+
			l.db.Dialect().SkipLocked+`) RETURNING rule_id`, now)
		rules, err = sqldb.Collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fail lapsed runs: %w", err)
	}
	return rules, nil
}

const failLapsed = `UPDATE runs SET state = 'failed', error = 'lease lapsed', finished_at = $1`

// mostEarly is how far ahead of the database's clock a tick may be. Less is the
// usual difference between two clocks that are kept in time.
const mostEarly = time.Second

// Begin implements notifier.RunLedger.
func (l *Ledger) Begin(ctx context.Context, req notifier.BeginRun) (run notifier.Run, ok bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		run, ok = notifier.Run{}, false
		control, err := l.control(ctx, tx, req.Rule)
		if err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		if early := sqldb.Micros(req.TickAt) - now; early > mostEarly.Microseconds() {
			return &notifier.EarlyTickError{By: time.Duration(early) * time.Microsecond}
		}
		switch inForce, err := l.rulesInForce(ctx, tx); {
		case err != nil:
			return err
		case inForce != "" && inForce != req.Generation:
			return notifier.ErrOtherRules
		}
		if control.Paused {
			return notifier.ErrRulePaused
		}
		// Seen without a lock, so that nobody waits here for a run that is being read.
		if taken, err := l.taken(ctx, tx, req, now); err != nil || taken {
			return err
		}
		known, err := l.progress(ctx, tx, req.Rule, l.db.Dialect().ForUpdate)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, failLapsed+` WHERE rule_id = $2 AND state = 'reading' AND lease_until <= $1`, now, req.Rule); err != nil {
			return fmt.Errorf("fail lapsed run: %w", err)
		}
		w := req.Plan(known, sqldb.Time(now))
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
				VALUES ($1, $2, $3, $3, $4)`, req.Rule, req.Identity, sqldb.Micros(w.StartAt), sqldb.Micros(w.Until))
			if err != nil {
				return fmt.Errorf("insert watermark: %w", err)
			}
		} else if known.Position.After(w.Until) {
			// The clock was ahead. Reading again changes nothing, so going back is safe.
			run.Position = w.Until
			_, err = tx.ExecContext(ctx, `UPDATE watermarks SET position = $1, swept_at = CASE WHEN swept_at > $1 THEN $1 ELSE swept_at END
				WHERE rule_id = $2`, sqldb.Micros(w.Until), req.Rule)
			if err != nil {
				return fmt.Errorf("take watermark back: %w", err)
			}
		}
		if req.By.Name == "" {
			return nil
		}
		return l.note(ctx, tx, req.By, notifier.ActionRun, notifier.SubjectRule(req.Rule), nil, ranNow{Run: run.ID, TickAt: req.TickAt})
	})
	if err != nil {
		return notifier.Run{}, false, err
	}
	return run, ok, nil
}

// taken tells whether the tick has its run, or a run of the rule is reading.
func (l *Ledger) taken(ctx context.Context, tx *sql.Tx, req notifier.BeginRun, now int64) (taken bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM runs WHERE rule_id = $1 AND tick_at = $2)
		OR EXISTS (SELECT 1 FROM runs WHERE rule_id = $1 AND state = 'reading' AND lease_until > $3)`,
		req.Rule, sqldb.Micros(req.TickAt), now).Scan(&taken)
	if err != nil {
		return false, fmt.Errorf("look for a run: %w", err)
	}
	return taken, nil
}

// progress returns nil for a rule that has never run.
func (l *Ledger) progress(ctx context.Context, q sqldb.Queryer, rule, lock string) (*notifier.Progress, error) {
	var p notifier.Progress
	var start, position, swept int64
	err := q.QueryRowContext(ctx, `SELECT identity, start_at, position, swept_at FROM watermarks WHERE rule_id = $1`+lock, rule).Scan(&p.Identity, &start, &position, &swept)
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
	now, err := l.now(ctx, tx)
	if err != nil {
		return err
	}
	n, err := sqldb.Exec(ctx, tx, `UPDATE runs SET lease_until = $1 WHERE id = $2 AND owner = $3 AND state = 'reading'`,
		now+run.Lease.Microseconds(), run.ID, run.Owner)
	if err != nil {
		return fmt.Errorf("hold run: %w", err)
	}
	if n == 0 {
		return notifier.ErrRunLost
	}
	return nil
}

// Renew implements notifier.RunLedger.
func (l *Ledger) Renew(ctx context.Context, run notifier.Run) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return l.hold(ctx, tx, run) })
}

// lockProgress locks where a rule stands.
func (l *Ledger) lockProgress(ctx context.Context, tx *sql.Tx, rule string) error {
	_, err := l.progress(ctx, tx, rule, l.db.Dialect().ForUpdate)
	return err
}

// Advance implements notifier.RunLedger.
func (l *Ledger) Advance(ctx context.Context, run notifier.Run, from, to time.Time) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.lockProgress(ctx, tx, run.Rule); err != nil {
			return err
		}
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		n, err := sqldb.Exec(ctx, tx, `UPDATE watermarks SET position = $1 WHERE rule_id = $2 AND position = $3`,
			sqldb.Micros(to), run.Rule, sqldb.Micros(from))
		if err != nil {
			return fmt.Errorf("move watermark: %w", err)
		}
		if n == 0 {
			return notifier.ErrWatermarkMoved
		}
		// Nobody reads these rows again: what they made is released by the next run that ends
		// well, even when this one does not.
		if _, err := tx.ExecContext(ctx, `UPDATE notifications SET state = 'passed' WHERE run_id = $1 AND state = 'staged'`, run.ID); err != nil {
			return fmt.Errorf("note passed notifications: %w", err)
		}
		return nil
	})
}

// Finish implements notifier.RunLedger.
func (l *Ledger) Finish(ctx context.Context, run notifier.Run, rule *notifier.Rule) (rel notifier.Release, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rel = notifier.Release{}
		control, err := l.control(ctx, tx, run.Rule)
		if err != nil {
			return err
		}
		if run.Baseline || run.Sweep {
			if err := l.lockProgress(ctx, tx, run.Rule); err != nil {
				return err
			}
		}
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		if control.Paused {
			return notifier.ErrRulePaused
		}
		rel = notifier.Release{State: notifier.RunReleased}
		// What the watermark has passed, in this run or in one that failed afterwards, is released now.
		if _, err := tx.ExecContext(ctx, `UPDATE notifications SET state = 'staged', run_id = $1 WHERE rule_id = $2 AND state = 'passed'`,
			run.ID, run.Rule); err != nil {
			return fmt.Errorf("take over passed notifications: %w", err)
		}
		if rule.MaxDeliveries > 0 || rule.MaxGrowth != nil {
			largest, err := l.largest(ctx, tx, rule)
			if err != nil {
				return err
			}
			most := mostHistory
			if rel.Limit = rule.Limit(largest); rel.Limit > 0 {
				most = rel.Limit
			}
			if rel.Planned, err = l.planned(ctx, tx, run.ID, most); err != nil {
				return err
			}
			if rel.Limit > 0 && rel.Planned > rel.Limit {
				rel.State = notifier.RunHeld
			}
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		if rel.State == notifier.RunReleased {
			if rel.Provisional, err = l.setProvisional(ctx, tx, run.ID, "staged", now); err != nil {
				return err
			}
		}
		if rel.Notifications, err = l.setStaged(ctx, tx, run.ID, rel.State, now); err != nil {
			return err
		}
		rel.Notifications += rel.Provisional
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET state = $1, planned = $2, planned_limit = $5, finished_at = $3 WHERE id = $4`,
			rel.State, rel.Planned, now, run.ID, rel.Limit); err != nil {
			return fmt.Errorf("finish run: %w", err)
		}
		if run.Baseline || run.Sweep {
			_, err = tx.ExecContext(ctx, `UPDATE watermarks SET identity = $1, swept_at = $3,
				start_at = CASE WHEN start_at < $2 THEN $2 ELSE start_at END WHERE rule_id = $4`,
				rule.Identity, sqldb.Micros(run.StartAt), sqldb.Micros(run.Until), run.Rule)
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
	n, err := sqldb.Exec(ctx, tx, `UPDATE notifications SET state = $1, released_at = $2 WHERE run_id = $3 AND state = 'staged'`,
		state, now, run)
	if err != nil {
		return 0, fmt.Errorf("release notifications: %w", err)
	}
	return n, nil
}

// largestQuery is the most deliveries that one of the rule's last runs planned which released any.
const largestQuery = `SELECT COALESCE(MAX(r.planned), 0) FROM (SELECT planned FROM runs
	WHERE rule_id = $1 AND state = 'released' AND planned > 0 ORDER BY id DESC LIMIT $2) r`

// largest is how many deliveries the largest of the rule's last runs planned. A held run that an
// operator has released is one of them: what they let pass once is not held again.
func (l *Ledger) largest(ctx context.Context, tx *sql.Tx, rule *notifier.Rule) (n int, err error) {
	if rule.MaxGrowth == nil {
		return 0, nil
	}
	if err := tx.QueryRowContext(ctx, largestQuery, rule.ID, historyRuns).Scan(&n); err != nil {
		return 0, fmt.Errorf("read history of rule: %w", err)
	}
	return n, nil
}

const (
	// historyRuns is how many runs a rule is measured against: those that released something. So many
	// are kept (oldRuns).
	historyRuns = 20
	// mostHistory bounds what is counted of a run that has no limit yet.
	mostHistory = 1_000_000
	// mostPlanned bounds what is counted of a run whose rule has a larger limit than there are phones.
	mostPlanned = 1 << 32
	// toldAgain is how often each device of a thread may have been told, on average, before its
	// being told is counted as if it were several devices'.
	toldAgain = 4
)

// plannedQuery counts, up to $3 each: deliveries to single users, notifications for
// all, the devices that those go to, and deliveries to those who were told before.
// Of the latter it also counts, up to $4, how often they were told.
const plannedQuery = `SELECT
	(SELECT COUNT(*) FROM (SELECT 1 FROM notifications n JOIN devices d ON d.user_id = n.user_id
		WHERE n.run_id = $1 AND n.state = 'staged' AND n.expires_at > $2 AND n.audience = 'user' AND d.state = 'active' LIMIT $3) u),
	(SELECT COUNT(*) FROM (SELECT 1 FROM notifications
		WHERE run_id = $1 AND state = 'staged' AND expires_at > $2 AND audience = 'all' LIMIT $3) a),
	CASE WHEN EXISTS (SELECT 1 FROM notifications WHERE run_id = $1 AND state = 'staged' AND expires_at > $2 AND audience = 'all')
		THEN (SELECT COUNT(*) FROM (SELECT 1 FROM devices WHERE state = 'active' LIMIT $3) d) ELSE 0 END,
	f.told, f.times
	FROM (SELECT COUNT(*) AS told, COALESCE(SUM(g.times), 0) AS times FROM (SELECT COUNT(*) AS times
		FROM (SELECT n.id, x.device_id FROM notifications n
			JOIN notifications o ON o.thread = n.thread AND o.id < n.id
			JOIN deliveries x ON x.notification_id = o.id
			JOIN devices d ON d.id = x.device_id AND d.state = 'active'
			WHERE n.run_id = $1 AND n.state = 'staged' AND n.expires_at > $2 AND n.audience = 'follows'
			  AND (x.state IN ('sent', 'leased', 'unconfirmed') OR x.unknowns > 0) LIMIT $4) t
		GROUP BY t.id, t.device_id) g) f`

// planned counts the deliveries that releasing a run would make, up to one more
// than most: that many are enough to hold it, and a count of all of them would
// take longer the more reason there is to hold it. The devices are counted only
// when there is something for all of them.
func (l *Ledger) planned(ctx context.Context, tx *sql.Tx, run notifier.RunID, most int) (int, error) {
	now, err := l.now(ctx, tx)
	if err != nil {
		return 0, err
	}
	limit := min(most, mostPlanned) + 1
	var single, broad, active, told, times int
	err = tx.QueryRowContext(ctx, plannedQuery, run, now, limit, toldAgain*limit).Scan(&single, &broad, &active, &told, &times)
	if err != nil {
		return 0, fmt.Errorf("count planned deliveries: %w", err)
	}
	if times == toldAgain*limit {
		told = limit // there may be any number more
	}
	return min(limit, single+told+product(broad, active, limit)), nil
}

// product is a * b, or limit where it is more.
func product(a, b, limit int) int {
	if a > 0 && b > limit/a {
		return limit
	}
	return a * b
}

// Fail implements notifier.RunLedger.
func (l *Ledger) Fail(ctx context.Context, run notifier.Run, reason string) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE runs SET state = 'failed', error = $1, finished_at = $2 WHERE id = $3`,
			storable(reason), now, run.ID)
		return err
	})
}
