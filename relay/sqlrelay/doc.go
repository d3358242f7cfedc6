// Package sqlrelay keeps the books of the relay in a database: how far the odds
// of each partition were published, the bets on their way to Kafka, and who is
// in the app.
package sqlrelay
