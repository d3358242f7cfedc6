// Package preflight finds out, before the service starts, whether everything
// that it depends on is there and as it must be, and says how to mend what is
// not: the checks behind `bugle serve --check`.
//
// Run makes all checks at once, each with a deadline of its own, and returns
// every finding. A check looks only: it sends no notification, writes to no
// database and creates no file. A finding names the key of the configuration
// that it is about; it holds no secret and no text of a provider, with one
// exception: ksqlDB's refusal of a rule's query, in which the client masks every
// bound value, because only ksqlDB knows what it dislikes.
//
// Each check asks through a small interface or an address, so that it can be
// tested apart. An error keeps the service from working and a warning does not.
//
// The package keeps no state. Nothing that it starts outlives Run.
package preflight
