package sqlrelay_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

var _ notifier.UserStore = (*sqlrelay.Bets)(nil)

// exported is what a user is handed out, by kind, as it is written.
func exported(t *testing.T, b *sqlrelay.Bets, user devices.UserID) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	require.NoError(t, b.ExportUser(t.Context(), user, func(kind string, record any) error {
		text, err := json.Marshal(record)
		out[kind] = append(out[kind], string(text))
		return err
	}))
	return out
}

func erase(t *testing.T, b *sqlrelay.Bets, user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool) {
	t.Helper()
	erased, waiting, more, err := b.EraseUser(t.Context(), user, limit)
	require.NoError(t, err)
	return erased, waiting, more
}

func produce(t *testing.T, b *sqlrelay.Bets, kind bets.Kind, limit int) {
	t.Helper()
	lost, err := b.Produced(t.Context(), claim(t, b, "r1", kind, limit))
	require.NoError(t, err)
	require.Zero(t, lost)
}

func TestAUserIsHandedOutAndNobodyElse(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns))
		produce(t, b, bets.KindBet, 1)
		take(t, b, row("a2", anns), dead("d1", "inbound:betting:cars:ann", bets.ReasonStake), row("b1", bobs),
			row("x1", "inbound:betting:horses:joann"), row("x2", "inbound:betting:horses:Ann"), dead("x3", "inbound:betting:horses:eve:ann", bets.ReasonChannel))
		at := time.Now()
		see(t, b, bets.Sighting{Channel: anns, ClientID: "ann", ConnectionID: "c", Page: "home", Here: true, At: at},
			bets.Sighting{Channel: bobs, ClientID: "bob", ConnectionID: "c", Page: "home", Here: true, At: at})

		got := exported(t, b, "ann")
		require.Len(t, got["presence"], 1)
		require.Contains(t, got["presence"][0], `"page":"home"`)
		require.Len(t, got["bet"], 3)
		require.NotContains(t, got["bet"][0], `"value"`, "Kafka has it")
		require.Contains(t, got["bet"][1], `"value":{"bet_id":"a2"}`)
		require.Contains(t, got["bet"][2], `"value":"AP8="`)
		counted, err := b.CountUser(t.Context(), "ann")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"presence": 1, "bets": 3}, counted)
		require.Empty(t, exported(t, b, "nn"))
		require.Empty(t, exported(t, b, "eve"))
	})
}

func TestErasingAUserDropsNoBetAndForgetsTheRest(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		var rows []bets.Row
		for i := range 7 {
			rows = append(rows, row(fmt.Sprint("a", i), anns))
		}
		take(t, b, append(rows, row("b1", bobs))...)
		produce(t, b, bets.KindBet, 5)
		leased := claim(t, b, "r1", bets.KindBet, 1)
		at := time.Now()
		see(t, b, bets.Sighting{Channel: anns, ClientID: "ann", ConnectionID: "c", Here: true, At: at},
			bets.Sighting{Channel: bobs, ClientID: "bob", ConnectionID: "c", Here: true, At: at})

		erased, _, more := erase(t, b, "ann", 3)
		require.True(t, more)
		require.Equal(t, map[string]int64{"presence": 1, "bets": 3}, erased)
		erased, waiting, more := erase(t, b, "ann", 3)
		require.False(t, more)
		require.Equal(t, map[string]int64{"presence": 0, "bets": 2}, erased)
		require.Equal(t, int64(2), waiting, "one is with a replica, one is queued")
		require.Len(t, exported(t, b, "ann")["bet"], 2)

		// What was asked for before is as it was: a webhook that comes again changes nothing.
		again := take(t, b, append(rows[:5:5], row("new", anns))...)
		require.Equal(t, 5, again.Duplicates)
		require.Len(t, again.New, 1)
		require.Equal(t, "new", again.New[0].MessageID)
		taken := take(t, b, row("a1", bobs))
		require.Equal(t, bets.ReasonID, taken.New[0].Reason, "an id counts once over all channels")

		_, err := b.Produced(t.Context(), leased)
		require.NoError(t, err)
		require.Equal(t, []string{"a6", "b1", "new"}, names(claim(t, b, "r1", bets.KindBet, 9)), "no bet was dropped")
		exec(t, db, `UPDATE bets SET state = 'produced', value = '', owner = '' WHERE state = 'leased'`)
		erased, waiting, _ = erase(t, b, "ann", 100)
		require.Equal(t, int64(3), erased["bets"])
		require.Zero(t, waiting)
		require.Empty(t, exported(t, b, "ann"))
		var named int
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM bets WHERE channel LIKE '%ann%') + (SELECT COUNT(*) FROM presence WHERE client_id = 'ann')`).Scan(&named))
		require.Zero(t, named)
		require.Len(t, exported(t, b, "bob")["bet"], 2)
		require.Len(t, exported(t, b, "bob")["presence"], 1)

		exec(t, db, `UPDATE bets SET received_at = 1 WHERE channel <> $1`, bobs)
		removed, err := b.Remove(t.Context(), bets.Retention, 100)
		require.NoError(t, err)
		require.Equal(t, 8, removed.Bets, "they go like all others")
	})
}

// A release that knows no digests has kept a repeat of an erased message as a dead letter.
func TestErasingClearsWhatAnOlderReleaseHasKeptAgain(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		b := sqlrelay.NewBets(db)
		take(t, b, row("a1", anns))
		produce(t, b, bets.KindBet, 1)
		erase(t, b, "ann", 10)
		exec(t, db, `INSERT INTO bets (message_id, channel, kind, reason, value, size, state, received_at, produced_at) VALUES ('a1', $1, 'dead', 'id_taken', '', 3, 'produced', 1, 1)`, anns)
		erased, waiting, more := erase(t, b, "ann", 10)
		require.Equal(t, int64(1), erased["bets"])
		require.Zero(t, waiting)
		require.False(t, more)
		var rows int
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM bets`).Scan(&rows))
		require.Equal(t, 1, rows)
	})
}

// A webhook comes again just while its user is erased: its bet was taken, and is not taken anew.
func TestARepeatBesideAnErasureIsNoSecondBet(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Postgres(t)
	b := sqlrelay.NewBets(db)
	take(t, b, row("a1", anns))
	produce(t, b, bets.KindBet, 1)
	erase(t, b, "ann", 10)
	var digest string
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT channel FROM bets`).Scan(&digest))
	exec(t, db, `UPDATE bets SET channel = $1`, anns)

	repeated := make(chan bets.Taken, 1)
	failed := make(chan error, 1)
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE bets SET channel = $1`, digest); err != nil {
			return err
		}
		go func() {
			out, err := b.Take(t.Context(), []bets.Row{row("a1", anns)}, nil)
			failed <- err
			repeated <- out
		}()
		for { // until the repeat waits for this transaction
			var waits int
			if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
				WHERE NOT l.granted AND a.datname = current_database()`).Scan(&waits); err != nil || waits > 0 {
				return err
			}
		}
	}))
	require.NoError(t, <-failed)
	out := <-repeated
	require.Equal(t, 1, out.Duplicates)
	require.Empty(t, out.New)
	require.Empty(t, claim(t, b, "r1", bets.KindBet, 10))
	require.Empty(t, claim(t, b, "r1", bets.KindDead, 10))
}
