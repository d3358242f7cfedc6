package notifier

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// The bounds of requeueing by a filter.
const (
	// DefaultRequeued is how many deliveries are requeued at once when nobody says.
	DefaultRequeued = 1000
	// MaxRequeued is how many are at most: it is one transaction.
	MaxRequeued = 10_000
	// RequeueCounted is how many a preview counts at most.
	RequeueCounted = 100_000
)

// RequeueableStates are the states from which a delivery may be tried again.
// Sent is not one of them, nor are suppressed and superseded: there somebody did
// not want it, or something newer took its place.
func RequeueableStates() []DeliveryState {
	return []DeliveryState{Gone, Rejected, Expired, Unconfirmed, Cancelled}
}

// UntoldStates are those of RequeueableStates that a filter without a state names:
// what is unconfirmed may have been shown already.
func UntoldStates() []DeliveryState {
	return []DeliveryState{Gone, Rejected, Expired, Cancelled}
}

// RequeueFilter says which deliveries are to be tried again. What has reached its
// expiry is not, whatever the filter says.
type RequeueFilter struct {
	// Rule, Provider and Reason are empty for any.
	Rule     string
	Provider devices.Provider
	Reason   string
	// State is one of RequeueableStates; empty for any of UntoldStates.
	State DeliveryState
	// Since and Until bound the time at which the delivery was made, Since included and Until
	// not; zero for no bound.
	Since, Until time.Time
	// After goes on behind the Next of the time before; nil begins at the oldest. What a filter has
	// requeued may be refused anew while it goes on, and would come again.
	After *RequeueCursor
	// Limit is the most that are requeued, from the oldest on; 0 means DefaultRequeued.
	Limit int
	// DryRun counts only.
	DryRun bool
}

// RequeueCursor is how far requeueing by a filter has come.
type RequeueCursor struct {
	CreatedAt time.Time
	ID        DeliveryID
}

// Requeued is what requeueing by a filter came to.
type Requeued struct {
	// Matching counts what the filter names and has not expired, up to RequeueCounted.
	Matching int
	// Expired counts what it names and is worth nothing any more, up to RequeueCounted.
	Expired int
	// Unconfirmed counts what it leaves out because its State is empty: what is unconfirmed and has
	// not expired, up to RequeueCounted.
	Unconfirmed int
	// Requeued is how many are tried again; 0 for a dry run.
	Requeued int
	// Next is where to go on; nil when fewer than the limit were left.
	Next *RequeueCursor
}

// normalize fills in the defaults. It returns an Invalid fault for a filter that
// would name everything, or a state that cannot be tried again.
func (f RequeueFilter) normalize() (RequeueFilter, error) {
	if f.State != "" && !slices.Contains(RequeueableStates(), f.State) {
		return f, fault.InvalidFields("the filter is not valid", fault.Field{Path: "state", Message: "wants one of " + words(RequeueableStates())})
	}
	if f.Rule == "" && f.Provider == "" && strings.TrimSpace(f.Reason) == "" && f.State == "" && f.Since.IsZero() {
		return f, fault.InvalidFields("the filter is not valid", fault.Field{Path: "rule", Message: "name at least a rule, a provider, a state, a reason or since"})
	}
	if f.Limit <= 0 {
		f.Limit = DefaultRequeued
	}
	f.Limit = min(f.Limit, MaxRequeued)
	return f, nil
}

// RequeueAll makes deliveries that have ended, and are still worth something, try
// again: the gates decide as for any other. Their attempts are kept. It is one
// entry of the audit, with the filter. A dry run only counts.
func (c *Control) RequeueAll(ctx context.Context, by Actor, f RequeueFilter) (Requeued, error) {
	f, err := f.normalize()
	if err != nil {
		return Requeued{}, err
	}
	r, err := c.ledger.RequeueAll(ctx, by, f)
	if err != nil || f.DryRun {
		return r, err
	}
	c.n.dispatcher.Wake()
	c.log.Info().Int("count", r.Requeued).Str("rule_id", f.Rule).Str("state", string(f.State)).Str("reason", f.Reason).
		Str("actor", by.Name).Str("request_id", by.RequestID).Msg("deliveries requeued by operator")
	return r, nil
}
