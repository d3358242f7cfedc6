package sqlledger_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func frequencyRequest(user string, n int) notifier.FrequencyRequest {
	return notifier.FrequencyRequest{
		User: devices.UserID(user), Notification: notifier.NotificationID(n), Category: "race", Class: notifier.Marketing, ExpiresAt: time.Now().Add(time.Hour),
	}
}

// Many replicas ask for the same users in another order: each user gets as many as the cap says, and
// of each notification one answer.
func TestRoomIsReservedOnceForAUserOverAllReplicas(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		caps := notifier.FrequencyCaps{{Limit: 3, Window: time.Hour, Over: notifier.OverDrop}}
		const users, notifications, replicas = 12, 8, 6
		var mu sync.Mutex
		verdicts := map[string]map[notifier.DeliveryState]int{}
		var g errgroup.Group
		for replica := range replicas {
			g.Go(func() error {
				for i := range notifications {
					n := (i*3 + replica) % notifications
					var batch []notifier.FrequencyRequest
					for u := range users {
						batch = append(batch, frequencyRequest(fmt.Sprint("u", (u*5+replica)%users), n))
					}
					got, err := b.ledger.Reserve(t.Context(), caps, batch)
					if err != nil {
						return err
					}
					mu.Lock()
					for j, r := range batch {
						key := fmt.Sprint(r.User, "/", r.Notification)
						if verdicts[key] == nil {
							verdicts[key] = map[notifier.DeliveryState]int{}
						}
						verdicts[key][got[j].State]++
					}
					mu.Unlock()
				}
				return nil
			})
		}
		require.NoError(t, g.Wait())
		admitted := map[string]int{}
		for u := range users {
			for n := range notifications {
				v := verdicts[fmt.Sprintf("u%d/%d", u, n)]
				require.Len(t, v, 1, "one verdict for all who ask")
				if v[""] == replicas {
					admitted[fmt.Sprint("u", u)]++
				}
			}
		}
		for u := range users {
			require.Equal(t, 3, admitted[fmt.Sprint("u", u)])
		}
		require.Equal(t, users*3, b.count(`SELECT COUNT(*) FROM frequency WHERE verdict = 'admitted'`))
	})
}

func TestAVerdictStaysUnlessItIsToWait(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		reserve := func(over notifier.FrequencyOver, limit int, r notifier.FrequencyRequest) notifier.FrequencyVerdict {
			got, err := b.ledger.Reserve(t.Context(), notifier.FrequencyCaps{{Limit: limit, Window: time.Minute, Over: over}}, []notifier.FrequencyRequest{r, r})
			require.NoError(t, err)
			require.Equal(t, got[0], got[1], "two devices in one batch")
			return got[0]
		}
		first, second, third := frequencyRequest("ann", 1), frequencyRequest("ann", 2), frequencyRequest("ann", 3)
		require.Equal(t, notifier.FrequencyVerdict{}, reserve(notifier.OverDrop, 1, first))
		wait := reserve(notifier.OverDelay, 1, second)
		require.WithinDuration(t, time.Now().Add(time.Minute), wait.Until, 10*time.Second)
		require.Equal(t, notifier.FrequencyVerdict{}, reserve(notifier.OverDrop, 2, second), "there is room now")
		require.Equal(t, notifier.FrequencyVerdict{}, reserve(notifier.OverDrop, 1, second), "it stays admitted")
		require.Equal(t, notifier.Suppressed, reserve(notifier.OverDrop, 2, third).State)
		require.Equal(t, notifier.Suppressed, reserve(notifier.OverDrop, 9, third).State, "it stays dropped")
		short := frequencyRequest("ann", 4)
		short.ExpiresAt = time.Now().Add(time.Second)
		require.Equal(t, notifier.Expired, reserve(notifier.OverDelay, 2, short).State)
		require.Equal(t, notifier.Expired, reserve(notifier.OverDelay, 9, short).State)
		many := make([]notifier.FrequencyRequest, 501)
		for i := range many {
			many[i] = frequencyRequest(fmt.Sprint("u", i), 9)
		}
		got, err := b.ledger.Reserve(t.Context(), notifier.FrequencyCaps{{Limit: 1, Window: time.Minute}}, many)
		require.NoError(t, err)
		require.Len(t, got, len(many))
		require.Equal(t, 505, b.count(`SELECT COUNT(*) FROM frequency`))
	})
}

func TestVerdictsAreRemovedWhenTheyCountNowhere(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		caps := notifier.FrequencyCaps{{Limit: 9, Window: time.Minute}}
		for n := range 5 {
			_, err := b.ledger.Reserve(t.Context(), caps, []notifier.FrequencyRequest{frequencyRequest("ann", n)})
			require.NoError(t, err)
		}
		b.set(`UPDATE frequency SET at = at - 100000000 WHERE notification_id < 3`)
		for _, want := range []notifier.Removed{{Frequency: 2, More: true}, {Frequency: 1}, {}} {
			r, err := b.ledger.RemoveFrequency(t.Context(), time.Minute, 2)
			require.NoError(t, err)
			require.Equal(t, want, r)
		}
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM frequency`))
	})
}

// Room is given back only when no device of the user was told, may have been or still can be.
func TestRoomIsKeptWhileADeviceOfTheUserCanStillBeTold(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		for other, want := range map[string]int{
			`state = 'queued'`: 1, `state = 'leased'`: 1, `state = 'sent'`: 1, `state = 'unconfirmed'`: 1, `state = 'expired', unknowns = 1`: 1,
			`state = 'gone'`: 0, `state = 'suppressed'`: 0, `state = 'expired'`: 0,
		} {
			user := devices.UserID("ann " + other)
			b.devices(string(user), 2)
			b.release("settled", b.bet("bet of "+string(user), string(user), "WON", 1))
			_, _, err := b.ledger.FanOut(t.Context(), 100)
			require.NoError(t, err)
			id := b.count(`SELECT id FROM notifications WHERE user_id = $1`, string(user))
			_, err = b.ledger.Reserve(t.Context(), notifier.FrequencyCaps{{Classes: []notifier.Class{notifier.Marketing}, Limit: 9, Window: time.Hour}},
				[]notifier.FrequencyRequest{frequencyRequest(string(user), id)})
			require.NoError(t, err)
			claims := b.claim("settled", "r1", 1, time.Minute)
			require.Len(t, claims, 1)
			b.set(`UPDATE deliveries SET `+other+` WHERE user_id = $1 AND id <> $2`, string(user), int64(claims[0].ID))
			b.record("r1", notifier.Result{
				Claim: claims[0], State: notifier.Gone, Reason: "unregistered",
				Unused: &notifier.FrequencyKey{User: user, Notification: notifier.NotificationID(id)},
			})
			require.Equal(t, want, b.count(`SELECT COUNT(*) FROM frequency WHERE user_id = $1`, string(user)), other)
			b.set(`UPDATE deliveries SET state = 'cancelled' WHERE state = 'queued'`)
		}
	})
}
