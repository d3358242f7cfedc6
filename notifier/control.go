package notifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

// The errors of an operator's commands. They carry their fault.Kind, and may be wrapped.
var (
	// ErrUnknownRule says that the rules in force have no such rule.
	ErrUnknownRule error = fault.New(fault.NotFound, "there is no such rule")
	// ErrRulePaused says that an operator has paused the rule.
	ErrRulePaused error = fault.New(fault.Conflict, "the rule is paused: resume it first")
	// ErrRulePausedByFile says that the rule's own mode is paused.
	ErrRulePausedByFile error = fault.New(fault.Conflict, "the rule has mode: paused in the rules: change it there")
	// ErrRuleBusy says that another run of the rule is reading, or this second's tick has its run already.
	ErrRuleBusy error = fault.New(fault.Conflict, "the rule is running now, or has just run: try again in a moment")
	// ErrRunNotHeld says that only held runs can be released or discarded.
	ErrRunNotHeld error = fault.New(fault.Conflict, "the run is not held: only a held run can be released or discarded")
)

// RuleControl is an operator's word on a rule. The zero value is a rule of which
// nobody has said anything.
type RuleControl struct {
	Paused bool
	// Actor is who said it last, Reason why, At when.
	Actor, Reason string
	At            time.Time
}

// RuleStanding is what is written down of a rule.
type RuleStanding struct {
	Control RuleControl
	// Stop is nil unless the rule itself is stopped.
	Stop *Stop
	// Progress is nil for a rule that has never run.
	Progress *Progress
	// LastRun is nil for a rule that has never run, LastFailed for one that has never failed.
	LastRun, LastFailed *RunRecord
}

// RuleStatus is a rule and where it stands.
type RuleStatus struct {
	Rule *Rule
	RuleStanding
	// NextTick is zero while the rule takes no ticks.
	NextTick time.Time
	// Lag is how far the watermark is behind; 0 for a rule without one, or that has never run.
	Lag time.Duration
}

// Paused tells whether the rule takes no ticks, by the rules or an operator.
func (s RuleStatus) Paused() bool { return s.Control.Paused || s.Rule.Mode == ModePaused }

// ControlLedger is the part of the ledger that operators work with. Its changes
// write the audit in their own transaction.
type ControlLedger interface {
	PreviewLedger
	StopReader
	// SetStopped writes down that nothing of a rule is sent, or nothing at all (an empty rule), or
	// that it is sent again. Saying the same again changes nothing.
	SetStopped(ctx context.Context, by Actor, rule string, stopped bool, reason string) error
	// Standing returns what is known of a rule; of an unknown one, nothing.
	Standing(ctx context.Context, rule string) (RuleStanding, error)
	// Standings returns what is known of each of some rules, with a number of statements that does
	// not grow with theirs.
	Standings(ctx context.Context, rules []string) (map[string]RuleStanding, error)
	// SetPaused writes an operator's word on a rule down. Saying the same again changes nothing.
	SetPaused(ctx context.Context, by Actor, rule string, paused bool, reason string) error
	// EndHeld releases or discards what a held run holds, and returns the run as it stands then,
	// without counts. It returns ErrUnknownRun and ErrRunNotHeld.
	EndHeld(ctx context.Context, by Actor, id RunID, state RunState) (RunRecord, error)
	// Held returns the first notifications that a run holds.
	Held(ctx context.Context, id RunID, limit int) ([]NotificationRecord, error)
	// Run returns a run with its counts, or ErrUnknownRun.
	Run(ctx context.Context, id RunID) (RunRecord, error)
	// Requeue makes a delivery that has ended try again. It returns ErrUnknownDelivery and, when
	// that cannot be, a Conflict fault that says why. Where the attempts cannot be read after it was
	// done, it returns the delivery without them.
	Requeue(ctx context.Context, by Actor, id DeliveryID) (DeliveryRecord, error)
	// RequeueAll requeues what a filter names, or counts it, in one transaction.
	RequeueAll(ctx context.Context, by Actor, f RequeueFilter) (Requeued, error)
}

// ControlConfig is what a Control needs.
type ControlConfig struct {
	// Notifier is the one to control; required.
	Notifier *Notifier
	// Ledger is the notifier's own; required.
	Ledger ControlLedger
	Log    zerolog.Logger
}

