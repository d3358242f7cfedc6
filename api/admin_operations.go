package api

import (
	"context"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// RuleReader shows the rules in force. Its errors carry a fault.Kind.
type RuleReader interface {
	Rules(ctx context.Context) ([]notifier.RuleStatus, error)
	Rule(ctx context.Context, id string) (notifier.RuleStatus, error)
	// Preview runs the rule's query now and renders what it finds; it sends and writes nothing.
	Preview(ctx context.Context, id string, req notifier.PreviewRequest) (notifier.Preview, error)
}

// RuleOperator changes what rules do. Its changes are audited.
type RuleOperator interface {
	Pause(ctx context.Context, by notifier.Actor, id, reason string) (notifier.RuleStatus, error)
	Resume(ctx context.Context, by notifier.Actor, id, reason string) (notifier.RuleStatus, error)
	// RunNow runs the rule out of turn and returns the run when it has ended.
	RunNow(ctx context.Context, by notifier.Actor, id string) (notifier.RunRecord, error)
	StopRule(ctx context.Context, by notifier.Actor, id, reason string) (notifier.RuleStatus, error)
	StartRule(ctx context.Context, by notifier.Actor, id, reason string) (notifier.RuleStatus, error)
}

// SendingOperator stops and starts all sending. Its changes are audited.
type SendingOperator interface {
	notifier.StopReader
	StopSending(ctx context.Context, by notifier.Actor, reason string) error
	StartSending(ctx context.Context, by notifier.Actor, reason string) error
}

// RunReader shows what runs did.
type RunReader interface {
	Runs(ctx context.Context, q notifier.RunQuery) ([]notifier.RunRecord, error)
	Run(ctx context.Context, id notifier.RunID) (notifier.RunRecord, error)
	// LastRuns returns the last runs of each of some rules, newest first.
	LastRuns(ctx context.Context, rules []string, limit int) (map[string][]notifier.RunRecord, error)
	// RunNotifications lists a run's notifications by their ids, without counts.
	RunNotifications(ctx context.Context, q notifier.RunNotificationQuery) ([]notifier.NotificationRecord, error)
}

// RunOperator decides about held runs. Its changes are audited.
type RunOperator interface {
	Release(ctx context.Context, by notifier.Actor, id notifier.RunID) (notifier.RunRecord, error)
	Discard(ctx context.Context, by notifier.Actor, id notifier.RunID) (notifier.RunRecord, error)
	// Sample shows the first of what a held run would send; it changes nothing.
	Sample(ctx context.Context, id notifier.RunID, limit int) ([]notifier.PreviewNotification, error)
}

// DeliveryReader shows what became of deliveries.
type DeliveryReader interface {
	Deliveries(ctx context.Context, q notifier.DeliveryQuery) ([]notifier.DeliveryRecord, error)
	Delivery(ctx context.Context, id notifier.DeliveryID) (notifier.DeliveryRecord, error)
}

// Requeuer makes deliveries that have ended try again. It is audited.
type Requeuer interface {
	// RequeueAll requeues all that a filter names, up to a limit, or only counts them.
	RequeueAll(ctx context.Context, by notifier.Actor, f notifier.RequeueFilter) (notifier.Requeued, error)
	Requeue(ctx context.Context, by notifier.Actor, id notifier.DeliveryID) (notifier.DeliveryRecord, error)
}

// BadRowReader shows rows that no notification could be made of.
type BadRowReader interface {
	BadRows(ctx context.Context, q notifier.BadRowQuery) ([]notifier.BadRowRecord, error)
}

// DeviceReader shows the devices of any user.
type DeviceReader interface {
	Devices(ctx context.Context, user devices.UserID) ([]devices.Device, error)
	Find(ctx context.Context, id devices.ID) (devices.Device, error)
}

// DeviceOperator takes devices out of use. It is audited.
type DeviceOperator interface {
	// DeactivateBy deactivates a device until its app activates it again, and returns it as it stands then.
	DeactivateBy(ctx context.Context, by devices.Operator, id devices.ID, reason string) (devices.Device, error)
}

// TestSender sends one test push to one device now. It is audited.
type TestSender interface {
	TestSend(ctx context.Context, by notifier.Actor, id devices.ID, title, body string) (notifier.TestResult, error)
}

// AuditReader shows what operators did.
type AuditReader interface {
	Audit(ctx context.Context, q notifier.AuditQuery) ([]notifier.AuditEntry, error)
}

// ReplicaReader shows the running replicas.
type ReplicaReader interface {
	Replicas(ctx context.Context) ([]notifier.ReplicaRecord, error)
}

// Operations are what the admin API works with; all of them are required, but
// for Presence.
// *notifier.Control, *sqlledger.Ledger, *sqldevices.Registry and
// *notifier.Tester serve them.
type Operations struct {
	// Tokens say who may come in.
	Tokens        *AdminTokens
	Rules         RuleReader
	RuleControl   RuleOperator
	Runs          RunReader
	RunControl    RunOperator
	Deliveries    DeliveryReader
	Requeue       Requeuer
	BadRows       BadRowReader
	Explain       Explainer
	Users         UserOperator
	Devices       DeviceReader
	DeviceControl DeviceOperator
	TestSend      TestSender
	Audit         AuditReader
	Replicas      ReplicaReader
	Sending       SendingOperator
	// Suppressions are who must not be sent to; changes of them are audited.
	Suppressions notifier.Suppressions
	// Presence is who is in the app; nil leaves its route out.
	Presence PresenceReader
}

func (o *Operations) complete() bool {
	return o.Tokens != nil && o.Rules != nil && o.RuleControl != nil && o.Runs != nil && o.RunControl != nil && o.Deliveries != nil &&
		o.Requeue != nil && o.BadRows != nil && o.Explain != nil && o.Users != nil && o.Devices != nil && o.DeviceControl != nil && o.TestSend != nil && o.Audit != nil && o.Replicas != nil && o.Suppressions != nil && o.Sending != nil
}
