// Package ksqlclient is a client of ksqlDB's REST interface: pull queries as
// typed streams, statements, health, and safe binding of named parameters.
//
// It is a leaf: it imports the standard library only, logs nothing and starts
// no goroutine of its own.
//
// # Reading
//
// [Client.Pull] sends one SELECT without EMIT to POST /query-stream and yields
// its rows while they arrive. A status of 200 proves nothing in this protocol:
// an error can be the last line of the body, and the format has no end marker,
// so only a clean end of the HTTP body says that the answer is complete. Each
// of these is therefore an error and never "no more rows": an error object
// between the rows ([ErrInStream]), a body that is cut or ends inside a line
// ([ErrTruncated]), a body without header, a row of another length than the
// header, a value that does not fit its column ([ErrMalformed]). The last pair
// that the iterator yields carries the error; [Client.PullAll] and [Collect]
// return all rows or an error.
//
// The server may deliver rows in any order, may repeat rows (a forward that
// was retried on a standby) and promises no snapshot across partitions.
//
// Column names are delivered in lower case, because ksqlDB answers in upper
// case; the spelling on the wire stays in [Column]. Values have these types:
//
//	BOOLEAN          bool
//	INTEGER, BIGINT  int64
//	DOUBLE           float64 (NaN and infinities included)
//	DECIMAL(p, s)    Decimal, exact
//	STRING           string
//	BYTES            []byte
//	TIMESTAMP        time.Time in UTC, milliseconds
//	DATE             Date
//	TIME             TimeOfDay, time since midnight
//	ARRAY            []any
//	MAP              map[string]any, keys as sent
//	STRUCT           map[string]any, field names in lower case
//	NULL             nil
//
// # Parameters
//
// ksqlDB has no bind parameters, and its session variables are a textual
// substitution that is open to injection. [Bind] replaces :name placeholders
// in one pass over the tokens of the statement by typed literals and never
// looks at substituted text again. The client never sends session variables.
//
// # Errors
//
// The server's refusals are [*Error]; [Error.Class] says whether trying again
// can help. No error text contains the password or a bound parameter value:
// the server likes to quote statements, so its message is masked before it is
// kept.
//
// # What it refuses to do
//
// Push queries, PRINT and /inserts-stream are not offered. It follows no
// redirect. It retries nothing: when, how often and how long is the caller's
// knowledge; only the status of a queued statement is polled, within the
// deadline.
//
// # Concurrency and lifecycle
//
// A [Client] is safe for concurrent use. Every call ends at the earlier of the
// context's deadline and [Config.Timeout]. [Client.Close] closes idle
// connections. Servers older than ksqlDB 0.24 (Confluent Platform 7.1) answer
// queries over HTTP/2 only, which https servers negotiate by themselves.
package ksqlclient
