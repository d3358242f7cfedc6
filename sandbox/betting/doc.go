// Package betting is what lies between the users of a racing world and its
// order book: bets in and odds out, through Ably and Kafka.
//
//	user ──bet──▶ Ably ──webhook──▶ service ──▶ topic bets ──▶ Processor
//	  ▲                                                           │ book
//	  └──odds── Ably ◀──── service ◀──── topic odds ◀─────────────┘
//
// The [Cluster] is a Kafka broker in the process. The [Processor] stands in for
// ksqlDB's persistent queries: it reads the topic bets, keeps a book (package
// book), and writes the topic odds. A [Punter] is the app of one user: it
// gets an Ably token from the service, looks at odds and places bets on Ably,
// some of them wrong on purpose. The [Market] holds them together and is what
// the racing world bets on.
//
// Two oracles judge the service from what the stand-in of Ably accepted and what
// stands in Kafka, never by what the service says of itself: the [OddsOracle]
// and the [BetsOracle].
//
// Concurrency: every type is safe for concurrent use. Whoever calls a Run waits
// for it; Close ends what New began.
package betting
