package notifier

import (
	"context"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// DeliveryID names a delivery: one notification to one device.
type DeliveryID int64

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery. All but Queued and Leased are final.
const (
	Queued      DeliveryState = "queued"
	Leased      DeliveryState = "leased"
	Sent        DeliveryState = "sent"
	Gone        DeliveryState = "gone"
	Rejected    DeliveryState = "rejected"
	Expired     DeliveryState = "expired"
	Suppressed  DeliveryState = "suppressed"
	Superseded  DeliveryState = "superseded"
	Cancelled   DeliveryState = "cancelled"
	Unconfirmed DeliveryState = "unconfirmed"
)

// Verdict is what one attempt came to.
type Verdict string

// The verdicts.
const (
	// VerdictSent: the provider accepted the message.
	VerdictSent Verdict = "sent"
	// VerdictRetry: the provider refused for now and did not take it.
	VerdictRetry Verdict = "retry"
	// VerdictGone: the target is dead; a definite word about the target itself.
	VerdictGone Verdict = "gone"
	// VerdictRejected: this message will never be taken; the target is fine.
	VerdictRejected Verdict = "rejected"
	// VerdictBlocked: our credentials or permissions; nothing on this lane will pass.
	VerdictBlocked Verdict = "blocked"
	// VerdictUnknown: the answer was lost; the message may have been taken.
	VerdictUnknown Verdict = "unknown"
)

// Push is one message for one target.
type Push struct {
	Delivery DeliveryID
	Platform devices.Platform
	Target   devices.Target
	Message  Message
	// BeginBy is the moment from which the request must not begin any more, however long a place,
	// credentials or a connection take: what decided about it is too old then. Zero means never.
	BeginBy time.Time
}

// Outcome is a sender's answer for one push.
type Outcome struct {
	Verdict Verdict
	// After is how long this message has to wait, by what the provider says or documents; 0 for
	// our own backoff.
	After time.Duration
	// Hold is how long the provider has asked us, in so many words, to send nothing more when it is
	// throttling; 0 when it does not say. A documented default is no such word.
	Hold time.Duration
	// Throttled says that a retry was asked for because we send too fast: the lane slows down.
	Throttled bool
	// PlatformOnly says that a blocked verdict is about the push's platform: another
	// credential, such as Google's for APNs, and nothing that other platforms need.
	PlatformOnly bool
	// Code is the provider's reason in a closed set of words, for metrics and the attempt log.
	Code string
	// Status is the HTTP status, 0 when there was none.
	Status int
	// ProviderID is the provider's name for an accepted message.
	ProviderID string
	// Err is the cause, for the log; nil when sent. It holds no target and no text of the message.
	Err error
}

// Sender hands one push to a provider.
//
// Send returns within the deadline of ctx and never retries by itself: a repeat
// is the dispatcher's decision, because it must be written down first. What could
// not begin by Push.BeginBy is VerdictRetry.
type Sender interface {
	Send(ctx context.Context, p Push) Outcome
}
