package sqlrelay_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

var (
	_ bets.Book    = (*sqlrelay.Bets)(nil)
	_ bets.Outbox  = (*sqlrelay.Bets)(nil)
	_ bets.Remover = (*sqlrelay.Bets)(nil)
)

func eachDatabase(t *testing.T, run func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			run(t, d.Open(t))
		})
	}
}

func row(id, channel string) bets.Row {
	return bets.Row{MessageID: id, Channel: channel, Kind: bets.KindBet, Value: []byte(`{"bet_id":"` + id + `"}`), Size: 3}
}

func dead(id, channel string, reason bets.Reason) bets.Row {
	return bets.Row{MessageID: id, Channel: channel, Kind: bets.KindDead, Reason: reason, Value: []byte("\x00\xff"), Size: 2}
}

const (
	anns = "inbound:betting:horses:ann"
	bobs = "inbound:betting:horses:bob"
)

func take(t *testing.T, b *sqlrelay.Bets, rows ...bets.Row) bets.Taken {
	t.Helper()
	out, err := b.Take(t.Context(), rows, nil)
	require.NoError(t, err)
	return out
}

func claim(t *testing.T, b *sqlrelay.Bets, owner string, kind bets.Kind, limit int) []bets.Claimed {
	t.Helper()
	out, err := b.Claim(t.Context(), bets.ClaimRequest{Kind: kind, Owner: owner, Limit: limit, Lease: time.Minute})
	require.NoError(t, err)
	return out
}

func names(claims []bets.Claimed) []string {
	var out []string
	for _, c := range claims {
		out = append(out, c.MessageID)
	}
	return out
}

// exec changes rows behind the store's back: it makes time pass.
func exec(t *testing.T, db *sqldb.DB, query string, args ...any) {
	t.Helper()
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func TestAMessageIsKeptOnceAndInOrder(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		var rows []bets.Row
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprintf("m%02d", 39-i))
			rows = append(rows, row(want[i], []string{anns, bobs}[i%2]))
		}
		first := take(t, b, rows...)
		require.Len(t, first.New, 40)
		require.Zero(t, first.Duplicates)

		again := take(t, b, append(rows[10:20:20], row("new", anns), row("new", anns))...)
		require.Len(t, again.New, 1)
		require.Equal(t, "new", again.New[0].MessageID)
		require.Equal(t, 11, again.Duplicates)

		claims := claim(t, b, "r1", bets.KindBet, 100)
		require.Equal(t, append(want, "new"), names(claims))
		require.JSONEq(t, `{"bet_id":"m39"}`, string(claims[0].Value))
		require.False(t, claims[0].ReceivedAt.IsZero())
	})
}

// The same webhook reaches two replicas at once: each says that it is kept, and it
// is kept once.
func TestTwoReplicasTakeTheSameWebhook(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		var rows []bets.Row
		for i := range 200 {
			rows = append(rows, row(fmt.Sprint(i), anns))
		}
		var mu sync.Mutex
		var g sync.WaitGroup
		news, duplicates := 0, 0
		for range 6 {
			g.Go(func() {
				out, err := b.Take(t.Context(), rows, nil)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					news += len(out.New)
					duplicates += out.Duplicates
				}
				require.NoError(t, err)
			})
		}
		g.Wait()
		require.Equal(t, 200, news)
		require.Equal(t, 1000, duplicates)
		require.Len(t, claim(t, b, "r1", bets.KindBet, 1000), 200)
	})
}

func TestAnIdOfAnotherChannelIsTold(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("mine", anns))
		out := take(t, b, row("mine", bobs), row("both", anns), row("both", bobs))
		require.Len(t, out.New, 3)
		require.Equal(t, []string{"mine", "both"}, names(claim(t, b, "r1", bets.KindBet, 10)))
		letters := claim(t, b, "r1", bets.KindDead, 10)
		require.Equal(t, []string{"mine", "both"}, names(letters))
		for _, l := range letters {
			require.Equal(t, bets.ReasonID, l.Reason)
			require.Equal(t, bobs, l.Channel)
		}
	})
}

// While one replica has messages of a channel, no other gets later ones of it.
func TestAChannelKeepsItsOrderAcrossReplicas(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns), row("b1", bobs), row("a2", anns), row("b2", bobs))
		first := claim(t, b, "r1", bets.KindBet, 1)
		require.Equal(t, []string{"a1"}, names(first))
		second := claim(t, b, "r2", bets.KindBet, 10)
		require.Equal(t, []string{"b1", "b2"}, names(second))
		waiting, err := b.Waiting(t.Context(), bets.KindBet)
		require.NoError(t, err)
		require.True(t, waiting)
		require.Empty(t, claim(t, b, "r2", bets.KindBet, 10))

		lost, err := b.Produced(t.Context(), first)
		require.NoError(t, err)
		require.Zero(t, lost)
		require.Equal(t, []string{"a2"}, names(claim(t, b, "r2", bets.KindBet, 10)))
	})
}

