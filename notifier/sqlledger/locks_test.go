package sqlledger_test

import (
	"database/sql"
	"errors"
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
	}, time.Minute, 5*time.Millisecond, why)
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

// unheld requires that nobody else has a run's row locked, and locks it.
func (b *books) unheld(tx *sql.Tx, why string) {
	b.tb.Helper()
	_, err := tx.ExecContext(b.tb.Context(), `SELECT 1 FROM runs FOR UPDATE NOWAIT`)
	require.NoError(b.tb, err, why)
}

func TestABeginningDoesNotWaitForARunThatIsReading(t *testing.T) {
	b := onPostgres(t)
	run, ok := b.begin("settled", "r1")
	require.True(t, ok)
	b.hold(`UPDATE runs SET lease_until = lease_until + 1`) // as each step of a run does first
	for _, tick := range []time.Time{run.TickAt, run.TickAt.Add(time.Second)} {
		begun := inBackground(func() error {
			_, ok, err := b.ledger.Begin(t.Context(), b.request("settled", "r2", tick))
			if ok {
				return errors.New("it has begun")
			}
			return err
		})
		select {
		case err := <-begun:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			require.FailNow(t, "it waits")
		}
	}
}

// What takes both locks takes the rule's watermark before the run, or now and
// then two transactions wait for each other.
func TestTheWatermarkIsLockedBeforeTheRun(t *testing.T) {
	for name, step := range map[string]func(b *books, run notifier.Run) error{
		"advance": func(b *books, run notifier.Run) error {
			return b.ledger.Advance(b.tb.Context(), run, run.Position, run.Until)
		},
		"finish": func(b *books, run notifier.Run) error {
			run.Baseline = true
			_, err := b.ledger.Finish(b.tb.Context(), run, b.rule(run.Rule))
			return err
		},
		"begin after a lapsed run": func(b *books, run notifier.Run) error {
			if err := b.exec(`UPDATE runs SET lease_until = 1`); err != nil {
				return err
			}
			_, _, err := b.ledger.Begin(b.tb.Context(), b.request(run.Rule, "r2", run.TickAt.Add(time.Second)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := onPostgres(t)
			run, ok := b.begin("settled", "r1")
			require.True(t, ok)
			other := b.hold(`SELECT 1 FROM watermarks FOR UPDATE`)
			done := inBackground(func() error { return step(b, run) })
			b.waiting(1, "it waits for the watermark")
			b.unheld(other, "whoever has the watermark may want the run next")
			require.NoError(t, other.Rollback())
			require.NoError(t, <-done)
		})
	}
}
