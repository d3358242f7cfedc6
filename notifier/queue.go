package notifier

import (
	"context"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// LaneID names a queue of deliveries that is claimed and sent apart from the others.
type LaneID struct {
	Provider devices.Provider
	Urgency  Urgency
}

// String returns "provider/urgency".
func (l LaneID) String() string { return string(l.Provider) + "/" + string(l.Urgency) }

// Claim is a lease on one delivery. ID, owner and No are its fence: whoever
// holds an older No writes nothing.
type Claim struct {
	ID DeliveryID
	No int64
	// Until is when the lease ends by this process's clock, which is never later than by the
	// database's. It has a monotonic reading.
	Until time.Time
}

// ClaimRequest asks for deliveries of one rule on one lane.
type ClaimRequest struct {
	Lane  LaneID
	Rule  string
	Limit int
	Owner string
	Lease time.Duration
}

// View is all that the gates need to know of a delivery, read just before it is sent.
type View struct {
	Claim
	Notification
	// User is whose device it was when the delivery was made.
	User      devices.UserID
	ExpiresAt time.Time
	Attempts  int
	Unknowns  int
	// Device is the device as it is now; its ID is empty when it is gone from the registry.
	Device      devices.Device
	Preferences devices.Preferences
	// Suppressions are all of the user's, those that have ended or not yet begun included.
	Suppressions []Suppression
	// Frequency is what the caps of frequency say; nil when they have not been asked. The ledger's
	// View leaves it nil, see Reserve.
	Frequency *FrequencyVerdict
	// Stopped says that an operator has stopped the rule, or all sending.
	Stopped bool
	// Imported says that an import of suppressions has succeeded, however long ago.
	Imported bool
	// Newer says that the thread has a newer released notification.
	Newer bool
	// Told says that an older notification of the thread was, or may have been, sent to this device.
	Told bool
	// Unchanged says that this version is what the device was told last in the thread, and that
	// nothing else may have been told since.
	Unchanged bool
	// RulesInForce is the generation of the rules in force, empty when that is not known: another
	// one than this replica's means that others know better what becomes of the delivery.
	RulesInForce string
	// RulesInForceSince is when they came into force.
	RulesInForceSince time.Time
	// ReadAt is when the view was read, by this process's clock.
	ReadAt time.Time
	// Skew is how far the database's clock was ahead of this process's then. What is on record
	// goes by the database's: expiry above all.
	Skew time.Duration
	// Unreadable says why what is on record about the delivery makes no sense; nil when it does.
	// Such a delivery is never sent, and holds up no other.
	Unreadable error
}

// Attempt is one call of a provider; its times are by this process's clock.
type Attempt struct {
	Generation         int64
	StartedAt, EndedAt time.Time
	Verdict            Verdict
	Code               string
	Status             int
	ProviderID         string
}

// Result is what becomes of a claimed delivery.
type Result struct {
	Claim Claim
	// State is a final state, or Queued.
	State  DeliveryState
	Reason string
	// DueAt is when a queued delivery may be claimed again, by this process's clock.
	DueAt time.Time
	// Provider moves a queued delivery to the lanes of another provider; empty leaves it.
	Provider devices.Provider
	// Counted says that this attempt counts against the backoff.
	Counted bool
	// Unknown says that the outcome of this attempt is not known.
	Unknown bool
	// Attempt is what was tried; nil when nothing was.
	Attempt *Attempt
	// Stopped is what a suppression stopped, for the audit; nil when none did.
	Stopped *Stopped
	// Unused names what a cap may have counted for a delivery that was not sent; nil for nothing.
	Unused *FrequencyKey
}

// Backlog is what waits on a lane.
type Backlog struct {
	// Queued counts deliveries that are queued, due or not, up to BacklogCounted.
	Queued int
	// Oldest is how long the delivery has been due that has waited longest; 0 when none is due.
	Oldest time.Duration
}

// BacklogCounted is how many queued deliveries of a lane are counted at the most:
// counting costs as much as there is.
const BacklogCounted = 100_000

// Unreleased is what of a rule waits to be released.
type Unreleased struct {
	// Runs wait for an operator.
	Runs int
	// Provisional notifications wait for a row that confirms them, or for the end of their hold;
	// the first 10,000 of all rules are counted.
	Provisional int
}

// Queue is the part of the ledger that the dispatcher works from.
type Queue interface {
	StopReader
	// Rules lists the rules that have something queued on a lane, whether due or not, and are not
	// stopped.
	Rules(ctx context.Context, lane LaneID) ([]string, error)
	// Due counts the deliveries that are due on a lane, up to a limit; not those of stopped rules.
	Due(ctx context.Context, lane LaneID, limit int) (int, error)
	// Claim leases due deliveries, oldest first. A delivery whose thread has an older one leased
	// to be sent to the same device waits for that.
	Claim(ctx context.Context, req ClaimRequest) ([]Claim, error)
	// View reads what the gates need, in any order.
	View(ctx context.Context, claims []Claim) ([]View, error)
	// Record writes results down in one transaction. Results whose lease has been lost are
	// left out; it returns how many.
	Record(ctx context.Context, owner string, results []Result) (lost int, err error)
	// Reclaim requeues deliveries whose lease has lapsed: their outcome is unknown.
	Reclaim(ctx context.Context, limit int) (int, error)
	// Disown requeues what is leased to the owner on a lane and not in held: a claim whose commit
	// could not be confirmed. Nothing of it was sent, so that it is not counted as an attempt.
	Disown(ctx context.Context, owner string, lane LaneID, held []DeliveryID) (int, error)
	// Backlog tells what waits on a lane.
	Backlog(ctx context.Context, lane LaneID) (Backlog, error)
	// Unreleased tells what waits to be released, by rule.
	Unreleased(ctx context.Context) (map[string]Unreleased, error)
	// Expire ends queued deliveries that are worth nothing any more, whether or not a lane would
	// still come to them: at most limit of them, counted by the reason. That is ReasonStopped or
	// ReasonNotImported where it still holds them up, else ReasonTTL.
	Expire(ctx context.Context, limit int) (map[Reason]int, error)
}

// Retirer takes a dead target out of use.
type Retirer interface {
	// Retire makes the device inactive for good unless it has a newer generation of its target;
	// it reports whether it did.
	Retire(ctx context.Context, id devices.ID, generation int64, reason string) (bool, error)
}

// Ledger is everything that the notifier writes down.
type Ledger interface {
	RunLedger
	FanLedger
	Queue
	FleetLedger
	Quotas
	RetentionLedger
	FrequencyLedger
}
