// Package ably is a stand-in for Ably: a server that speaks Ably's REST and
// realtime protocols over a socket to real, unmodified clients, keeps the
// pushes it accepts, refuses what the real service refuses, and fails on
// request. It is for tests and for development without an Ably account.
//
//	srv, err := ably.Start(ctx, ably.Config{})
//	…
//	defer srv.Close()
//	client, err := sdk.NewRealtime(
//		sdk.WithKey(srv.Key()), sdk.WithEndpoint(srv.Host()), sdk.WithPort(srv.Port()),
//		sdk.WithTLS(false), sdk.WithInsecureAllowBasicAuthWithoutTLS())
//	…
//	phone := srv.MintDevice("user-1", ably.Android)
//	… // POST /push/publish to srv.URL()
//	got := srv.Accepted()[0]
//
// # What is there
//
// Push administration: publishing to a device, to all devices of a client, and
// to a transport's address, singly (POST /push/publish) and in batches of up to
// 10,000 notifications (POST /push/batch/publish); device registrations; channel
// subscriptions and pushes by messages with extras.push in a namespace that has
// push enabled; and the test transport ablyChannel, which shows a push on a
// channel.
//
// REST: publishing one message, an array, data alone (enveloped=false), and
// batches for up to 100 channels (POST /messages), with ids (a repeat within two
// minutes is answered and delivered once); limits of size and rate; history,
// presence of one channel and of several, channel status, time, tokens.
// Statistics are always empty.
//
// Realtime over WebSocket: attaching with modes, rewind and resume, messages,
// presence, heartbeats, token renewal, resuming a connection within two minutes.
// Each MESSAGE and PRESENCE is answered once, in order; one that is sent again
// after a reconnection is answered again and does nothing.
//
// Server-sent events for browsers without an SDK (GET /sse, GET /event-stream),
// with rewind, resuming by Last-Event-ID or lastEvent, and an error when the
// token expires. Pages of any origin may make every call.
//
// Webhooks: messages and presence posted in signed batches, with the service's
// schedule of repeats ([Config.Webhooks]).
//
// All of it in JSON and msgpack, protocol versions 2 to 6. Keys, Ably tokens
// (signed requests and unsigned ones) and JWTs are checked, and capabilities are
// matched by the documented rules.
//
// # What happens to a push
//
// A push that is accepted is handed over per device: rendered for FCM, APNs or
// the web by Ably's table, then delivered, or dropped, or refused by the
// provider. The publisher is told of the acceptance only. What goes wrong
// afterwards goes out on the metachannel "[meta]log:push" ([PushLog]), by
// realtime and in its history, and stands in [Accepted.Code]:
//
//   - 42926: dropped at random over [Config.PushRate];
//   - 103004: the provider refuses the payload, for more than 4096 bytes or FCM
//     data that are no strings;
//   - 103005: the device's token is dead, after [Server.KillDevice]; the
//     registration goes to FAILING and to FAILED;
//   - any code for a whole transport, by [Server.FailTransport].
//
// # Where the documentation is silent
//
// The answer to a batch ([BatchReply] has three shapes), the events on the push
// log (an object with error, deviceId, clientId and recipient), and what
// becomes of a push to an unknown device (404 here), of a subscription to a
// channel without push (400 here) or of a stream whose lastEvent is not kept any
// more (an error event with 80008, then what is kept) are this package's own
// choice, as is what becomes of a realtime frame that comes before those that the
// client has to send again after a reconnection: it waits for them. A client must not depend on them more than it has to. Where it is not
// known whether the service ignores or refuses something, such as an unknown
// field of a push payload, it is refused: what passes here is meant to pass
// there. Texts of errors are not the service's; go by codes.
//
// # What was accepted
//
// [Server.Accepted] and [Config.OnAccept] tell what was accepted, in order, one
// record for each device. Push has no idempotency key, so a sender that retries
// after a lost answer repeats itself; what matters is that it does so only
// then, and with the same collapse ids, so that the repeat replaces the first
// on the device. The records decide that: each has the push's "nid" (an id of
// the sender's in data), tag and collapse ids, the number of the attempt and of
// the acceptance, and whether the answer was lost. [Server.Repeats] draws the
// conclusion. One gap cannot be closed from this side: an answer that was
// written and never read counts as answered.
//
// [Server.Messages] and [Config.OnMessage] tell what channels accepted, and
// [Server.Deliveries] what webhooks sent. [Stats.DuplicatesAnswered] counts the
// publishes that were repeated without need.
//
// # Faults
//
// [Faults] sets latency and the shares of publishes, of pushes and of messages
// over REST, that meet each [Kind] of fault, bounded per message; [Mild] and
// [Harsh] are presets, [Server.Inject] strikes the next publish.
// [Server.DropConnections] and [Server.ForgetConnections] cut realtime
// connections and streams, [Server.DetachChannel] takes a channel away,
// [Faults.FrameRules] and [Server.InjectFrames] cut, refuse, and withhold or
// delay ACKs. [Server.ExpireTokens] ends tokens before their time.
// [WebhookFaults] and [Server.SendTwice] delay webhooks and make
// them send again what was delivered.
//
// # Concurrency, lifecycle, memory
//
// All methods may be called from any goroutine. [Start] returns when the
// listener is open; the server ends with Start's context, [Server.Close] or
// [Server.Shutdown], and Close waits for everything it started. Nothing survives
// the process but what follows from app and seed: keys, tokens, and the ids of
// minted devices in their order. Records, states of messages and histories are
// bounded; devices, subscriptions and the names of channels are not.
//
// # What it does not do
//
// It has no TLS, so it takes keys in clear text, which the real service refuses
// with 40103. It delivers nothing to a phone. Updates of messages, deltas
// (subscribers get full messages, as is always legal), filters of derived
// channels, presence history, integrations but batched webhooks in JSON,
// LiveObjects and the Control API are missing. It is no security boundary.
package ably
