// Package ksqldb is a stand-in for a ksqlDB server, for tests and sandboxes of
// programs that send pull queries. It speaks the real wire over a real socket,
// so a client is tested with its own HTTP stack, and it refuses what the real
// server refuses, so a green test means something.
//
//	bets := ksqldb.NewTable("SETTLED_BETS",
//		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
//		ksqldb.Column{Name: "PAYOUT", Type: "DECIMAL(18, 2)"},
//		ksqldb.Column{Name: "SETTLED_AT", Type: "TIMESTAMP"},
//	)
//	server, err := ksqldb.Start(t.Context(), ksqldb.Config{Views: []ksqldb.View{bets}})
//	...
//	defer server.Close()
//	err = bets.Put(time.Now(), "b-1", "12.50", time.Now())
//	// POST server.URL()+"/query-stream" {"sql":"SELECT * FROM settled_bets WHERE bet_id = 'b-1';"}
//
// # What it does
//
// Views are the server's tables. They are computed in Go: a Table is kept in
// memory, Func makes one of a function, and any type can be a View. Names are
// written as the server prints them, in upper case, because an unquoted name in
// SQL is turned to upper case before it is looked up.
//
// POST /query-stream and /query answer pull queries in the three framings of
// the server (delimited, JSON array, v1+json), chosen by Accept; what matches
// no framing is a 404. The header comes first, rows in no particular order, and
// an error after the header is the last element of a 200 answer. HTTP/1.1
// answers are chunked; HTTP/2 works with prior knowledge, and with TLS by ALPN.
// /ksql answers LIST STREAMS, LIST TABLES, LIST QUERIES and DESCRIBE; /info,
// /healthcheck, /status, /close-query, /clusterStatus and the rest answer as on
// a single node without heartbeats. Config.Username turns on Basic
// authentication.
//
// The SQL of a pull query is parsed and typed: SELECT of columns, * or
// expressions (+ - * on numbers, + on strings, struct fields, subscripts,
// UNIX_TIMESTAMP, FROM_UNIXTIME, UCASE, LCASE, CONCAT, COALESCE, IFNULL,
// TO_BYTES), FROM one source, WHERE with comparisons, IN, BETWEEN, LIKE, AND, OR and
// parentheses, LIMIT. ROWTIME can be selected and compared but is not part of *.
// NULL never matches. Check plans a query without a server.
//
// Values are encoded as the server encodes them, quirks included: a TIMESTAMP
// is a text without a zone at the top level and a number inside a STRUCT, a
// TIME loses its milliseconds and, if they are zero, its seconds, a DECIMAL
// keeps its scale. See Row for the Go types.
//
// # What it refuses
//
// With 400 and error code 40001, as the server does: what has no semicolon or
// is more than one statement; ORDER BY, OFFSET, JOIN, GROUP BY, HAVING,
// PARTITION BY, WINDOW; IS NULL, NOT and bare booleans; comparisons with NULL
// or of types that do not compare, such as TIMESTAMP with a number; unknown
// sources and columns; a placeholder that was not replaced; * beside other
// columns; and, if the request turns table scans off, what needs one. On
// /query-stream a property of the wrong JSON type is a 500, and an unknown
// property a 400; /query coerces strings.
//
// Some things that a server accepts are refused too, always with a text that
// begins "The stand-in does not support": push queries, CASE and CAST, division,
// IS DISTINCT FROM, predicates in the SELECT list, sessionVariables and
// functions that are not listed above. Protobuf answers are a 501. In one place the
// stand-in is stricter on purpose: a datetime literal that does not parse is an
// error, where a server would send no rows and complain to its own log.
//
// # Statements that change the catalogue
//
// With Config.DDL the server takes CREATE STREAM, CREATE TABLE, both AS SELECT
// too, DROP and INSERT ... VALUES, so that a migration tool can be tested:
// commands that stay QUEUED for a while, commands that fail, tables that lag
// behind their stream. Define does the same without a server, and tells the
// columns and types of everything that a file of statements makes.
//
// Definitions are parsed and typed, and refused for what the server would refuse:
// a source that exists or does not, columns that do not or are ambiguous, a topic
// that does not exist without PARTITIONS or exists with others, keys that the key
// format does not take, a projection without its key, grouping columns or value,
// columns that are neither grouped by nor aggregated, aggregates that a table
// cannot undo, windows over tables, queries over windowed tables, joins on what
// is no primary key, of unequal types or partitions, a STREAM that would be a
// TABLE. SELECT lists may have CASE, CAST, STRUCT, lambdas in TRANSFORM, IS NULL
// and NOT, and the functions of functionType.
//
// What persistent queries compute is beyond the stand-in: such sources stay
// empty, but for the latest values of an inserted stream by one of its columns.
//
// Error texts are in the spirit of the server's but not letter by letter. A
// client must decide by status and error code alone.
//
// # Faults
//
// Server.SetFaults makes queries slow, fail with the statuses of a busy or
// starting cluster, end in an in-stream error, break off in the middle of the
// body, hang, or lie by leaving rows out. Mild and Harsh are mixtures for a
// sandbox; a probability of 1 makes a fault certain. The dice are seeded, and
// Stats counts each fault that happened, so a test can insist that it did.
//
// # Concurrency and lifecycle
//
// A Server is safe for concurrent use and so is Table. Start returns when the
// socket listens; Close, or the end of the context given to Start, cuts all
// connections as a killed node would, and Close also waits for the handlers.
// Only loopback addresses are served.
//
// # Sources
//
// The behaviour follows the ksqlDB sources, mainly ServerVerticle,
// QueryStreamHandler, FailureHandler, QueryFilterNode, QueryProjectNode,
// ComparisonUtil, PullQueryValidator, SqlBase.g4 and Errors, and the
// documentation of the REST API. Where the two differ, the sources win. No line
// of them is copied.
package ksqldb
