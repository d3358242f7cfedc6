package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// recentTick is how old a tick may be that a rule without a watermark still runs at a start.
const recentTick = 10 * time.Second

// chunkRows is how many rows are staged in one transaction: large enough that
// the commit is shared, small enough that a writer holds its lock briefly.
const chunkRows = 500

// Planner turns one tick of a rule into released notifications: it reads the
// rows, stages what is new and releases it. It decides nothing about devices.
type Planner struct {
	source   Source
	ledger   RunLedger
	owner    string
	lease    time.Duration
	timeout  time.Duration
	released func()
	metrics  *Metrics
	log      zerolog.Logger
}

// PlannerConfig is what a Planner needs.
type PlannerConfig struct {
	Source Source
	Ledger RunLedger
	// Owner names this replica.
	Owner string
	// Lease is how long a run may stay without a sign of life, given three times as often: so long
	// a killed replica keeps its rule from running. Zero means 20 seconds.
	Lease time.Duration
	// Timeout bounds the reading of one slice. Zero means 1 minute.
	Timeout time.Duration
	// Released is called when notifications are ready to fan out; nil for nobody.
	Released func()
	Metrics  *Metrics
	Log      zerolog.Logger
}

// NewPlanner returns a Planner.
func NewPlanner(c PlannerConfig) *Planner {
	if c.Lease == 0 {
		c.Lease = 20 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Released == nil {
		c.Released = func() {}
	}
	return &Planner{
		source: c.Source, ledger: c.Ledger, owner: c.Owner, lease: c.Lease, timeout: c.Timeout,
		released: c.Released, metrics: c.Metrics, log: c.Log.With().Str("component", "planner").Logger(),
	}
}

// Tick does the run of a rule at a nominal tick. It does nothing when another
// replica has it, a run of the rule is still going on, or an operator has
// paused the rule.
//
// An error means that the run failed: its watermark has not moved, and the next
// run reads the same rows again. ErrOtherRules says that no run was begun.
func (p *Planner) Tick(ctx context.Context, rule *Rule, tickAt time.Time) error {
	p.metrics.rule(rule.ID)
	run, _, err := p.run(ctx, rule, tickAt, Actor{})
	for early, ok := errors.AsType[*EarlyTickError](err); ok; early, ok = errors.AsType[*EarlyTickError](err) {
		p.log.Warn().Str("rule_id", rule.ID).Int64("early_ms", early.By.Milliseconds()).Msg("this machine's clock is ahead of the database's; the tick waits")
		if !sleep(ctx, min(early.By, longestWait)) {
			return nil
		}
		run, _, err = p.run(ctx, rule, tickAt, Actor{})
	}
	paused := errors.Is(err, ErrRulePaused)
	if err == nil || run.ID != 0 || paused { // else it is not known
		p.metrics.ruleIsPaused(rule.ID, paused)
	}
	if paused {
		return nil
	}
	return err
}

// sleep waits and tells whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// run does the run of a rule at a tick, for the schedule or for an operator. It
// returns false when the tick has its run already or another one is going on,
// and a run without id when none was begun.
func (p *Planner) run(ctx context.Context, rule *Rule, tickAt time.Time, by Actor) (Run, bool, error) {
	run, ok, err := p.ledger.Begin(ctx, BeginRun{
		Rule: rule.ID, Identity: rule.Identity, TickAt: tickAt, Generation: rule.generation, Owner: p.owner, Lease: p.lease, By: by,
		// A tick that comes late reads what has arrived since as well.
		Plan: func(known *Progress, now time.Time) RunWindow { return PlanRun(rule, known, later(tickAt, now)) },
	})
	if err != nil {
		return Run{}, false, fmt.Errorf("begin run of %s: %w", rule.ID, err)
	}
	if !ok {
		return Run{}, false, nil
	}
	log := p.log.With().Str("rule_id", rule.ID).Int64("run_id", int64(run.ID)).Time("tick_at", tickAt).Logger()
	started := time.Now()
	reading, stop := p.keep(ctx, run)
	total, err := p.read(reading, run, rule)
	stop()
	if err == nil {
		var rel Release
		if rel, err = p.ledger.Finish(ctx, run, rule); err == nil {
			p.finished(log, run, rel, total, time.Since(started))
			return run, true, nil
		}
	}
	p.metrics.runs.WithLabelValues(rule.ID, string(RunFailed)).Inc()
	// The reason is kept even when ctx has ended, else the run would block its
	// rule until the lease lapses.
	failCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if failErr := p.ledger.Fail(failCtx, run, err.Error()); failErr != nil && !errors.Is(failErr, ErrRunLost) {
		err = errors.Join(err, fmt.Errorf("fail run: %w", failErr))
	}
	return run, true, fmt.Errorf("run of %s: %w", rule.ID, err)
}

// keep renews the run's lease while it reads, however long the source takes for
// a row. The context ends when the run is lost; stop ends the renewal and waits
// for it.
func (p *Planner) keep(ctx context.Context, run Run) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() {
		ticker := time.NewTicker(p.lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// A database that does not answer now may do so before the lease lapses.
			if err := p.ledger.Renew(ctx, run); errors.Is(err, ErrRunLost) {
				cancel(err)
				return
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		renewal.Wait()
	}
}

// LastRun returns the newest run of a rule, of whichever replica.
func (p *Planner) LastRun(ctx context.Context, rule *Rule) (LastRun, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.ledger.LastRun(ctx, rule.ID)
}

// LastTick returns the tick after which a rule goes on: the last one that had a
// run, so that a tick which was missed while nothing was running is made up for
// at once and a daily rule does not wait for a day. A rule that reads its whole
// window at each tick makes up only for a tick of just now: an older one's window
// is of no use.
func (p *Planner) LastTick(ctx context.Context, rule *Rule) time.Time {
	if rule.Watermark == nil {
		// The one that is due right now may have been left to us by a replica with older rules.
		return time.Now().Add(-rule.Jitter - recentTick)
	}
	for told := false; ; told = true {
		last, err := p.LastRun(ctx, rule)
		switch {
		case err == nil && last.TickAt.IsZero():
			return time.Now()
		case err == nil:
			return earlier(last.TickAt, time.Now())
		case !told && ctx.Err() == nil:
			p.log.Warn().Err(err).Str("rule_id", rule.ID).Msg("last tick is not known yet: waiting for the database")
		}
		if !sleep(ctx, beatEvery) {
			return time.Now()
		}
	}
}

// Tidy fails the runs that dead replicas have left behind, until ctx ends: their
// rules must not wait for a tick that is far away.
func (p *Planner) Tidy(ctx context.Context) error {
	failing := false
	for sleep(ctx, tidyEvery) {
		rules, err := p.failLapsed(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			p.log.Warn().Err(err).Msg("runs of dead replicas cannot be tidied up")
		}
		failing = err != nil
		for _, rule := range rules {
			p.metrics.runs.WithLabelValues(rule, string(RunFailed)).Inc()
			p.log.Warn().Str("rule_id", rule).Msg("run of a replica that is gone failed; its rows will be read again")
		}
	}
	return nil
}

func (p *Planner) failLapsed(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return p.ledger.FailLapsed(ctx)
}

func (p *Planner) finished(log zerolog.Logger, run Run, rel Release, total StageResult, took time.Duration) {
	p.metrics.runs.WithLabelValues(run.Rule, string(rel.State)).Inc()
	p.metrics.runSeconds.WithLabelValues(run.Rule).Observe(took.Seconds())
	level := zerolog.DebugLevel
	if rel.Notifications > 0 {
		level = zerolog.InfoLevel
	}
	if rel.Notifications > 0 || total.Confirmed > 0 {
		p.released()
	}
	switch {
	case rel.State == RunHeld:
		log.Error().Int("planned", rel.Planned).Int("limit", rel.Limit).Int("count", rel.Notifications).Msg("run held: it would send more than max_deliveries or max_growth allow")
		return
	case total.Bad > 0:
		log.Warn().Int("count", total.Bad).Msg("bad rows set aside")
	}
	log.WithLevel(level).Int("count", rel.Notifications).Int("provisional", rel.Provisional).Int("stale", total.Stale).Int("swept", total.Swept).
		Bool("baseline", run.Baseline).Int64("took_ms", took.Milliseconds()).Msg("run released")
}

// read reads every slice of the run's window. The watermark follows slice by
// slice, only ever after a clean end of the result.
func (p *Planner) read(ctx context.Context, run Run, rule *Rule) (StageResult, error) {
	var total StageResult
	if rule.Watermark == nil {
		// Such a query does not ask for arrival times: it is read whole at every tick.
		return total, p.slice(ctx, run, rule, Window{Now: run.Until, Since: run.Since, Until: run.Until}, &total)
	}
	position := run.Position
	for _, w := range run.Slices(rule.Watermark.MaxWindow) {
		if err := p.slice(ctx, run, rule, w, &total); err != nil {
			return total, err
		}
		if !w.Until.After(position) {
			continue // still in the lookback: those rows had their turn before
		}
		if err := p.ledger.Advance(ctx, run, position, w.Until); err != nil {
			return total, fmt.Errorf("advance watermark: %w", err)
		}
		position = w.Until
	}
	// The sweep comes last and may fail: news must not wait for what is probably known. It reads
	// the same hours again at its next turn.
	for _, w := range run.SweepSlices(rule.Watermark.MaxWindow) {
		if err := p.slice(ctx, run, rule, w, &total); err != nil {
			p.metrics.sweepsFailed.WithLabelValues(rule.ID).Inc()
			p.log.Warn().Err(err).Str("rule_id", rule.ID).Int64("run_id", int64(run.ID)).Msg("sweep failed; its rows are swept the next time")
			break
		}
	}
	return total, nil
}

func (p *Planner) slice(ctx context.Context, run Run, rule *Rule, w Window, total *StageResult) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var c Chunk
	flush := func() error {
		res, err := p.ledger.Stage(ctx, run, rule, c)
		if err != nil {
			return fmt.Errorf("stage rows: %w", err)
		}
		p.metrics.rows.WithLabelValues(rule.ID).Add(float64(c.Rows))
		p.metrics.staged(rule.ID, res)
		total.add(res)
		c = Chunk{}
		return nil
	}
	for row, err := range p.source.Read(ctx, rule.Query, rule.Params(w)) {
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		c.Rows++
		d, err := rule.Draft(row)
		if bad, ok := errors.AsType[*BadRow](err); ok {
			c.Bad = append(c.Bad, BadRowRead{Row: row, Err: bad})
		} else if err != nil {
			return fmt.Errorf("draft row: %w", err)
		} else {
			c.Drafts = append(c.Drafts, d)
		}
		if c.Rows >= chunkRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (r *StageResult) add(o StageResult) {
	r.New += o.New
	r.Adopted += o.Adopted
	r.Renewed += o.Renewed
	r.Provisional += o.Provisional
	r.Confirmed += o.Confirmed
	r.Withdrawn += o.Withdrawn
	r.Stale += o.Stale
	r.Swept += o.Swept
	r.Bad += o.Bad
}
