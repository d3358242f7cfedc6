package notifier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// skewedLedger is a ledger whose clock is ahead of the replica's.
type skewedLedger struct {
	*sqlledger.Ledger
	ahead time.Duration
}

func (l skewedLedger) View(ctx context.Context, claims []notifier.Claim) ([]notifier.View, error) {
	views, err := l.Ledger.View(ctx, claims)
	for i := range views {
		views[i].Skew = l.ahead
	}
	return views, err
}

func TestExpiryGoesByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ahead time.Duration
		want  map[string]int
	}{
		"as it should be":      {0, map[string]int{"sent": 1}},
		"our clock is behind":  {2 * time.Hour, map[string]int{"expired/ttl": 1}},
		"our clock is ahead":   {-30 * time.Minute, map[string]int{"sent": 1}},
		"a little, and enough": {time.Hour, map[string]int{"expired/ttl": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.device("a1", "ann")
				go func() {
					time.Sleep(2 * time.Second)
					w.settle("bet1", "ann", "WON") // worth something for an hour
				}()
				ctx, cancel := context.WithCancel(t.Context())
				done := w.start(ctx, rulesYAML, "replica-1", skewedLedger{w.ledger, c.ahead})
				time.Sleep(10 * time.Second)
				cancel()
				require.NoError(t, <-done)
				require.Equal(t, c.want, w.states())
				for _, p := range w.attempts() {
					left := p.Message.ExpiresAt.Sub(p.at)
					require.InDelta(t, (time.Hour - c.ahead).Seconds(), left.Seconds(), 10, "the sender counts by the replica's clock")
				}
			})
		})
	}
}

func TestARetryThatWouldComeTooLateByTheDatabasesClockEndsAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable", Status: 503}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := w.start(ctx, rulesYAML, "replica-1", skewedLedger{w.ledger, time.Hour - 8*time.Second})
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON") // worth something for an hour, and the first wait is ten seconds
		time.Sleep(5 * time.Second)
		require.Equal(t, map[string]int{"expired/backoff": 1}, w.states())
		cancel()
		require.NoError(t, <-done)
		require.Len(t, w.attempts(), 1)
	})
}
