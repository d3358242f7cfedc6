// Package ablypush sends notifications through Ably's push notifications: it is
// a notifier.Sender on Ably's push admin REST API, and a Watcher of the
// failures that Ably reports only afterwards.
//
// # What it does
//
// A Sender turns one notifier.Push into one request to POST /push/publish, for
// one registered device (deviceId) or for every device of one client
// (clientId), and turns the answer into one verdict. A Watcher reads the
// metachannel [meta]log:push, where Ably reports what went wrong after it had
// accepted a push, retires devices whose push token is dead, raises an alarm
// when Ably's credentials for FCM, APNs or Web Push are refused, and counts the
// rest.
//
// # What it refuses to do
//
//   - Repeat. One Send makes one request to publish. A repeat is the
//     dispatcher's decision, because it is written down first: a direct push
//     has no idempotency key at Ably.
//   - Batch. The answer of POST /push/batch/publish is not documented, and a
//     batch whose answer is lost makes all its outcomes unknown at once. One
//     request for each push stays within the API request rates of Ably's plans
//     at the rate at which a Sender is paced.
//   - Guess from text. Answers and events are read by their numeric codes.
//     Ably's messages may quote what was sent, so they are neither read nor
//     logged.
//   - Retire on doubt. See "Dead devices".
//   - Pace, pause or alarm about Send. That is the dispatcher's.
//
// # What is sent
//
// A recipient may have any platform, so every push carries a block for each
// transport: fcm (Android), apns and web. Ably merges the block over the
// generic form; whether deeply or not is not documented, so that each block
// that touches the alert repeats it whole. Tags and collapse ids stand in those
// blocks too: Ably's own collapseKey becomes the thread id on APNs and is
// dropped for Web Push (Ably: "Publish and receive push notifications").
//
// Data that reaches the app is the same as with the package fcm: nid, seq,
// thread, category, class, link (when there is one) and what the rule adds, all
// strings, because FCM takes nothing else.
//
// # Unknown outcomes
//
// Ably's answer says that a push was accepted, not that it was delivered. A
// timeout, a reset or any 5xx after the request was written is VerdictUnknown;
// the repeat carries the same nid, tag and collapse ids. A failure before the
// request's header was handed to a connection is VerdictRetry. Over an
// account's rate Ably drops pushes at random after it has accepted them (42926);
// which ones cannot be known, so they are only counted, by the Watcher.
//
// # Dead devices
//
// Ably answers 40400 for an unknown device and for an unknown application
// alike. VerdictGone is given only when the same key has been accepted within
// the last minute, or when a look at the list of registrations, made for this,
// shows that application and key are fine. A clientId is never retired: one
// dead device of a client says nothing of the others.
//
// A Watcher retires a device for 103005 ("token invalid") when the event names
// exactly one deviceId, and only if its target was activated before the event.
//
// # The Watcher
//
// It subscribes over a realtime connection by ably-go and reads the channel's
// history whenever it attaches, when it might have missed something, and every
// few minutes, so that a lost connection loses no event that Ably still has. An
// event that comes by both ways is handled once. A retirement that fails is
// kept and tried again. Every replica may run one: to retire a target twice is
// the same as once, while counters then count once per replica.
//
// The key needs the capability to subscribe to and read the history of
// "[meta]log:push"; "*" alone does not cover metachannels.
//
// # Secrets
//
// The key is in no log and no error. ably-go logs and returns the address of a
// failed dial with the key in it; what it says is redacted before it is logged
// and is never put into an error.
//
// # Concurrency and lifecycle
//
// A Sender is safe for concurrent use; New dials nothing; Close closes idle
// connections, after the last Send has returned. A Watcher's Run blocks until
// its context ends and may be called once.
package ablypush
