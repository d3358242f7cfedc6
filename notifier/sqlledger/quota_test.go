package sqlledger_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func TestAQuotaIsKeptAsItWas(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		at := time.Unix(1_700_000_000, 123_000).UTC()
		want := notifier.QuotaState{
			Share: 0.1 + 0.2, MovedAt: at, Next: at.Add(time.Hour), GrantedAt: at.Add(2 * time.Hour), SlowedAt: at.Add(3 * time.Hour),
			PausedUntil: at.Add(4 * time.Hour), ChangedAt: at.Add(5 * time.Hour), Granted: 1 << 40,
		}
		put := func(p devices.Provider, next notifier.QuotaState) (before notifier.QuotaState) {
			require.NoError(t, b.ledger.Quota(t.Context(), p, func(s notifier.QuotaState, now time.Time) notifier.QuotaState {
				require.WithinDuration(t, time.Now(), now, time.Minute)
				before = s
				return next
			}))
			return before
		}
		require.Equal(t, notifier.QuotaState{}, put(devices.FCM, want), "nobody has sent yet")
		require.Equal(t, want, put(devices.FCM, want))
		require.Equal(t, notifier.QuotaState{}, put(devices.Ably, want), "each provider has its own")
		seen, now, err := b.ledger.QuotaNow(t.Context(), devices.FCM)
		require.NoError(t, err)
		require.Equal(t, want, seen)
		require.WithinDuration(t, time.Now(), now, time.Minute)
		seen, now, err = b.ledger.QuotaNow(t.Context(), "nobody")
		require.NoError(t, err, "nobody has sent there")
		require.Equal(t, notifier.QuotaState{}, seen)
		require.WithinDuration(t, time.Now(), now, time.Minute)
	})
}

func TestAQuotasChangesAreOneAfterTheOther(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		const replicas, times = 4, 25
		var wg sync.WaitGroup
		errs := make([]error, replicas)
		for i := range replicas {
			wg.Go(func() {
				for range times {
					errs[i] = errors.Join(errs[i], b.ledger.Quota(t.Context(), devices.FCM, func(s notifier.QuotaState, _ time.Time) notifier.QuotaState {
						s.Share++
						return s
					}))
				}
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoError(t, b.ledger.Quota(t.Context(), devices.FCM, func(s notifier.QuotaState, _ time.Time) notifier.QuotaState {
			require.Equal(t, replicas*times, int(s.Share))
			return s
		}))
	})
}

// Whoever only looks neither waits for who is changing the quota nor holds it up.
func TestLookingAtAQuotaWaitsForNobody(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, b.ledger.Quota(ctx, devices.FCM, func(s notifier.QuotaState, _ time.Time) notifier.QuotaState {
			s.Granted = 7
			return s
		}))
		require.NoError(t, b.ledger.Quota(ctx, devices.FCM, func(s notifier.QuotaState, _ time.Time) notifier.QuotaState {
			seen, _, err := b.ledger.QuotaNow(ctx, devices.FCM)
			require.NoError(t, err)
			require.EqualValues(t, 7, seen.Granted, "what is not committed is not seen")
			s.Granted = 8
			return s
		}))
		seen, _, err := b.ledger.QuotaNow(ctx, devices.FCM)
		require.NoError(t, err)
		require.EqualValues(t, 8, seen.Granted)
	})
}

func TestDueCountsWhatMayBeClaimedUpToALimit(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 30)
		due := func(lane notifier.LaneID, limit int) int {
			n, err := b.ledger.Due(t.Context(), lane, limit)
			require.NoError(t, err)
			return n
		}
		require.Zero(t, due(lane, 100))
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.release("soon", b.race("e1"))
		b.fanOut()
		require.Equal(t, 60, due(lane, 100), "of all rules")
		require.Equal(t, 40, due(lane, 40))
		require.Zero(t, due(notifier.LaneID{Provider: devices.Ably, Urgency: notifier.High}, 100))
		require.Zero(t, due(notifier.LaneID{Provider: devices.FCM, Urgency: notifier.Normal}, 100))

		claims, err := b.ledger.Claim(t.Context(), notifier.ClaimRequest{Lane: lane, Rule: "settled", Limit: 10, Owner: "me", Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 10)
		require.Equal(t, 50, due(lane, 100), "what is leased is not due")
		results := make([]notifier.Result, len(claims))
		for i, c := range claims {
			results[i] = notifier.Result{Claim: c, State: notifier.Queued, DueAt: time.Now().Add(time.Hour)}
		}
		_, err = b.ledger.Record(t.Context(), "me", results)
		require.NoError(t, err)
		require.Equal(t, 50, due(lane, 100), "what waits for a later time is not either")
	})
}
