// Package app wires Bugle together: it is the only place that knows every
// part. Both commands use it, so that the sandbox runs the very same service.
//
// New opens everything in order (rules, database, ksqlDB, FCM, Ably, listeners) and
// fails before anything starts when something cannot work; what was opened is
// closed again. After New the addresses are bound and Addr and AdminAddr are
// known. Run serves until its context ends and then stops in the order in
// which nothing is lost:
//
//	stop the API · stop taking ticks and claiming · finish what is in flight ·
//	record it · stop the admin listener · close what New opened, last first
//
// Deadlines bound the stop: apps have five seconds of it, and what is in flight
// has its own (a send and its record). The admin listener stays until the work
// is done, and /readyz fails there from the beginning of the stop; what operators
// have asked for ends with the work.
//
// Beside the notifier run the watcher of Ably's push log (when Ably has a key),
// the reader of the issuer's keys (with auth.jwks_url) and the watcher of the
// rules' files; they end with the work. Reload puts changed rules in force, as a
// whole or not at all.
//
// Preflight makes none of this: it asks every backend and returns what is wrong.
//
// An App that is never run must be closed by Close.
package app
