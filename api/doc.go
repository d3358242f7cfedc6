// Package api is the HTTP face of Bugle: what apps call to activate their
// devices and to say what they want to hear about, and what operators and
// probes call on a listener of its own.
//
// New builds the handler for apps, NewAdmin the one for the admin listener,
// NewServer an http.Server with every timeout set. All three only build:
// whoever calls them listens, serves and shuts down.
//
// Every answer that is not a success is an application/problem+json document
// (RFC 9457), whoever found the fault: a handler, the schema check, the router,
// a panic. A fault.Kind becomes a status in one place (problemOf); the text of
// an internal error goes to the log under the request id that the caller gets.
//
// The routes for apps are described by huma, which checks bodies and
// parameters against the same schema that GET /openapi.json publishes. They
// are registered behind the Authenticator, so that a route without it cannot
// come about by forgetting something, and each carries examples that a test
// runs; /docs shows the same document to people. A user sees and touches only
// what is their own; another one's answers as if it did not exist.
//
// The routes for operators, /admin/v1, stand on the admin listener behind
// tokens of their own (AdminTokens), whose hashes are in a file that is read
// again when it changes. Every change that an operator makes carries its
// notifier.Actor down to where it is written, which is where it is audited.
//
// The package refuses to tell a target's value: answers and logs hold its kind
// and a short hash. Tokens are never logged. Labels of metrics come from closed
// sets: the router's pattern, a known method, the status.
//
// HS256 and JWKS are the Authenticators: a shared secret, or the keys that an
// issuer publishes. Whoever calls NewJWKS runs JWKS.Run. Requests are limited by
// address before anything else and by user behind the Authenticator.
//
// Handlers are safe for concurrent use and start no goroutine that outlives
// its request.
package api
