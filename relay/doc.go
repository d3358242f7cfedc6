// Package relay carries records between Kafka and Ably: the odds of a topic out
// to Ably's channels, and the bets that users place on Ably into a topic.
//
// Everything here is at least once with stable ids: a record that is published
// or produced again after a crash carries the id that it carried before.
package relay
