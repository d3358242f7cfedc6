package sqlledger_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// onPostgres runs a test over PostgreSQL alone: on SQLite transactions follow one another.
func onPostgres(t *testing.T) *books {
	t.Helper()
	t.Parallel()
	return open(t, sqldbtest.Database{Name: "postgres", Open: sqldbtest.Postgres})
}

// hold runs statements in a transaction that stays open until the test ends it.
func (b *books) hold(queries ...string) *sql.Tx {
	b.tb.Helper()
	tx, err := b.db.SQL().BeginTx(b.tb.Context(), nil)
	require.NoError(b.tb, err)
	b.tb.Cleanup(func() { _ = tx.Rollback() })
	for _, query := range queries {
		_, err := tx.ExecContext(b.tb.Context(), query)
		require.NoError(b.tb, err, query)
	}
	return tx
}

// waiting waits until so many sessions wait for a lock.
func (b *books) waiting(n int, why string) {
	b.tb.Helper()
	require.Eventually(b.tb, func() bool {
		return b.count(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == n
	}, 5*time.Second, 5*time.Millisecond, why)
}

// inBackground returns a channel with what do will have returned.
func inBackground(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return done
}

// The first pause of a rule has no row to lock yet.
func TestTheFirstPauseWaitsForWhatIsUnderWay(t *testing.T) {
	pause := func(b *books) func() error {
		return func() error { return b.ledger.SetPaused(b.tb.Context(), alice, "settled", true, "wrong text") }
	}
	t.Run("a release", func(t *testing.T) {
		b := onPostgres(t)
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		b.stage(run, b.bet("b1", "ann", "WON", 1))
		other := b.hold(`SELECT 1 FROM notifications FOR UPDATE`)
		finished := inBackground(func() error {
			_, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
			return err
		})
		b.waiting(1, "the release is under way")
		paused := inBackground(pause(b))
		b.waiting(2, "the pause must not be answered before the release has ended")
		require.NoError(t, other.Rollback())
		require.NoError(t, <-finished)
		require.NoError(t, <-paused)
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'released'`))
	})
	t.Run("a beginning", func(t *testing.T) {
		b := onPostgres(t)
		b.release("settled")
		tick := time.Now().Truncate(time.Second)
		other := b.hold(`SELECT 1 FROM watermarks FOR UPDATE`)
		begun := inBackground(func() error {
			_, _, err := b.ledger.Begin(t.Context(), b.request("settled", "r1", tick))
			return err
		})
		b.waiting(1, "the run is beginning")
		paused := inBackground(pause(b))
		b.waiting(2, "the pause must not be answered before the run has begun")
		require.NoError(t, other.Rollback())
		require.NoError(t, <-begun)
		require.NoError(t, <-paused)
		_, _, err := b.ledger.Begin(t.Context(), b.request("settled", "r1", tick.Add(time.Second)))
		require.ErrorIs(t, err, notifier.ErrRulePaused)
	})
}
