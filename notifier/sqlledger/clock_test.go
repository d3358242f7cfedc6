package sqlledger_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// openAhead opens a database whose clock is ahead of ours by an hour.
func openAhead(t *testing.T) *books {
	t.Helper()
	u, err := url.Parse(sqldbtest.PostgresURL(t))
	require.NoError(t, err)
	connect := func(testing.TB) *sqldb.DB {
		db, err := sqldb.Open(t.Context(), u.String(), sqldb.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return db
	}
	b := open(t, sqldbtest.Database{Open: connect})
	require.NoError(t, b.exec(`CREATE SCHEMA ahead`))
	require.NoError(t, b.exec(`CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql
		AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''`))
	query := u.Query()
	query.Set("search_path", "ahead,pg_catalog,public")
	u.RawQuery = query.Encode()
	return open(t, sqldbtest.Database{Open: connect})
}

func TestTheQueueGoesByTheDatabasesClockAndClaimsByOurs(t *testing.T) {
	t.Parallel()
	b := openAhead(t)
	b.devices("ann", 1)
	b.release("settled", b.bet("b1", "ann", "WON", 1))
	b.fanOut()
	claims := b.claim("settled", "r1", 1, time.Minute)
	require.Len(t, claims, 1)
	require.WithinDuration(t, time.Now().Add(time.Minute), claims[0].Until, 20*time.Second)
	n, err := b.ledger.Reclaim(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	views, err := b.ledger.View(t.Context(), claims)
	require.NoError(t, err)
	require.InDelta(t, time.Hour.Seconds(), views[0].Skew.Seconds(), 20)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), views[0].ExpiresAt, 20*time.Second)

	require.Zero(t, b.record("r1", notifier.Result{
		Claim: claims[0], State: notifier.Queued, DueAt: time.Now().Add(time.Minute),
		Attempt: &notifier.Attempt{Verdict: notifier.VerdictRetry, StartedAt: time.Now(), EndedAt: time.Now()},
	}))
	require.Empty(t, b.claim("settled", "r1", 1, time.Minute), "it is due in a minute")
	require.NoError(t, b.exec(`UPDATE deliveries SET due_at = due_at - 60000000`))
	require.Len(t, b.claim("settled", "r1", 1, time.Minute), 1, "and not in an hour")
	ahead := b.count(`SELECT started_at FROM attempts`) - int(time.Now().UnixMicro())
	require.InDelta(t, time.Hour.Seconds(), float64(ahead)/1e6, 20)
}
