// Package sqldevices keeps activated devices and users' preferences in SQL.
// It is the only writer of the tables devices and preferences.
//
// Each write is one transaction around the rules of package devices: lock the
// rows that the rules look at, decide, store, and cancel what was queued for a
// user who lost the device, so that no reader ever sees one without the other.
// Rows are locked in the order of their ids, so that two activations that swap
// targets cannot wait for each other. What the locks cannot hold back, two
// inserts of one id or one target, meets a unique index; the loser starts
// again and finds the winner's row.
//
// A Registry has no goroutines and nothing to close; it is safe for concurrent
// use, by several processes as well. Errors carry a fault.Kind; one without is
// the database's. No error holds a target's value.
//
// Invariants: at most one active device per (provider, target value); a
// device's generation never decreases and grows whenever its target changes; a
// device that lost its target or its user has nothing queued when the
// transaction commits.
package sqldevices
