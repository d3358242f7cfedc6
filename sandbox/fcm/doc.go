// Package fcm is a stand-in for Firebase Cloud Messaging: a server that speaks
// the HTTP v1 protocol over a socket to real, unmodified clients, keeps what it
// accepts, refuses what the real service refuses, and fails on request. It is
// for tests and for development without a Google account.
//
//	srv, err := fcm.Start(ctx, fcm.Config{})
//	…
//	defer srv.Close()
//	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: srv.ProjectID()},
//		option.WithEndpoint(srv.URL()),
//		option.WithAuthCredentialsJSON(option.ServiceAccount, srv.CredentialsJSON()))
//	…
//	client, err := app.Messaging(ctx)
//	…
//	name, err := client.Send(ctx, &messaging.Message{Token: srv.MintToken(fcm.Android), …})
//	…
//	got := srv.Accepted()[0]
//
// There is no emulator for FCM and no environment variable that redirects the
// Firebase Admin SDK, so option.WithEndpoint is the way in. The endpoint is
// used verbatim: it ends in /v1, as [Server.URL] does. The credentials name
// this server's own OAuth endpoint, so the whole chain of assertion, access
// token, expiry and refresh runs offline. Clients that want none of it use
// option.WithoutAuthentication with [Config.NoAuth], and clients of raw HTTP
// [Server.MintBearer].
//
// # Targets
//
// [Server.MintToken] makes registration tokens of the shape the service uses.
// Everything about a token is in the token, under a key that follows from
// [Config.ProjectID] and [Config.Seed]: the server knows any number of devices
// and stores none. [Server.MintFID] makes installation ids,
// [Server.MintForeignToken] tokens of another project. A token without the
// shape is answered 400, a well-shaped one that was never minted 404.
//
// # What is checked
//
// JSON is held against the schema in both spellings, snake_case and lowerCamel;
// unknown names, wrong types and two targets at once are refused the way the
// API front end does, with a BadRequest and no FcmError. Then come the rules of
// the service: a target, the grammars of topic and condition, reserved data
// keys, ttl from 0 to 28 days, colours, localisation arguments, analytics
// labels, the headers of APNs and Web Push, 4096 bytes of payload. Where the
// documentation and the live service are known to differ, the stricter reading
// holds, so that a message that passes here is safe there. Where the live
// wording of an error is not known, a comment says so; do not test against
// message texts. validate_only makes the same checks and leaves no record.
//
// Quotas: 600,000 sends a minute and project in a fixed window that is not
// aligned to the clock, 240 messages a minute and Android device. Refused sends
// other than 429 use quota too. Over the project's quota the answer is the one
// captured from the live service, which has no FcmError. The hourly quota of a
// device and the delaying of collapsible messages are not imitated, and topics
// have no quota.
//
// # What was accepted
//
// [Server.Accepted] and [Config.OnAccept] tell what was accepted, in order.
// FCM has no idempotency key, so a sender that retries after a lost answer
// repeats itself; what matters is that it does so only then, and with the same
// ids, so that the repeat replaces the first on the device. The records decide
// that: each has the message's "nid" (an id of the sender's in data), tag and
// collapse ids, the number of the attempt and of the acceptance, and whether
// the answer was lost. [Server.Repeats] draws the conclusion. One gap cannot be
// closed from this side: an answer that was written and never read counts as
// answered, so let clients' timeouts end well before or after the latency.
//
// # Faults
//
// [Faults] sets latency and the shares of sends that meet each [Kind] of fault,
// bounded per message; [Mild] and [Harsh] are presets, [Server.Inject] strikes
// the next send. Faults are a function of seed, message and attempt, not of the
// order in which requests arrive.
//
// The Firebase Admin SDK retries 503 and broken connections by itself, after
// 0, 1, 2 and 4 seconds, and cannot be told not to: a fault of these kinds is
// seen by the SDK's caller only if all five attempts meet one.
//
// # Transport
//
// The clear-text listener speaks HTTP/1.1 and, to clients that begin with it,
// HTTP/2. [Config.TLSAddr] adds TLS with HTTP/2. A connection takes 100 streams
// at a time. Only loopback addresses are accepted unless
// [Config.AllowNonLoopback] is set.
//
// # Concurrency, lifecycle, memory
//
// All methods may be called from any goroutine. [Start] returns when the
// listeners are open; the server ends with Start's context, [Server.Close] or
// [Server.Shutdown], and Close waits for everything it started. Memory is
// bounded but for what tests say about single targets: the newest
// [Config.MaxRecords] records and states of messages, one minute of device
// counts, and one entry for each target unregistered, taken offline or
// otherwise singled out, and for each topic subscription.
//
// # What it does not do
//
// It delivers nothing to a device and does not fan topics out; topic management
// (/iid/v1:batchAdd, :batchRemove) only records subscriptions. It knows no
// legacy API and no /batch, as the real service no longer does. It is no
// security boundary: everybody who reaches it can read what it answers.
package fcm