// Control is what operators do to a running notifier. What it changes stands in
// the ledger: it holds for every replica, and survives restarts.
type Control struct {
	n      *Notifier
	ledger ControlLedger
	log    zerolog.Logger
}

// NewControl returns a Control of a notifier.
func NewControl(c ControlConfig) (*Control, error) {
	if c.Notifier == nil || c.Ledger == nil {
		return nil, errors.New("control needs a notifier and its ledger")
	}
	return &Control{n: c.Notifier, ledger: c.Ledger, log: c.Log.With().Str("component", "control").Logger()}, nil
}

// Rules returns every rule in force and where it stands.
func (c *Control) Rules(ctx context.Context) ([]RuleStatus, error) {
	rules := c.n.Rules().All()
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.ID
	}
	known, err := c.ledger.Standings(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read standing of rules: %w", err)
	}
	out := make([]RuleStatus, 0, len(rules))
	for _, r := range rules {
		out = append(out, statusOf(r, known[r.ID]))
	}
	return out, nil
}

// Rule returns one rule in force and where it stands, or ErrUnknownRule.
func (c *Control) Rule(ctx context.Context, id string) (RuleStatus, error) {
	rule, ok := c.n.Rules().Get(id)
	if !ok {
		return RuleStatus{}, ErrUnknownRule
	}
	return c.status(ctx, rule)
}

func (c *Control) status(ctx context.Context, rule *Rule) (RuleStatus, error) {
	known, err := c.ledger.Standing(ctx, rule.ID)
	if err != nil {
		return RuleStatus{}, fmt.Errorf("read standing of rule %s: %w", rule.ID, err)
	}
	return statusOf(rule, known), nil
}

func statusOf(rule *Rule, known RuleStanding) RuleStatus {
	now := time.Now()
	s := RuleStatus{Rule: rule, RuleStanding: known}
	if !s.Paused() {
		s.NextTick = rule.Schedule.Next(now)
	}
	if rule.Watermark != nil && known.Progress != nil {
		s.Lag = max(0, now.Sub(known.Progress.Position))
	}
	return s
}

// Pause stops the ticks of a rule on every replica until it is resumed. What
// has been released already still goes out; see StopRule. It returns ErrUnknownRule.
func (c *Control) Pause(ctx context.Context, by Actor, id, reason string) (RuleStatus, error) {
	return c.setPaused(ctx, by, id, true, reason)
}

// Resume lets a paused rule take ticks again; its first one catches up from the
// watermark. It returns ErrUnknownRule.
func (c *Control) Resume(ctx context.Context, by Actor, id, reason string) (RuleStatus, error) {
	return c.setPaused(ctx, by, id, false, reason)
}

// Preview shows what a rule would announce now, see Previewer. It returns
// ErrUnknownRule, and the source's error when the result is not complete.
func (c *Control) Preview(ctx context.Context, id string, req PreviewRequest) (Preview, error) {
	rule, ok := c.n.Rules().Get(id)
	if !ok {
		return Preview{}, ErrUnknownRule
	}
	return Previewer{Source: c.n.source, Ledger: c.ledger, OptIn: c.n.optIn}.Preview(ctx, rule, req)
}

func (c *Control) setPaused(ctx context.Context, by Actor, id string, paused bool, reason string) (RuleStatus, error) {
	rule, ok := c.n.Rules().Get(id)
	if !ok {
		return RuleStatus{}, ErrUnknownRule
	}
	if err := c.ledger.SetPaused(ctx, by, id, paused, reason); err != nil {
		return RuleStatus{}, err
	}
	msg := "rule resumed by operator"
	if paused {
		msg = "rule paused by operator"
	}
	c.log.Info().Str("rule_id", id).Str("actor", by.Name).Str("request_id", by.RequestID).Msg(msg)
	return c.status(ctx, rule)
}

