// Package sqlledger keeps the notifier's books in a database: runs,
// notifications, deliveries, attempts, where each rule stands, what users have
// read of their inboxes, and the audit of what operators changed.
//
// Everything that must be true together is written in one transaction, and
// every batch is one statement with one JSON parameter. It runs on SQLite and is
// written to run on PostgreSQL (see package internal/sqldb). The package writes its own tables
// and only reads those of package devices/sqldevices: the fan-out joins the
// devices set-wise instead of carrying them through the process.
//
// What has ended is removed in short transactions, along indexes (retention.go).
//
// Unique keys carry the invariants: runs (rule, tick) and one reading run per
// rule; notifications (rule, key, version) and one latest per (rule, key);
// deliveries (notification, device). Whatever is read again, restarted or run
// twice meets them.
//
// Transactions lock in one order, so that no two wait for each other: an
// operator's word on a rule (by name), the rule's watermark, its runs,
// notifications, deliveries.
package sqlledger
