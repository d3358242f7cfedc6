package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

const selectRun = `SELECT id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner,
	rows_read, staged, adopted, swept, bad_rows, planned, planned_limit, error, started_at, finished_at FROM runs WHERE TRUE`

func scanRun(r *sql.Rows) (v notifier.RunRecord, err error) {
	var tick, since, until, started, finished int64
	err = r.Scan(&v.ID, &v.Rule, &tick, &v.State, &v.Baseline, &since, &until, &v.Generation, &v.Owner,
		&v.Rows, &v.Staged, &v.Adopted, &v.Swept, &v.Bad, &v.Planned, &v.Limit, &v.Error, &started, &finished)
	v.TickAt, v.Since, v.Until = sqldb.Time(tick), sqldb.Time(since), sqldb.Time(until)
	v.StartedAt, v.FinishedAt = sqldb.Time(started), sqldb.Time(finished)
	return v, err
}

// Runs returns a page of runs, newest first.
func (l *Ledger) Runs(ctx context.Context, q notifier.RunQuery) ([]notifier.RunRecord, error) {
	out, err := list(ctx, l, runsStatement(q), scanRun)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return out, nil
}

func runsStatement(q notifier.RunQuery) *statement {
	var s statement
	s.text(selectRun)
	switch {
	case q.Rule != "" && q.State == notifier.RunFailed:
		s.and(`rule_id = ?`, q.Rule)
		s.text(` AND state = 'failed'`) // word for word, so that the partial index serves
	case q.Rule != "" && (q.State == "" || q.State == notifier.RunReleased):
		// Nearly all runs of a rule are released ones.
		s.and(`rule_id = ?`, q.Rule)
		if q.State != "" {
			s.and(besideLead("state"), q.State)
		}
	case q.State != "":
		s.and(`state = ?`, q.State)
		if q.Rule != "" {
			s.and(besideLead("rule_id"), q.Rule)
		}
	}
	if q.Before > 0 {
		s.and(`id < ?`, q.Before)
	}
	s.text(` ORDER BY id DESC`)
	return s.limit(q.Limit)
}

// besideIndex names a text column such that no index on it is used: without
// statistics a planner cannot know which of two indexes finds less.
func besideIndex(column string) string { return column + ` || ''` }

// besideLead is the condition that a text column has a value, for lists that another index leads.
// SQLite, which keeps no statistics here, uses no index for it; PostgreSQL folds it into the bare
// comparison and knows how many rows it leaves: else it expects one of 200, and sorts a table where
// the next rows of an index would do.
func besideLead(column string) string { return `(` + column + ` = ? OR 1 = 0)` }

// RunAlone implements notifier.ExplainLedger.
func (l *Ledger) RunAlone(ctx context.Context, id notifier.RunID) (notifier.RunRecord, error) {
	var s statement
	s.text(selectRun)
	s.and(`id = ?`, id)
	found, err := list(ctx, l, &s, scanRun)
	if err != nil {
		return notifier.RunRecord{}, fmt.Errorf("read run %d: %w", id, err)
	}
	if len(found) == 0 {
		return notifier.RunRecord{}, notifier.ErrUnknownRun
	}
	return found[0], nil
}

// Run implements notifier.ControlLedger.
func (l *Ledger) Run(ctx context.Context, id notifier.RunID) (notifier.RunRecord, error) {
	run, err := l.RunAlone(ctx, id)
	if err != nil {
		return run, err
	}
	run.Notifications, err = counts[string](ctx, l, `SELECT state, COUNT(*) FROM (SELECT state FROM notifications WHERE run_id = $1 LIMIT $2) c GROUP BY state`,
		id, notifier.MaxCounted)
	if err != nil {
		return run, fmt.Errorf("count notifications of run %d: %w", id, err)
	}
	run.Deliveries, err = counts[notifier.DeliveryState](ctx, l, `SELECT state, COUNT(*) FROM (SELECT d.state
		FROM notifications n CROSS JOIN deliveries d WHERE n.run_id = $1 AND d.notification_id = n.id LIMIT $2) c GROUP BY state`, id, notifier.MaxCounted)
	if err != nil {
		return run, fmt.Errorf("count deliveries of run %d: %w", id, err)
	}
	return run, nil
}

// counts reads a table of name and count; never nil.
func counts[K ~string](ctx context.Context, l *Ledger, query string, args ...any) (map[K]int64, error) {
	type pair struct {
		name K
		n    int64
	}
	rows, err := l.db.SQL().QueryContext(ctx, query, args...)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (p pair, err error) { return p, r.Scan(&p.name, &p.n) })
	out := make(map[K]int64, len(found))
	for _, p := range found {
		out[p.name] = p.n
	}
	return out, err
}

// Standing implements notifier.ControlLedger.
func (l *Ledger) Standing(ctx context.Context, rule string) (out notifier.RuleStanding, err error) {
	if out.Control, err = scanControl(l.db.SQL().QueryRowContext(ctx, selectControl, rule)); err != nil {
		return out, err
	}
	stops, err := collectStops(l.db.SQL().QueryContext(ctx, selectStops+` WHERE rule_id = $1`, rule))
	if err != nil {
		return out, err
	}
	if len(stops) > 0 {
		out.Stop = &stops[0]
	}
	if out.Progress, err = l.progress(ctx, l.db.SQL(), rule, ""); err != nil {
		return out, err
	}
	for _, q := range []struct {
		state notifier.RunState
		to    **notifier.RunRecord
	}{{"", &out.LastRun}, {notifier.RunFailed, &out.LastFailed}} {
		found, err := l.Runs(ctx, notifier.RunQuery{Rule: rule, State: q.state, Limit: 1})
		if err != nil {
			return out, err
		}
		if len(found) > 0 {
			*q.to = &found[0]
		}
	}
	return out, nil
}
