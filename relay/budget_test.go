package relay_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// Whoever watches sees what may be published, how often the account's limit has
// held all of it, and what Ably charges: what it has accepted, and nothing else.
func TestTheBudgetAndItsUseAreShown(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	g := newGate(t, w.ably.Handler())
	open := w.through(g)
	f := w.feed(func(c *relay.FeedConfig) {
		open(c)
		c.RequestRate = 40
	})
	require.InDelta(t, 40, f.metric("bugle_relay_rate_limit", "requests"), 0)
	require.InDelta(t, 40, f.metric("bugle_relay_rate_limit"), 0, "what is not limited is not shown")
	require.Zero(t, f.metric("bugle_relay_holds_total"))

	next := 0
	produce := func(n int) {
		for range n {
			w.produce(record(0, fmt.Sprint("event", next), snapshot(next)))
			next++
		}
	}
	for round := 1; round <= 2; round++ {
		limited := f.metric("bugle_relay_attempts_total", "account_limited")
		g.set(refusing(http.StatusTooManyRequests, 42917))
		produce(3)
		w.eventually(f, "held", func() bool { return f.metric("bugle_relay_attempts_total", "account_limited") >= limited+2 })
		g.set(refusing(http.StatusTooManyRequests, 42918)) // of the same hold
		w.eventually(f, "still held", func() bool { return f.metric("bugle_relay_attempts_total", "account_limited") >= limited+4 })
		require.InDelta(t, 1, f.metric("bugle_relay_held", "account"), 0)
		g.set(nil)
		w.eventually(f, "all published", func() bool { return f.metric("bugle_relay_records_total", "published") == float64(next) })
		require.InDelta(t, round, f.metric("bugle_relay_holds_total", "account"), 0, "a hold is one, however many answers tell of it")
		require.InDelta(t, round, f.metric("bugle_relay_holds_total"), 0)
		require.InDelta(t, next, f.metric("bugle_relay_chargeable_messages_total"), 0)
	}
}
