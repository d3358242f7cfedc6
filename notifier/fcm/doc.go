// Package fcm sends notifications through Firebase Cloud Messaging: it is a
// notifier.Sender on the official Firebase Admin SDK.
//
// # What it does
//
// A Sender turns one notifier.Push into one FCM message with the block of the
// push's platform only (Android, APNs or Web Push), sends it with exactly one
// HTTP request, and turns the answer into one verdict. It holds the access
// token and the pool of connections that this takes.
//
// # What it refuses to do
//
//   - Repeat. The SDK repeats 503 and every transport error by itself, at once,
//     while Google asks for ten seconds at least ("Best practices when sending
//     FCM messages at scale"); the transport here answers the SDK so that it
//     does not, and refuses a second request of the same Send whatever the SDK
//     does. A repeat is the dispatcher's decision, because it is written down
//     first.
//   - Guess from text. Answers are classified by HTTP status first, then by the
//     typed details (FcmError, ApnsError, BadRequest, ErrorInfo). Google's
//     messages may quote what was sent, so they are neither read nor logged.
//   - Retire on doubt. VerdictGone is given only for a definite word about the
//     target itself. A 404 without FcmError is a wrong project or address, and a
//     sender id mismatch is as often our credential as the target.
//   - Pace, pause or alarm. Quotas, breakers and lanes are the dispatcher's.
//
// # Data that reaches the app
//
// Every message carries in data, all of them strings: nid (the notification's
// id; an app drops an id that it has shown), seq (the same number, as the order
// within a thread: an app drops a smaller one than it has shown), thread,
// category, class, link (when there is one), and what the rule adds. A rule may
// not use those names nor the ones reserved by Google (see notifier.ReservedDataKey).
//
// # Unknown outcomes
//
// FCM has no idempotency key. A timeout, a reset or any 5xx after the request
// was written can hide a message that was delivered (seen in the field for 503:
// firebase-admin-node issue 1248), so all of them are VerdictUnknown; the
// repeat carries the same nid, tag and collapse id and replaces the first on
// screen. A failure before the request's header was handed to a connection
// (name lookup, dial, TLS, waiting for a connection or an access token) is
// VerdictRetry: nothing can have been accepted.
//
// # Access tokens
//
// One token serves all sends. It is replaced in the background after five
// sixths of its life, while the old one is still served; only when there is
// none at all do sends wait, each no longer than its own deadline. The
// credentials file is read again at each replacement, so that a rotated key
// needs no restart. A token that Google refuses is dropped (verdict retry); when
// its successor is refused as well, the verdict is blocked.
//
// # Connections
//
// To https addresses a Sender keeps several HTTP/2 transports, each with at
// most 90 requests in flight, below the 100 streams that FCM is reported to
// allow per connection. net/http's StrictMaxConcurrentRequests is not used: it
// can hang (Go issue 70809). net/http itself repeats a request only where
// nothing of it was processed (a refused stream, a graceful GOAWAY, a
// connection that died before a byte was written); that is safe. To http
// addresses (a stand-in) it keeps HTTP/1.1 connections, one per request in
// flight.
//
// # Concurrency and lifecycle
//
// A Sender is safe for concurrent use. New dials nothing. Close waits for a
// token request that is under way and closes idle connections; call it after
// the last Send has returned.
package fcm