// RunNow runs a rule out of turn, as if it had a tick at the present whole
// second, and returns the run when it has ended; a run that failed is a result,
// not an error. It returns ErrUnknownRule, ErrRulePaused, ErrRulePausedByFile
// and ErrRuleBusy. When ctx ends early the run fails, and the next one reads
// the same rows.
func (c *Control) RunNow(ctx context.Context, by Actor, id string) (RunRecord, error) {
	rule, ok := c.n.Rules().Get(id)
	if !ok {
		return RunRecord{}, ErrUnknownRule
	}
	if rule.Mode == ModePaused {
		return RunRecord{}, ErrRulePausedByFile
	}
	run, ok, err := c.n.planner.run(ctx, rule, time.Now().UTC().Truncate(time.Second), by)
	switch {
	case err != nil && run.ID == 0:
		return RunRecord{}, err
	case !ok:
		return RunRecord{}, ErrRuleBusy
	}
	c.log.Info().Err(err).Str("rule_id", id).Int64("run_id", int64(run.ID)).Str("actor", by.Name).
		Str("request_id", by.RequestID).Msg("rule run by operator")
	if err != nil && ctx.Err() != nil {
		return RunRecord{}, err
	}
	return c.ledger.Run(ctx, run.ID)
}

// Release lets what a held run holds go out. It returns ErrUnknownRun and
// ErrRunNotHeld; where what has become of it cannot be counted, the run has no counts.
func (c *Control) Release(ctx context.Context, by Actor, id RunID) (RunRecord, error) {
	r, err := c.endHeld(ctx, by, id, RunReleased)
	if err == nil {
		c.n.wakeFanout()
	}
	return r, err
}

// Discard drops what a held run holds, for good: the same versions are never
// announced. Otherwise it is as Release.
func (c *Control) Discard(ctx context.Context, by Actor, id RunID) (RunRecord, error) {
	return c.endHeld(ctx, by, id, RunDiscarded)
}

func (c *Control) endHeld(ctx context.Context, by Actor, id RunID, state RunState) (RunRecord, error) {
	ended, err := c.ledger.EndHeld(ctx, by, id, state)
	if err != nil {
		return RunRecord{}, err
	}
	c.log.Info().Int64("run_id", int64(id)).Str("state", string(state)).Str("actor", by.Name).
		Str("request_id", by.RequestID).Msg("held run ended by operator")
	counted, err := c.ledger.Run(ctx, id)
	if err != nil {
		// It is done. Whoever was told of an error would do it again, and hear that the run is not held.
		c.log.Warn().Err(err).Int64("run_id", int64(id)).Str("request_id", by.RequestID).Msg("ended run could not be counted")
		return ended, nil
	}
	return counted, nil
}

// Sample shows the first of what a held run holds, as it would be shown, and
// how many active devices would get each. What the rule as it is now can make no
// text of has none, and would be rejected. It returns ErrUnknownRun, ErrRunNotHeld,
// and ErrUnknownRule when its rule is gone.
func (c *Control) Sample(ctx context.Context, id RunID, limit int) ([]PreviewNotification, error) {
	run, err := c.ledger.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	if run.State != RunHeld {
		return nil, ErrRunNotHeld
	}
	rule, ok := c.n.Rules().Get(run.Rule)
	if !ok {
		return nil, ErrUnknownRule
	}
	held, err := c.ledger.Held(ctx, id, min(limit, MaxPreviewLimit))
	if err != nil {
		return nil, err
	}
	v, reached := Previewer{Ledger: c.ledger, OptIn: c.n.optIn}, map[ReachQuery]int{}
	out := make([]PreviewNotification, 0, len(held))
	for _, h := range held {
		news := NewsNew
		if h.Version > 1 {
			news = NewsChanged
		}
		n := PreviewNotification{Draft: h.Draft, News: news}
		if rule.Check(h.Draft) == nil {
			if n, err = v.renderOne(ctx, rule, h.Draft, news, time.Now(), reached); err != nil {
				return nil, err
			}
		}
		n.ExpiresAt = h.ExpiresAt
		out = append(out, n)
	}
	return out, nil
}

// Requeue makes a delivery that has ended, and is still worth something, try
// again: the gates decide as for any other. Its attempts are kept. It returns
// ErrUnknownDelivery and Conflict faults.
func (c *Control) Requeue(ctx context.Context, by Actor, id DeliveryID) (DeliveryRecord, error) {
	d, err := c.ledger.Requeue(ctx, by, id)
	if err != nil {
		return DeliveryRecord{}, err
	}
	c.n.dispatcher.Wake()
	c.log.Info().Int64("delivery_id", int64(id)).Str("rule_id", d.Rule).Str("actor", by.Name).
		Str("request_id", by.RequestID).Msg("delivery requeued by operator")
	return d, nil
}
