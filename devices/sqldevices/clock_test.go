package sqldevices_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

// slowClock opens a database on PostgreSQL whose clock is an hour behind.
func slowClock(t *testing.T) *sqldb.DB {
	t.Helper()
	at := sqldbtest.PostgresURL(t)
	open := func(at string) *sqldb.DB {
		db, err := sqldb.Open(t.Context(), at, sqldb.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return db
	}
	_, err := open(at).SQL().ExecContext(t.Context(), `CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz
		LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() - interval ''1 hour'''`)
	require.NoError(t, err)
	u, err := url.Parse(at)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", "public,pg_catalog")
	u.RawQuery = q.Encode()
	return open(u.String())
}

// The fan-out passes over a device that was activated after a notification was
// made, by the database's clock: a replica whose own is ahead must not stamp
// devices with what is yet to come.
func TestDevicesAreStampedByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	db := slowClock(t)
	r := sqldevices.New(db, sqldevices.Config{})
	stamped := func(at time.Time, what string) {
		t.Helper()
		require.WithinDuration(t, time.Now().Add(-time.Hour), at, time.Minute, what)
	}
	updated := func(id devices.ID, want devices.State) {
		t.Helper()
		d, err := r.Device(t.Context(), "ada", id)
		require.NoError(t, err)
		require.Equal(t, want, d.State)
		stamped(d.UpdatedAt, string(want))
		_, err = db.SQL().ExecContext(t.Context(), `UPDATE devices SET updated_at = 1`)
		require.NoError(t, err)
	}
	d, err := r.Activate(t.Context(), "ada", "d1", activation(fcm("t1")))
	require.NoError(t, err)
	stamped(d.ActivatedAt, "activated")
	updated("d1", devices.Active)

	ok, err := r.Retire(t.Context(), "d1", d.Generation, "unregistered")
	require.NoError(t, err)
	require.True(t, ok)
	updated("d1", devices.Retired)

	_, err = r.Activate(t.Context(), "ada", "d2", activation(ablyDevice("A")))
	require.NoError(t, err)
	updated("d2", devices.Active)
	ok, err = r.RetireTarget(t.Context(), ablyDevice("A"), time.Now(), "ably_token_invalid")
	require.NoError(t, err)
	require.True(t, ok)
	updated("d2", devices.Retired)

	_, err = r.Activate(t.Context(), "ada", "d1", activation(fcm("t1")))
	require.NoError(t, err)
	require.NoError(t, r.Deactivate(t.Context(), "ada", "d1"))
	updated("d1", devices.Inactive)

	_, err = r.SetPreferences(t.Context(), "ada", devices.Preferences{Muted: []string{"win"}})
	require.NoError(t, err)
	var us int64
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT updated_at FROM preferences`).Scan(&us))
	stamped(sqldb.Time(us), "preferences")
}
