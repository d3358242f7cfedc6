package sqlrelay_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

func see(t *testing.T, b *sqlrelay.Bets, sightings ...bets.Sighting) {
	t.Helper()
	_, err := b.Take(t.Context(), nil, sightings)
	require.NoError(t, err)
}

func members(t *testing.T, b *sqlrelay.Bets, q bets.MemberQuery) []bets.Member {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	out, err := b.Members(t.Context(), q)
	require.NoError(t, err)
	return out
}

// A story of one member, told in any order and in any batches, ends the same.
func TestPresenceDoesNotDependOnTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		start := time.Now().Add(-time.Minute).Truncate(time.Millisecond).UTC()
		story := func(client string) []bets.Sighting {
			at := func(ms, serial int, here bool, page string) bets.Sighting {
				return bets.Sighting{
					Channel: anns, ClientID: client, ConnectionID: "c", Page: page, Here: here,
					At: start.Add(time.Duration(ms) * time.Millisecond), Serial: int64(serial),
				}
			}
			return []bets.Sighting{at(0, 0, true, "home"), at(5, 1, false, ""), at(9, 2, true, "cars"), at(9, 3, true, "horses"), at(20, 4, true, "dogs")}
		}
		for seed := range 12 {
			client := fmt.Sprintf("u%02d", seed)
			told := story(client)
			gone := seed%2 == 0
			if gone {
				told = told[:2]
			}
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			rng.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
			cut := rng.IntN(len(told))
			see(t, b, told[:cut]...)
			see(t, b, told[cut:]...)
			see(t, b, told...) // a replay
			found := members(t, b, bets.MemberQuery{ClientID: client})
			if gone {
				require.Empty(t, found, "seed %d: %v", seed, told)
				continue
			}
			require.Len(t, found, 1)
			require.Equal(t, "dogs", found[0].Page)
			require.Equal(t, start.Add(20*time.Millisecond), found[0].SeenAt)
		}
	})
}

func TestPresenceKnowsSinceWhen(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		start := time.Now().Add(-time.Minute).Truncate(time.Millisecond).UTC()
		at := func(s int, here bool, page string) bets.Sighting {
			return bets.Sighting{Channel: anns, ClientID: "ann", ConnectionID: "c", Page: page, Here: here, At: start.Add(time.Duration(s) * time.Second)}
		}
		see(t, b, at(0, true, "home"), at(1, true, "cars"))
		see(t, b, at(2, true, "dogs"))
		found := members(t, b, bets.MemberQuery{})
		require.Len(t, found, 1)
		require.Equal(t, start, found[0].Since)
		require.Equal(t, "dogs", found[0].Page)
		see(t, b, at(3, false, ""))
		require.Empty(t, members(t, b, bets.MemberQuery{}))
		see(t, b, at(4, true, "home"))
		require.Equal(t, start.Add(4*time.Second), members(t, b, bets.MemberQuery{})[0].Since)
	})
}

func TestPresenceExpires(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		see(t, b, bets.Sighting{Channel: anns, ClientID: "ann", ConnectionID: "c", Here: true, At: time.Now()})
		require.Len(t, members(t, b, bets.MemberQuery{}), 1)
		removed, err := b.Remove(t.Context(), bets.Retention, 10)
		require.NoError(t, err)
		require.Zero(t, removed)
		exec(t, db, `UPDATE presence SET expires_at = expires_at - $1`, (bets.PresenceLife + time.Second).Microseconds())
		require.Empty(t, members(t, b, bets.MemberQuery{}))
		removed, err = b.Remove(t.Context(), bets.Retention, 10)
		require.NoError(t, err)
		require.Equal(t, bets.Removed{Presence: 1}, removed)
	})
}

func TestMembersArePaged(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		for i := range 9 {
			see(t, b, bets.Sighting{
				Channel: []string{anns, bobs}[i%2], ClientID: fmt.Sprintf("u%d", i/3), ConnectionID: fmt.Sprintf("c%d", i), Page: "p", Here: true, At: time.Now(),
			})
		}
		seen := map[string]bool{}
		q := bets.MemberQuery{Limit: 4}
		for {
			page := members(t, b, q)
			for _, m := range page {
				require.False(t, seen[m.ConnectionID])
				seen[m.ConnectionID] = true
			}
			if len(page) < 4 {
				break
			}
			last := page[len(page)-1]
			q.After = &bets.MemberCursor{ClientID: last.ClientID, Channel: last.Channel, ConnectionID: last.ConnectionID}
		}
		require.Len(t, seen, 9)
		require.Len(t, members(t, b, bets.MemberQuery{ClientID: "u1"}), 3)
		require.Len(t, members(t, b, bets.MemberQuery{Channel: anns}), 5)
		require.Empty(t, members(t, b, bets.MemberQuery{Page: "q"}))
	})
}
