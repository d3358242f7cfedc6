package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

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
	runsInto(&s, q)
	return &s
}

func runsInto(s *statement, q notifier.RunQuery) {
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
	s.limit(q.Limit)
}

// rulesOfStatement is for how many rules one statement asks at once.
const rulesOfStatement = 100

// LastRuns returns the last runs of each of some rules, newest first. Where a rule
// has never run it has none.
func (l *Ledger) LastRuns(ctx context.Context, rules []string, limit int) (map[string][]notifier.RunRecord, error) {
	return l.lastRuns(ctx, rules, "", limit)
}

func (l *Ledger) lastRuns(ctx context.Context, rules []string, state notifier.RunState, limit int) (map[string][]notifier.RunRecord, error) {
	out := make(map[string][]notifier.RunRecord, len(rules))
	for some := range slices.Chunk(rules, rulesOfStatement) {
		found, err := list(ctx, l, lastRunsStatement(some, state, limit), scanRun)
		if err != nil {
			return nil, fmt.Errorf("list last runs: %w", err)
		}
		for _, r := range found {
			out[r.Rule] = append(out[r.Rule], r)
		}
	}
	for _, runs := range out {
		slices.SortFunc(runs, func(a, b notifier.RunRecord) int { return cmp.Compare(b.ID, a.ID) })
	}
	return out, nil
}

// lastRunsStatement steps down the index for each rule, and stops there at the limit.
func lastRunsStatement(rules []string, state notifier.RunState, limit int) *statement {
	var s statement
	for i, rule := range rules {
		if i > 0 {
			s.text(` UNION ALL `)
		}
		s.text(`SELECT * FROM (`)
		runsInto(&s, notifier.RunQuery{Rule: rule, State: state, Limit: limit})
		s.text(`) r` + strconv.Itoa(i))
	}
	return &s
}

// Standings implements notifier.ControlLedger.
func (l *Ledger) Standings(ctx context.Context, rules []string) (map[string]notifier.RuleStanding, error) {
	controls, err := l.controls(ctx)
	if err != nil {
		return nil, err
	}
	stops, err := l.Stops(ctx)
	if err != nil {
		return nil, err
	}
	progress, err := l.progresses(ctx)
	if err != nil {
		return nil, err
	}
	last, err := l.lastRuns(ctx, rules, "", 1)
	if err != nil {
		return nil, err
	}
	failed, err := l.lastRuns(ctx, rules, notifier.RunFailed, 1)
	if err != nil {
		return nil, err
	}
	out := make(map[string]notifier.RuleStanding, len(rules))
	for _, rule := range rules {
		s := notifier.RuleStanding{Control: controls[rule], Progress: progress[rule]}
		if i := slices.IndexFunc(stops, func(s notifier.Stop) bool { return s.Rule == rule }); i >= 0 {
			s.Stop = &stops[i]
		}
		if runs := last[rule]; len(runs) > 0 {
			s.LastRun = &runs[0]
		}
		if runs := failed[rule]; len(runs) > 0 {
			s.LastFailed = &runs[0]
		}
		out[rule] = s
	}
	return out, nil
}

// controls reads what operators have said of rules: a row for each at most.
func (l *Ledger) controls(ctx context.Context) (map[string]notifier.RuleControl, error) {
	out := map[string]notifier.RuleControl{}
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT rule_id, paused, actor, reason, at FROM rule_controls`)
	_, err = sqldb.Collect(rows, err, func(r *sql.Rows) (none struct{}, err error) {
		var rule string
		var c notifier.RuleControl
		var at int64
		err = r.Scan(&rule, &c.Paused, &c.Actor, &c.Reason, &at)
		c.At = sqldb.Time(at)
		out[rule] = c
		return none, err
	})
	if err != nil {
		return nil, fmt.Errorf("read controls of rules: %w", err)
	}
	return out, nil
}

// progresses reads how far rules have read: a row for each at most.
func (l *Ledger) progresses(ctx context.Context) (map[string]*notifier.Progress, error) {
	out := map[string]*notifier.Progress{}
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT rule_id, identity, start_at, position, swept_at FROM watermarks`)
	_, err = sqldb.Collect(rows, err, func(r *sql.Rows) (none struct{}, err error) {
		var rule string
		var p notifier.Progress
		var start, position, swept int64
		err = r.Scan(&rule, &p.Identity, &start, &position, &swept)
		p.StartAt, p.Position, p.SweptAt = sqldb.Time(start), sqldb.Time(position), sqldb.Time(swept)
		out[rule] = &p
		return none, err
	})
	if err != nil {
		return nil, fmt.Errorf("read watermarks: %w", err)
	}
	return out, nil
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
