package ksqldb

import "sync/atomic"

// Stats counts what a Server did since Start. Faults are counted when they
// really happened on the wire, so a test can tell an injected fault from luck.
type Stats struct {
	Requests     uint64 // every HTTP request
	Unauthorized uint64 // requests without the right user and password

	Queries   uint64 // requests to /query-stream and /query
	Completed uint64 // queries whose rows were all sent, whole and once
	Refused   uint64 // queries refused because of what they asked (codes 40000 and 40001, and 50000 for properties)
	RowsSent  uint64 // rows written to query answers

	Statements        uint64 // statements read on /ksql
	StatementsRefused uint64
	CommandsFailed    uint64 // by Config.FailCommand

	Forbidden    uint64
	Initialising uint64
	RateLimited  uint64
	Hung         uint64
	NotAvailable uint64
	Internal     uint64
	InStream     uint64
	Cut          uint64
	Partial      uint64
	Duplicated   uint64
}

// counters is Stats while it is being counted.
type counters struct {
	requests, unauthorized                                  atomic.Uint64
	queries, completed, refused, rowsSent                   atomic.Uint64
	statements, statementsRefused, commandsFailed           atomic.Uint64
	forbidden, initialising, rateLimited, hung              atomic.Uint64
	notAvailable, internal, inStream, cut, partial, doubled atomic.Uint64
}

func (c *counters) snapshot() Stats {
	return Stats{
		Requests:          c.requests.Load(),
		Unauthorized:      c.unauthorized.Load(),
		Queries:           c.queries.Load(),
		Completed:         c.completed.Load(),
		Refused:           c.refused.Load(),
		RowsSent:          c.rowsSent.Load(),
		Statements:        c.statements.Load(),
		StatementsRefused: c.statementsRefused.Load(),
		CommandsFailed:    c.commandsFailed.Load(),
		Forbidden:         c.forbidden.Load(),
		Initialising:      c.initialising.Load(),
		RateLimited:       c.rateLimited.Load(),
		Hung:              c.hung.Load(),
		NotAvailable:      c.notAvailable.Load(),
		Internal:          c.internal.Load(),
		InStream:          c.inStream.Load(),
		Cut:               c.cut.Load(),
		Partial:           c.partial.Load(),
		Duplicated:        c.doubled.Load(),
	}
}
