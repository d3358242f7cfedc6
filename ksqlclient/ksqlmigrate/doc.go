// Package ksqlmigrate applies versioned files of ksqlDB statements, in the naming
// and with the metadata of Confluent's ksql-migrations, so that either tool can go
// on where the other one stopped.
//
//	files/V000001__create_streams.sql
//	files/V000002__add_tables.sql
//
// What has been applied stands in ksqlDB itself: each change of state is an event
// of the stream MIGRATION_EVENTS, and the table MIGRATION_SCHEMA_VERSIONS has the
// latest of each version and, under the key CURRENT, of all. A Migrator creates
// both when they are missing, writes with INSERT ... VALUES, where
// ksql-migrations uses /inserts-stream, reads with pull queries by key, and after
// each write waits until the table shows it.
//
// # Files
//
// A file is applied statement by statement, and each is waited for until its
// command is done. SET, UNSET, DEFINE and UNDEFINE hold until the end of the
// file: properties go out with the statements that follow, and ${name} is
// replaced here, so the server gets no session variables. Comments are not sent.
// Statements of kinds that ksql-migrations does not take are refused before
// anything runs, as is the file of an applied version that has changed since (its
// MD5 is kept).
//
// Nothing is atomic: after a failure some statements of the file have run. The
// version is then in the state ERROR, and the next Apply begins it again from its
// first statement, which IF NOT EXISTS makes harmless.
//
// # Two at once
//
// ksqlDB has no lock. A Migrator marks the version RUNNING with the moment at
// which it began, and looks before and after each statement whether the mark is
// still its own: of two that began together the one that wrote last goes on, and
// the other stops with ErrConcurrent, having run a statement or two. A version
// that is found RUNNING is not touched (ErrRunning) unless Options.TakeOver says
// that nobody is at work.
//
// # Concurrency
//
// A Migrator is for one goroutine at a time.
package ksqlmigrate
