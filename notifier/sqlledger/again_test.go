package sqlledger_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// deadlock makes do wait in a trigger, when it has done most of its work, and then
// makes another transaction, which it returns, want what do has locked. PostgreSQL
// ends the transaction that looks for a deadlock and finds it: that is do's, since
// the other one's time to look comes much later, and do begins again.
func deadlock(b *books, trigger, wanted string, do func() error) (other *sql.Tx, done <-chan error) {
	b.tb.Helper()
	require.NoError(b.tb, b.exec(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM set_config(''deadlock_timeout'', ''3s'', TRUE); PERFORM pg_advisory_xact_lock(42); RETURN NULL; END'`))
	require.NoError(b.tb, b.exec(`CREATE TRIGGER wait `+trigger+` FOR EACH STATEMENT EXECUTE FUNCTION wait()`))
	tx := b.hold(`SELECT set_config('deadlock_timeout', '1h', TRUE), pg_advisory_xact_lock(42)`)
	done = inBackground(do)
	b.waiting(1, "it has done its work")
	_, err := tx.ExecContext(b.tb.Context(), wanted)
	require.NoError(b.tb, err)
	return tx, done
}

func TestABeginningThatRunsAgainMayFindTheTickTaken(t *testing.T) {
	b := onPostgres(t)
	tick := time.Now().Truncate(time.Second)
	other, begun := deadlock(b, `AFTER INSERT ON watermarks`, fmt.Sprintf(`INSERT INTO runs
		(rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at)
		VALUES ('settled', %d, 'released', FALSE, 0, 0, 'g', 'r2', 0, 0)`, sqldb.Micros(tick)), func() error {
		run, ok, err := b.ledger.Begin(t.Context(), b.request("settled", "r1", tick))
		if ok || run.ID != 0 {
			return errors.New("the run that was rolled back is said to have begun")
		}
		return err
	})
	require.NoError(t, other.Commit())
	require.NoError(t, <-begun)
}

func TestAFanOutThatRunsAgainCountsWhatItMadeInTheEnd(t *testing.T) {
	for rule, release := range map[string]func(b *books){
		"settled": func(b *books) { b.release("settled", b.bet("b1", "ann", "WON", 1)) },
		"soon":    func(b *books) { b.release("soon", b.race("e1")) },
	} {
		t.Run(rule, func(t *testing.T) {
			b := onPostgres(t)
			b.devices("ann", 3)
			release(b)
			// The second time somebody else has the notification.
			other, done := deadlock(b, `AFTER INSERT ON deliveries`, `SELECT 1 FROM notifications FOR UPDATE`, func() error {
				made, more, err := b.ledger.FanOut(t.Context(), 1000)
				if made != 0 || more {
					return errors.New("what was rolled back is counted")
				}
				return err
			})
			require.NoError(t, <-done)
			require.NoError(t, other.Commit())
		})
	}
}
