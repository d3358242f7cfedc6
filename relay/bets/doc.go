// Package bets takes the bets that users place on Ably's channels into Kafka, and
// keeps who is in the app and where.
//
// Ably posts batches of what happens on its channels (a batched, signed webhook).
// The Receiver verifies the signature over the raw bytes and only then parses
// them. Each message becomes one row of the database, which is dedupe and outbox
// at once: a Bet, or a dead letter with the Reason why it is none. The Receiver
// answers once that is committed. The Forwarder then produces the rows to Kafka
// in the order in which they came, and the Sweeper removes them after Retention.
//
// Nothing is lost between Ably's delivery and the record in Kafka, however long
// Kafka is away. A replica that ends between producing and noting it leaves a row
// that is produced once more, with the same bet id: whoever reads the topic
// counts a bet id once.
package bets
