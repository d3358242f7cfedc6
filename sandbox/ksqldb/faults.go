package ksqldb

import (
	"math/rand/v2"
	"time"
)

// Faults says what goes wrong with pull queries. Each probability is between 0
// (never) and 1 (always); the zero value is a server without faults.
//
// Faults that answer with a status of their own are tried first, in the order
// of the fields, and at most one of them strikes a query.
type Faults struct {
	// LatencyMin and LatencyMax bound the uniformly distributed time a query
	// waits before anything else happens. A LatencyMax below LatencyMin counts as
	// LatencyMin.
	LatencyMin, LatencyMax time.Duration

	// Forbidden answers 403 with error code 40300.
	Forbidden float64
	// Initialising answers 503 with error code 50302, as a node does while it
	// starts.
	Initialising float64
	// RateLimited answers 429 with error code 42900.
	RateLimited float64
	// Hang sends nothing at all until the client leaves or the server closes.
	Hang float64
	// NotAvailable answers 400 with error code 40001 and the text "Materialized
	// data ... is not available yet", which is retryable although it is a 400.
	NotAvailable float64
	// Internal answers 500 with error code 50000.
	Internal float64

	// InStream answers 200, the header and some rows, and then one error object
	// as the last element of a body that ends cleanly.
	InStream float64
	// Cut answers 200, the header and some rows, and then loses the connection:
	// an HTTP/1.1 body has no last chunk, an HTTP/2 stream is reset.
	Cut float64
	// Partial leaves out a random part of the rows and ends cleanly without an
	// error. No client can see it (it has been reported of ksqlDB 0.29); it is
	// there for those who re-read.
	Partial float64
	// Duplicate sends one row twice, as a forward retried on a standby can.
	Duplicate float64

	// AfterRows is the number of rows that InStream and Cut let through. Zero
	// means a random number of the rows there are, negative means none: the
	// header only.
	AfterRows int
	// Code is the error code of InStream. Zero means 50000; 42900 is a full
	// router queue.
	Code int
}

// Mild returns faults as a healthy but busy cluster shows them: 1 to 20 ms of
// latency, 3 % cut bodies, 3 % in-stream errors and about 2 % refusals.
func Mild() Faults {
	return Faults{
		LatencyMin:   time.Millisecond,
		LatencyMax:   20 * time.Millisecond,
		Initialising: 0.007,
		RateLimited:  0.007,
		NotAvailable: 0.007,
		InStream:     0.03,
		Cut:          0.03,
	}
}

// Harsh returns the faults of a cluster in the middle of a rebalance: up to
// 300 ms of latency and more than half of the queries failing in one way or
// another. Results that are silently incomplete are among them.
func Harsh() Faults {
	return Faults{
		LatencyMin:   5 * time.Millisecond,
		LatencyMax:   300 * time.Millisecond,
		Initialising: 0.05,
		RateLimited:  0.08,
		Hang:         0.01,
		NotAvailable: 0.10,
		Internal:     0.05,
		InStream:     0.15,
		Cut:          0.15,
		Partial:      0.02,
		Duplicate:    0.05,
	}
}

// fate is what was drawn for one query.
type fate struct {
	latency   time.Duration
	refusal   refusal
	inStream  bool
	cut       bool
	partial   bool
	duplicate bool
	after     int
	code      int
}

// refusal is a fault that answers instead of the query.
type refusal int

const (
	refuseNothing refusal = iota
	refuseForbidden
	refuseInitialising
	refuseRateLimited
	refuseHang
	refuseNotAvailable
	refuseInternal
)

// draw decides what happens to one query. It always draws the same number of
// values, so that one probability does not shift the dice of another.
func (f Faults) draw(r *rand.Rand) fate {
	t := fate{latency: f.LatencyMin, after: f.AfterRows, code: f.Code}
	if t.code == 0 {
		t.code = codeServerError
	}
	spread := r.Float64()
	if f.LatencyMax > f.LatencyMin {
		t.latency += time.Duration(spread * float64(f.LatencyMax-f.LatencyMin))
	}
	for _, try := range []struct {
		p float64
		r refusal
	}{
		{f.Forbidden, refuseForbidden},
		{f.Initialising, refuseInitialising},
		{f.RateLimited, refuseRateLimited},
		{f.Hang, refuseHang},
		{f.NotAvailable, refuseNotAvailable},
		{f.Internal, refuseInternal},
	} {
		if r.Float64() < try.p && t.refusal == refuseNothing {
			t.refusal = try.r
		}
	}
	t.inStream = r.Float64() < f.InStream
	t.cut = r.Float64() < f.Cut && !t.inStream
	t.partial = r.Float64() < f.Partial
	t.duplicate = r.Float64() < f.Duplicate
	return t
}

// rowsBefore returns how many of n rows go out before an in-stream fault.
func (t fate) rowsBefore(n int, r *rand.Rand) int {
	switch {
	case t.after < 0:
		return 0
	case t.after > 0:
		return min(t.after, n)
	default:
		return r.IntN(n + 1)
	}
}