// Replicas that claim at once get different rows, and no channel twice.
func TestClaimsNeverOverlap(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		var rows []bets.Row
		for i := range 300 {
			rows = append(rows, row(fmt.Sprint(i), fmt.Sprintf("inbound:betting:h:u%d", i%7)))
		}
		take(t, b, rows...)
		var mu sync.Mutex
		var g sync.WaitGroup
		last := map[string]int64{}
		seen := map[string]int{}
		for r := range 4 {
			g.Go(func() {
				for {
					waiting, err := b.Waiting(t.Context(), bets.KindBet)
					require.NoError(t, err)
					if !waiting {
						return
					}
					claims := claim(t, b, fmt.Sprint("r", r), bets.KindBet, 11)
					mu.Lock()
					for _, c := range claims {
						seen[c.MessageID]++
						require.Greater(t, c.Seq, last[c.Channel], "the order of a channel")
						last[c.Channel] = c.Seq
					}
					mu.Unlock()
					_, err = b.Produced(t.Context(), claims)
					require.NoError(t, err)
				}
			})
		}
		g.Wait()
		require.Len(t, seen, 300)
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
	})
}

func TestALapsedLeaseIsClaimedAgainAndFencesTheFirst(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns))
		first := claim(t, b, "r1", bets.KindBet, 1)
		require.NoError(t, b.Renew(t.Context(), bets.KindBet, "r1", time.Minute))
		require.Empty(t, claim(t, b, "r2", bets.KindBet, 1))

		exec(t, db, `UPDATE bets SET lease_until = 1`)
		require.NoError(t, b.Renew(t.Context(), bets.KindBet, "r1", time.Minute)) // too late
		second := claim(t, b, "r2", bets.KindBet, 1)
		require.Equal(t, []string{"a1"}, names(second))
		lost, err := b.Produced(t.Context(), first)
		require.NoError(t, err)
		require.Equal(t, 1, lost)
		require.NoError(t, b.Release(t.Context(), first))
		require.NoError(t, b.Bury(t.Context(), first, bets.ReasonKafka))
		for range 2 { // a note that is repeated is the same note
			lost, err = b.Produced(t.Context(), second)
			require.NoError(t, err)
			require.Zero(t, lost)
		}
		backlog, err := b.Backlog(t.Context(), bets.KindBet)
		require.NoError(t, err)
		require.Zero(t, backlog)
	})
}

func TestReleaseAndBury(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns), row("a2", anns), dead("d1", bobs, bets.ReasonStake))
		claims := claim(t, b, "r1", bets.KindBet, 2)
		backlog, err := b.Backlog(t.Context(), bets.KindBet)
		require.NoError(t, err)
		require.Equal(t, 2, backlog.Rows)
		require.Positive(t, backlog.Oldest)

		require.NoError(t, b.Bury(t.Context(), claims[:1], bets.ReasonKafka))
		require.NoError(t, b.Release(t.Context(), claims[1:]))
		require.Equal(t, []string{"a2"}, names(claim(t, b, "r1", bets.KindBet, 2)))
		letters := claim(t, b, "r1", bets.KindDead, 5)
		require.Equal(t, []string{"a1", "d1"}, names(letters))
		require.Equal(t, bets.ReasonKafka, letters[0].Reason)
		require.Equal(t, []byte("\x00\xff"), letters[1].Value)
		require.Equal(t, 2, letters[1].Size)
	})
}

// Messages are kept for a day so that a replay is known; what waits for Kafka stays.
func TestRetention(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns), row("a2", anns), row("a3", bobs))
		claims := claim(t, b, "r1", bets.KindBet, 2)
		_, err := b.Produced(t.Context(), claims)
		require.NoError(t, err)
		removed, err := b.Remove(t.Context(), bets.Retention, 10)
		require.NoError(t, err)
		require.Zero(t, removed)
		require.Equal(t, 1, take(t, b, row("a1", anns)).Duplicates)

		exec(t, db, `UPDATE bets SET received_at = received_at - $1`, (bets.Retention + time.Second).Microseconds())
		removed, err = b.Remove(t.Context(), bets.Retention, 1)
		require.NoError(t, err)
		require.Equal(t, bets.Removed{Bets: 1, More: true}, removed)
		removed, err = b.Remove(t.Context(), bets.Retention, 10)
		require.NoError(t, err)
		require.Equal(t, bets.Removed{Bets: 1}, removed)
		require.Equal(t, []string{"a3"}, names(claim(t, b, "r1", bets.KindBet, 9)), "not produced yet, however old")
		require.Len(t, take(t, b, row("a1", anns)).New, 1)
	})
}
