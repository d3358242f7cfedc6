package notifier_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

func (w *world) stop(rule string, stopped bool) {
	w.t.Helper()
	require.NoError(w.t, w.ledger.SetStopped(w.t.Context(), operator, rule, stopped, "test"))
}

// between counts the sends that began from one moment to another.
func (w *world) between(from, until time.Time) (n int) {
	for _, p := range w.attempts() {
		if p.at.After(from) && p.at.Before(until) {
			n++
		}
	}
	return n
}

func TestAStopHoldsForAllReplicasWithinASecond(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.configure = func(c *notifier.Config) { // slow, so that the stop comes in the middle
			for provider, s := range c.Senders {
				s.RatePerSecond = 20
				c.Senders[provider] = s
			}
		}
		for i := range 1500 {
			w.device(fmt.Sprint("a", i), "ann")
		}
		w.device("b1", "bob")
		ctx, cancel := context.WithCancel(t.Context())
		one, two := w.start(ctx, rulesYAML, "replica-1", w.ledger), w.start(ctx, rulesYAML, "replica-2", w.ledger)
		time.Sleep(2 * time.Second)
		w.race("e1", 4*time.Minute)
		time.Sleep(40 * time.Second)
		w.stop("", true)
		stopped := time.Now()
		require.NotZero(t, w.between(time.Time{}, stopped), "it is in the middle of it")
		require.NotZero(t, w.states()["queued"])
		w.settle("b1", "bob", "WON") // it is read and waits
		time.Sleep(30 * time.Second)
		require.Zero(t, w.between(stopped.Add(time.Second), time.Now()))
		require.Equal(t, 1, w.counts(`SELECT state, COUNT(*) FROM deliveries WHERE rule_id = 'settled' GROUP BY 1`)["queued"])

		w.stop("settled", true)
		w.stop("", false)
		started := time.Now()
		time.Sleep(10 * time.Second)
		require.NotZero(t, w.between(started, time.Now()), "the others go out again")
		require.NotContains(t, w.accepted(), "won b1→tok-b1", "this one is stopped by itself")
		w.stop("settled", false)
		time.Sleep(20 * time.Second)
		require.Contains(t, w.accepted(), "won b1→tok-b1")
		w.stop("soon", true)
		time.Sleep(5 * time.Minute)
		cancel()
		require.NoError(t, <-one)
		require.NoError(t, <-two)
		left := w.states()
		require.Equal(t, 1502, left["sent"]+left["expired/stopped"], "what waits too long expires: %v", left)
		require.NotZero(t, left["expired/stopped"])
	})
}

func TestAStopIsAuditedAndSaidOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.stop("", true)
		w.stop("", true)
		w.stop("settled", true)
		stops, err := w.ledger.Stops(t.Context())
		require.NoError(t, err)
		require.Len(t, stops, 2)
		require.Empty(t, stops[0].Rule)
		require.Equal(t, "settled", stops[1].Rule)
		require.Equal(t, operator.Name, stops[1].Actor)
		w.stop("settled", false)
		w.stop("settled", false)
		entries, err := w.ledger.Audit(t.Context(), notifier.AuditQuery{Forward: true, Limit: 10})
		require.NoError(t, err)
		var told []string
		for _, e := range entries {
			told = append(told, fmt.Sprint(e.Action, " ", e.Subject, " ", string(e.Before), " ", string(e.After)))
		}
		require.Equal(t, []string{
			`stop sending {"stopped":false} {"stopped":true,"reason":"test"}`,
			`stop rule/settled {"stopped":false} {"stopped":true,"reason":"test"}`,
			`start rule/settled {"stopped":true,"reason":"test"} {"stopped":false,"reason":"test"}`,
		}, told)
	})
}
