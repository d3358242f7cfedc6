// Package book keeps the book on races: what a bookmaker's stream processor
// makes of a topic of bets. In production that is a set of ksqlDB's persistent
// queries (migrations/ksqldb); this is their stand-in, for a sandbox and for
// chaos.
//
// A [Book] takes a bet once by its id, accepts or rejects it, and lays odds by
// the pool: what has been staked on the race, less what the house keeps, over
// what has been staked on the runner. So every accepted bet moves the odds of
// all runners. A snapshot is what the topic odds carries: all runners of one
// race, as a JSON array. Reasons, rounding and defaults are those of the SQL.
//
// It is pure: no clock, no goroutine, no socket. Its order is that of the calls.
// A Book is not safe for concurrent use.
package book
