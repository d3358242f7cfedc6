package relay

import "context"

// Publisher publishes one message, once: it makes at most one attempt that can
// reach the service, or repeats it with the same id. The relay retries.
type Publisher interface {
	// Publish returns what became of the message. It must return soon after ctx
	// has ended. Nothing in the answer may hold a key or a token.
	Publish(ctx context.Context, m Message) Answer
}

// Verdict is what an answer means for the message and for those behind it.
type Verdict string

// The verdicts.
const (
	// Accepted: the message is published, now or by an earlier attempt.
	Accepted Verdict = "accepted"
	// NotSent: nothing reached the service.
	NotSent Verdict = "not_sent"
	// Unknown: nobody can tell whether the message was taken (a timeout, a broken
	// connection, a server error).
	Unknown Verdict = "unknown"
	// ChannelLimited: the channel is over its rate; the message was not taken.
	ChannelLimited Verdict = "channel_limited"
	// AccountLimited: the account is over its rate; the message was not taken.
	AccountLimited Verdict = "account_limited"
	// Blocked: the key, the account or the application is refused. No message
	// will be taken before somebody has mended that.
	Blocked Verdict = "blocked"
	// Denied: the key may not do this. Whether that is true of all channels shows
	// when other messages are published, or are not.
	Denied Verdict = "denied"
	// Refused: this message will never be taken.
	Refused Verdict = "refused"
)

// Verdicts lists all of them.
func Verdicts() []Verdict {
	return []Verdict{Accepted, NotSent, Unknown, ChannelLimited, AccountLimited, Blocked, Denied, Refused}
}

// Answer is what became of one attempt.
type Answer struct {
	Verdict Verdict
	// Code is the service's own code, such as 40009; 0 for none.
	Code int
	// Reason says it in words, for people.
	Reason string
}
