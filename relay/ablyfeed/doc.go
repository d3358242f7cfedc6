// Package ablyfeed publishes the relay's messages to Ably channels, through
// ably-go's REST client. Types of the SDK stay in here, and so does the key: it
// is in no error, answer or log.
//
// A call of Publish is one attempt, which ably-go repeats at its fallback hosts
// only, with the same message id. What to do after a failure is the relay's to
// decide, and a Verdict tells it (ably-go itself retries nothing on 429, nor on
// 5xx when the address is one host).
package ablyfeed
