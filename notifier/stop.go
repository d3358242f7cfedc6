package notifier

import (
	"context"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

// ErrSendingStopped says that an operator has stopped all sending.
var ErrSendingStopped error = fault.New(fault.Conflict, "all sending is stopped: start it first")

// stopRetry is when a delivery looks again that was claimed before a stop; what
// is not claimed yet waits without looking.
const stopRetry = 2 * time.Second

// Stop is an operator's word that nothing of a rule is sent, or nothing at all.
// Runs go on, what they release is queued, and what is queued waits or expires.
type Stop struct {
	// Rule is empty for all sending.
	Rule string
	// Actor is who said it, Reason why, At when.
	Actor, Reason string
	At            time.Time
}

// StopReader shows what is stopped.
type StopReader interface {
	// Stops lists what is stopped, that of all sending first.
	Stops(ctx context.Context) ([]Stop, error)
}

// StopSending stops all sending on every replica, within a second of its return,
// until it is started again, restarts included. Saying it again changes nothing.
func (c *Control) StopSending(ctx context.Context, by Actor, reason string) error {
	return c.setStopped(ctx, by, "", true, reason)
}

// StartSending lets everything be sent again but that of rules that are stopped
// by themselves.
func (c *Control) StartSending(ctx context.Context, by Actor, reason string) error {
	return c.setStopped(ctx, by, "", false, reason)
}

// Stops lists what is stopped.
func (c *Control) Stops(ctx context.Context) ([]Stop, error) { return c.ledger.Stops(ctx) }

// StopRule stops the sending of one rule, also of what has been released
// already, as StopSending does for all. Its ticks go on unless it is paused as
// well. It returns ErrUnknownRule.
func (c *Control) StopRule(ctx context.Context, by Actor, id, reason string) (RuleStatus, error) {
	return c.setRuleStopped(ctx, by, id, true, reason)
}

// StartRule lets a stopped rule send again what has not expired. It returns ErrUnknownRule.
func (c *Control) StartRule(ctx context.Context, by Actor, id, reason string) (RuleStatus, error) {
	return c.setRuleStopped(ctx, by, id, false, reason)
}

func (c *Control) setRuleStopped(ctx context.Context, by Actor, id string, stopped bool, reason string) (RuleStatus, error) {
	rule, ok := c.n.Rules().Get(id)
	if !ok {
		return RuleStatus{}, ErrUnknownRule
	}
	if err := c.setStopped(ctx, by, id, stopped, reason); err != nil {
		return RuleStatus{}, err
	}
	return c.status(ctx, rule)
}

func (c *Control) setStopped(ctx context.Context, by Actor, rule string, stopped bool, reason string) error {
	if err := c.ledger.SetStopped(ctx, by, rule, stopped, reason); err != nil {
		return err
	}
	msg := "sending started by operator"
	if stopped {
		msg = "sending stopped by operator"
	} else {
		c.n.dispatcher.Wake()
	}
	c.log.Warn().Str("rule_id", rule).Str("actor", by.Name).Str("request_id", by.RequestID).Msg(msg)
	return nil
}
