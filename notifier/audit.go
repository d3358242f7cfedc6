package notifier

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// Actor is who asks for a change, and by which request. The zero value is the
// service itself, of whose doings only what a suppression stopped is audited.
type Actor struct {
	// Name is the name of the operator's token.
	Name string
	// RequestID is the request by which they asked.
	RequestID string
}

// Action names what an operator did. The set is closed.
type Action string

// The actions.
const (
	// ActionPause: a rule takes no ticks until it is resumed.
	ActionPause Action = "pause"
	// ActionResume: a paused rule takes ticks again.
	ActionResume Action = "resume"
	// ActionRun: a rule ran out of turn.
	ActionRun Action = "run"
	// ActionRelease: what a held run holds goes out.
	ActionRelease Action = "release"
	// ActionDiscard: what a held run holds is dropped for good.
	ActionDiscard Action = "discard"
	// ActionRequeue: a delivery that had ended is tried again.
	ActionRequeue Action = "requeue"
	// ActionRequeueAll: deliveries that had ended are tried again, all that a filter names.
	ActionRequeueAll Action = "requeue_all"
	// ActionTestSend: one push went to one device outside of the ledger.
	ActionTestSend Action = "test_send"
	// ActionDeactivate: a device was taken out of use until its app activates it again.
	ActionDeactivate Action = "deactivate"
	// ActionSuppress: a user must not be sent to.
	ActionSuppress Action = "suppress"
	// ActionUnsuppress: a suppression was taken back.
	ActionUnsuppress Action = "unsuppress"
	// ActionStop: nothing of a rule is sent, or nothing at all.
	ActionStop Action = "stop"
	// ActionStart: it is sent again.
	ActionStart Action = "start"
	// ActionStopped: a suppression stopped a delivery. The service itself did it, so that the
	// entry has no actor.
	ActionStopped Action = "stopped"
)

// Actions lists what the audit can tell.
func Actions() []Action {
	return []Action{
		ActionPause, ActionResume, ActionRun, ActionRelease, ActionDiscard, ActionRequeue, ActionRequeueAll, ActionTestSend, ActionDeactivate, ActionSuppress,
		ActionUnsuppress, ActionStop, ActionStart, ActionErase, ActionExport, ActionStopped,
	}
}

// Stopped is what the audit keeps of a delivery that a suppression stopped: the
// delivery itself is removed one day.
type Stopped struct {
	Notification NotificationID   `json:"notification"`
	Rule         string           `json:"rule"`
	Class        Class            `json:"class"`
	User         devices.UserID   `json:"user"`
	Device       devices.ID       `json:"device"`
	Reason       Reason           `json:"reason"`
	Suppressed   SuppressionClass `json:"suppressed"`
	// SetBy is who set the suppression; Imported says that it was an import (see Suppression.Imported).
	SetBy    string    `json:"set_by"`
	SetAt    time.Time `json:"set_at"`
	Imported bool      `json:"imported,omitempty"`
}

// AuditEntry is one change that an operator made. Entries are never changed.
type AuditEntry struct {
	// ID grows with each entry.
	ID     int64
	At     time.Time
	Actor  Actor
	Action Action
	// Subject is what was changed: "rule/bet-settled", "run/12", "delivery/7", "device/phone-1".
	Subject string
	// Before and After are JSON; null where there was nothing. They hold no target and no text of a message.
	Before, After json.RawMessage
}

// AuditFilter chooses entries. Zero values choose any.
type AuditFilter struct {
	// Actor is the name of an operator's token.
	Actor  string
	Action Action
	// Subject is what was changed, as in AuditEntry.
	Subject string
	// Since and Until bound the time, Since included and Until not.
	Since, Until time.Time
}

// AuditQuery asks for a page of the audit.
type AuditQuery struct {
	AuditFilter
	// After asks for the entries with larger ids, oldest first.
	After int64
	// Before asks for those with smaller ids, newest first; 0 begins at the newest. It counts unless Forward is set.
	Before int64
	// Forward chooses After.
	Forward bool
	// Limit is the most entries to return.
	Limit int
}

// SubjectDeliveries names deliveries in the audit that a filter chose.
const SubjectDeliveries = "deliveries"

// SubjectSending names all sending in the audit.
const SubjectSending = "sending"

// SubjectSuppressions names the list of suppressions in the audit.
const SubjectSuppressions = "suppressions"

// SubjectRule names a rule in the audit.
func SubjectRule(id string) string { return "rule/" + id }

// SubjectRun names a run in the audit.
func SubjectRun(id RunID) string { return "run/" + strconv.FormatInt(int64(id), 10) }

// SubjectDelivery names a delivery in the audit.
func SubjectDelivery(id DeliveryID) string { return "delivery/" + strconv.FormatInt(int64(id), 10) }

// SubjectSuppression names a suppression in the audit. A user's id may have any
// character but control characters, so the reason, which has no slash, comes first.
func SubjectSuppression(k SuppressionKey) string {
	return "suppression/" + string(k.Reason) + "/" + string(k.User)
}

// SubjectDevice names a device in the audit.
func SubjectDevice(id devices.ID) string { return "device/" + string(id) }
