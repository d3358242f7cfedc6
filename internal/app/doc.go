// Package app wires Bugle together: it is the only place that knows every
// part. Both commands use it, so that the sandbox runs the very same service.
//
// New opens everything in order (database, ksqlDB, FCM, rules, listeners) and
// fails before anything starts when something cannot work; what was opened is
// closed again. After New the addresses are bound and Addr and AdminAddr are
// known. Run serves until its context ends and then stops in the order in
// which nothing is lost:
//
//	stop the API · stop taking ticks and claiming · finish what is in flight ·
//	record it · stop the admin listener · close what New opened, last first
//
// One deadline bounds the stop as a whole. The admin listener stays until the
// work is done, and /readyz fails there from the beginning of the stop.
//
// An App that is never run must be closed by Close.
package app
