// Package ksqlsource reads the rows that rules ask for from ksqlDB: it adapts
// ksqlclient to notifier.Source.
//
// It turns the client's typed values into the few kinds that a notifier.Row
// may hold, and gives errors their kind: what passes by itself is
// fault.Unavailable, everything else is ours or the operator's to mend. It
// neither retries nor remembers anything, starts no goroutine, and is safe for
// concurrent use.
package ksqlsource
