package notifier

import (
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// The errors of looking things up. They carry their fault.Kind, and may be wrapped.
var (
	// ErrUnknownRun says that there is no such run.
	ErrUnknownRun error = fault.New(fault.NotFound, "there is no such run")
	// ErrUnknownNotification says that there is no such notification.
	ErrUnknownNotification error = fault.New(fault.NotFound, "there is no such notification")
	// ErrUnknownDelivery says that there is no such delivery.
	ErrUnknownDelivery error = fault.New(fault.NotFound, "there is no such delivery")
)

// MaxCounted is where counts of what became of a run or a notification end: more is told as so many.
const MaxCounted = 1_000_000

// RunRecord is what is written down of a run.
type RunRecord struct {
	ID     RunID
	Rule   string
	TickAt time.Time
	State  RunState
	// Baseline runs took what they read as known.
	Baseline bool
	// Since and Until bound the arrival times that were read.
	Since, Until time.Time
	// Generation is that of the rules that the run was made with.
	Generation string
	// Owner is the replica that ran it.
	Owner string
	// Rows counts the rows that were read, the others are what StageResult says.
	Rows, Staged, Adopted, Swept, Bad int64
	// Planned counts the deliveries that the run would make, up to one more than the rule's limit.
	Planned int64
	// Limit is the one that counted for it: max_deliveries, or what max_growth allowed; 0 for none.
	Limit int64
	// Error says why a run failed.
	Error                 string
	StartedAt, FinishedAt time.Time
	// Notifications counts the run's notifications by state, and Deliveries what became of them,
	// each up to MaxCounted in all; both nil in a list.
	Notifications map[string]int64
	Deliveries    map[DeliveryState]int64
}

// RunQuery asks for a page of runs, newest first. Zero values ask for any.
type RunQuery struct {
	Rule  string
	State RunState
	// Before asks for smaller ids; 0 begins at the newest.
	Before RunID
	Limit  int
}

// DeliveryRecord is what is written down of a delivery.
type DeliveryRecord struct {
	ID           DeliveryID
	Notification NotificationID
	Device       devices.ID
	// User is whose device it was when the delivery was made.
	User     devices.UserID
	Rule     string
	Provider devices.Provider
	Urgency  Urgency
	State    DeliveryState
	Reason   string
	// Counted counts attempts that count against the backoff, Unknowns those whose outcome is not known.
	Counted, Unknowns int
	// Owner is the replica that sent it last.
	Owner                                   string
	DueAt, ExpiresAt, CreatedAt, FinishedAt time.Time
	// Attempts are oldest first; nil in a list.
	Attempts []AttemptRecord
}

// AttemptRecord is one attempt and who made it.
type AttemptRecord struct {
	Attempt
	Owner string
}

// DeliveryQuery asks for a page of deliveries. Zero values ask for any.
type DeliveryQuery struct {
	User         devices.UserID
	Device       devices.ID
	Notification NotificationID
	State        DeliveryState
	Rule         string
	// Provider and Reason narrow what the others find; empty for any.
	Provider devices.Provider
	Reason   string
	// Since and Until bound the time at which the delivery was made, Since included and Until not.
	Since, Until time.Time
	// After goes on behind a delivery of the page before; nil begins.
	After *DeliveryCursor
	Limit int
}

// DeliveryCursor is where a page of deliveries ended.
type DeliveryCursor struct {
	CreatedAt time.Time
	ID        DeliveryID
	Device    devices.ID
}

// ByDevice tells in which order the deliveries come: by device when a whole
// notification is asked for, which may be millions, else newest first.
func (q DeliveryQuery) ByDevice() bool { return q.Notification != 0 && q.Device == "" && q.User == "" }

// NotificationRecord is what is written down of a notification.
type NotificationRecord struct {
	Notification
	// Identity is that of the rule then: of another one, keys and versions say nothing.
	Identity string
	// Shadow says that the rule did not send then.
	Shadow bool
	// FollowUp says that the thread has an older notification.
	FollowUp bool
	Urgency  Urgency
	Audience AudienceKind
	// Latest says that no newer version of the key is known.
	Latest bool
	// State is staged, passed, baseline, provisional, released, held, discarded or superseded.
	State string
	// HeldUntil is when the hold of a provisional version ends or ended, zero for others; ConfirmedAt
	// is when a row ended it, zero while none has. Superseded without a confirmation: it was
	// replaced while it was held, and nobody was told.
	HeldUntil, ConfirmedAt time.Time
	Run                    RunID
	ReleasedAt, FannedOut  time.Time
	// Deliveries counts the deliveries by state, up to MaxCounted in all.
	Deliveries map[DeliveryState]int64
}

// RunNotificationQuery asks for a page of a run's notifications, by their ids.
type RunNotificationQuery struct {
	Run RunID
	// After asks for larger ids; 0 begins at the first.
	After NotificationID
	Limit int
}

// BadRowRecord is a row that no notification could be made of.
type BadRowRecord struct {
	Rule string
	// Hash names the row within its rule.
	Hash   string
	Reason BadRowReason
	Detail string
	Row    Row
	// Times counts how often it was read.
	Times               int64
	FirstSeen, LastSeen time.Time
}

// BadRowQuery asks for a page of bad rows, those first seen last first.
type BadRowQuery struct {
	// Rule is empty for any.
	Rule string
	// After goes on behind a row of the page before; nil begins.
	After *BadRowCursor
	Limit int
}

// BadRowCursor is where a page of bad rows ended.
type BadRowCursor struct {
	FirstSeen  time.Time
	Rule, Hash string
}
