package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func TestThreeReplicasTogetherKeepTheRate(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 2000 {
			w.device(fmt.Sprintf("d%04d", i), "ann")
		}
		by := map[string]int{}
		ctx, cancel := context.WithCancel(t.Context())
		var done []<-chan error
		for i := range 3 {
			owner := fmt.Sprint("replica-", i)
			done = append(done, w.startSender(ctx, owner, senderFunc(func(ctx context.Context, p notifier.Push) notifier.Outcome {
				o := w.Send(ctx, p)
				w.mu.Lock()
				defer w.mu.Unlock()
				by[owner]++
				return o
			}), w.ledger))
		}
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(25 * time.Second)
		cancel()
		for _, d := range done {
			require.NoError(t, <-d)
		}
		require.Equal(t, map[string]int{"sent": 2000}, w.states())
		perSecond := map[int64]int{}
		var first, last time.Time
		for i, p := range w.attempts() {
			if i == 0 {
				first = p.at
			}
			last = p.at
			perSecond[int64(p.at.Sub(first)/time.Second)]++
		}
		for second, n := range perSecond {
			// The share climbs from a tenth by a sixtieth a second; a second's worth may come on top.
			limit := 1000 * (0.1 + float64(second+1)/60)
			require.LessOrEqual(t, float64(n), 1.5*limit+20, "second %d", second)
		}
		// A single replica needs ten seconds and a half for as many, because it climbs.
		require.Less(t, last.Sub(first), 12*time.Second)
		require.Greater(t, last.Sub(first), 9*time.Second)
		for owner, n := range by {
			require.Greater(t, n, 400, owner)
		}
	})
}

// counting is a ledger that counts the grants that are asked for.
type counting struct {
	*sqlledger.Ledger
	asked atomic.Int64
}

func (c *counting) Quota(
	ctx context.Context, provider devices.Provider, change func(notifier.QuotaState, time.Time) notifier.QuotaState,
) error {
	c.asked.Add(1)
	return c.Ledger.Quota(ctx, provider, change)
}

func TestWhatIdlesAsksForNoGrant(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			if n == 1 {
				return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "unavailable", Status: 503, After: time.Minute}
			}
			return sent()
		})
		ledger := &counting{Ledger: w.ledger}
		ctx, cancel := context.WithCancel(t.Context())
		done := w.startSender(ctx, "replica-1", w, ledger)
		time.Sleep(2 * time.Second)
		require.Zero(t, ledger.asked.Load())
		w.settle("bet1", "ann", "WON")
		time.Sleep(3 * time.Second)
		require.EqualValues(t, 1, ledger.asked.Load())
		time.Sleep(50 * time.Second)
		require.EqualValues(t, 1, ledger.asked.Load(), "what waits for a later time needs no grant yet")
		time.Sleep(30 * time.Second)
		cancel()
		require.NoError(t, <-done)
		require.EqualValues(t, 2, ledger.asked.Load())
		require.Len(t, w.accepted(), 1)
	})
}

// unreachable is a ledger whose quotas do not answer for some providers.
type unreachable struct {
	*sqlledger.Ledger
	away atomic.Bool
}

func (u *unreachable) Quota(
	ctx context.Context, provider devices.Provider, change func(notifier.QuotaState, time.Time) notifier.QuotaState,
) error {
	if provider == devices.FCM && u.away.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return u.Ledger.Quota(ctx, provider, change)
}

func TestWithoutItsQuotaAProviderWaitsAndTheOthersDoNot(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 100 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		w.exec(`UPDATE devices SET provider = 'ably', target_kind = 'ably_device' WHERE id >= 'd050'`)
		ledger := &unreachable{Ledger: w.ledger}
		ledger.away.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := w.startSender(ctx, "replica-1", w, ledger)
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(10 * time.Second)
		require.Len(t, w.accepted(), 50)
		for _, p := range w.attempts() {
			require.Equal(t, devices.TargetKind("ably_device"), p.Target.Kind)
		}
		require.Zero(t, w.counts(`SELECT 'n', COUNT(*) FROM deliveries WHERE state = 'leased'`)["n"], "nothing is claimed that cannot be sent")
		ledger.away.Store(false)
		time.Sleep(10 * time.Second)
		cancel()
		require.NoError(t, <-done)
		require.Len(t, w.accepted(), 100)
	})
}

func TestAProviderThatAsksOneReplicaToWaitIsLeftAloneByAll(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 1500 {
			w.device(fmt.Sprintf("d%04d", i), "ann")
		}
		var refused time.Time
		ctx, cancel := context.WithCancel(t.Context())
		first := w.startSender(ctx, "replica-1", throttled(w, &refused), w.ledger)
		second := w.startSender(ctx, "replica-2", w, w.ledger)
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(time.Minute)
		cancel()
		require.NoError(t, errors.Join(<-first, <-second))
		require.Equal(t, map[string]int{"sent": 1500}, w.states())
		before, during := 0, 0
		for _, p := range w.attempts() {
			switch since := p.at.Sub(refused); {
			case since < 0:
				before++
			case since > 3*time.Second && since < 20*time.Second: // a grant may be used for two seconds
				during++
			}
		}
		require.GreaterOrEqual(t, before, 300)
		require.Zero(t, during)
	})
}

// senderFunc is a sender that is a function.
type senderFunc func(context.Context, notifier.Push) notifier.Outcome

func (f senderFunc) Send(ctx context.Context, p notifier.Push) notifier.Outcome { return f(ctx, p) }

// throttled accepts 300 pushes and then, for five seconds, asks to wait for twenty.
// refused is when it first did.
func throttled(w *world, refused *time.Time) senderFunc {
	return func(ctx context.Context, p notifier.Push) notifier.Outcome {
		w.mu.Lock()
		if len(w.pushes) >= 300 && refused.IsZero() {
			*refused = time.Now()
		}
		refuse := !refused.IsZero() && time.Since(*refused) < 5*time.Second
		w.mu.Unlock()
		if refuse {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Throttled: true, Code: "quota_exceeded", Status: 429, After: 20 * time.Second, Hold: 20 * time.Second}
		}
		return w.Send(ctx, p)
	}
}

// startSender starts a replica with a sender of its own for both providers.
func (w *world) startSender(ctx context.Context, owner string, s notifier.Sender, ledger notifier.Ledger) <-chan error {
	w.t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(strings.TrimSpace(rulesYAML))})
	require.NoError(w.t, err)
	c := notifier.SenderConfig{Sender: s, RatePerSecond: 1000, InFlight: 32}
	cfg := notifier.Config{
		Rules: rules, Source: w, Ledger: ledger, Retirer: w, Owner: owner, Log: zerolog.Nop(),
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: c, devices.Ably: c},
	}
	if w.configure != nil {
		w.configure(&cfg)
	}
	n, err := notifier.New(cfg)
	require.NoError(w.t, err)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return done
}
