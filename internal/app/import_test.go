package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// The service reads the list from ksqlDB, over its own client, and preflight takes the query.
func TestTheServiceImportsSuppressions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.bets.Put(time.Now(), "b-1", "ann", "cool_off"))
	w.cfg.Suppressions.Import = config.SuppressionImport{
		Schedule: "@every 5s", MaxLifted: 10, Query: "SELECT user_id, outcome AS reason, ROWTIME AS `from` FROM settled_bets;",
	}
	service, _ := w.start(t)
	require.NotEmpty(t, service.Addr())
	db, err := sqldb.Open(t.Context(), w.cfg.Database.URL, sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var list []notifier.Suppression
	require.Eventually(t, func() bool {
		list, err = sqlledger.New(db).Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 10})
		return err == nil && len(list) == 1
	}, time.Minute, 50*time.Millisecond)
	require.True(t, list[0].Imported)
	require.EqualValues(t, "ann", list[0].User)
	require.Equal(t, notifier.ReasonCoolOff, list[0].Reason)
	require.Equal(t, notifier.SuppressService, list[0].Class)
	require.False(t, list[0].From.IsZero())
}
