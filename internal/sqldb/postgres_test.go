package sqldb_test

import (
	"context"
	"database/sql"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

func TestTenReplicasThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	at := sqldbtest.EmptyPostgresURL(t)
	var (
		replicas sync.WaitGroup
		mu       sync.Mutex
		applied  []int64
		failed   []error
	)
	for range 10 {
		replicas.Go(func() {
			db, err := sqldb.Open(t.Context(), at, sqldb.Options{MaxConnections: 4})
			var versions []int64
			if err == nil {
				versions, err = sqldb.Migrate(t.Context(), db)
				defer db.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, versions...)
			if err != nil {
				failed = append(failed, err)
			}
		})
	}
	replicas.Wait()
	require.Empty(t, failed)
	db := open(t, at)
	steps, err := sqldb.MigrationStatus(t.Context(), db)
	require.NoError(t, err)
	var known []int64
	for _, s := range steps {
		require.True(t, s.Applied)
		known = append(known, s.Version)
	}
	require.Equal(t, known, applied, "each step was applied once, by one of them, in order")
	var rows int
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0`).Scan(&rows))
	require.Len(t, known, rows)
}

func open(t *testing.T, at string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), at, sqldb.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// with sets a parameter of the session in a URL.
func with(t *testing.T, at, name, value string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	db := open(t, sqldbtest.PostgresURL(t))
	for name, want := range map[string]string{"statement_timeout": "30s", "idle_in_transaction_session_timeout": "10s", "application_name": "bugle"} {
		var got string
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT current_setting($1)`, name).Scan(&got))
		require.Equal(t, want, got, name)
	}
}

// A replica that is paused in the middle of a transaction holds its locks only so
// long, and what it does when it wakes up is not written.
func TestAPausedTransactionLosesItsLocks(t *testing.T) {
	t.Parallel()
	at := sqldbtest.PostgresURL(t)
	paused, other := open(t, with(t, at, "idle_in_transaction_session_timeout", "300ms")), open(t, at)
	require.NoError(t, other.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO preferences (user_id, updated_at) VALUES ('u', 1)`)
		return err
	}))
	set := func(value int) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE preferences SET updated_at = $1`, value)
			return err
		}
	}
	err := paused.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if err := set(2)(ctx, tx); err != nil {
			return err
		}
		return other.Tx(ctx, set(3)) // waits for the lock of the one that does nothing meanwhile
	})
	require.Error(t, err, "the commit of the paused one must fail")
	var value int
	require.NoError(t, other.SQL().QueryRowContext(t.Context(), `SELECT updated_at FROM preferences`).Scan(&value))
	require.Equal(t, 3, value)
	require.NoError(t, paused.Tx(t.Context(), set(4)), "the pool has found another connection")
}

// A failover cuts every connection in the middle of whatever it does.
func TestAPoolSurvivesThatItsConnectionsAreCut(t *testing.T) {
	t.Parallel()
	at := sqldbtest.PostgresURL(t)
	db, other := open(t, at), open(t, at)
	cut := func() {
		_, err := other.SQL().ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
	}
	err := db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO preferences (user_id, updated_at) VALUES ('u', 1)`)
		cut()
		return err
	})
	require.Error(t, err)
	var n int
	require.NoError(t, other.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM preferences`).Scan(&n))
	require.Zero(t, n)
	for range 5 {
		cut()
		require.Eventually(t, func() bool { return db.Ping(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	}
}

func TestADeadlockIsResolvedByRunningAgain(t *testing.T) {
	t.Parallel()
	db := open(t, with(t, sqldbtest.PostgresURL(t), "deadlock_timeout", "50ms"))
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO preferences (user_id, updated_at) VALUES ('a', 0), ('b', 0)`)
		return err
	}))
	add := func(ctx context.Context, tx *sql.Tx, user string) error {
		_, err := tx.ExecContext(ctx, `UPDATE preferences SET updated_at = updated_at + 1 WHERE user_id = $1`, user)
		return err
	}
	// Each has its first row before either asks for its second.
	var first, both sync.WaitGroup
	first.Add(2)
	errs := make([]error, 2)
	for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		both.Go(func() {
			var once sync.Once
			errs[i] = db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				if err := add(ctx, tx, order[0]); err != nil {
					return err
				}
				once.Do(func() { first.Done(); first.Wait() })
				return add(ctx, tx, order[1])
			})
		})
	}
	both.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	var sum int
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT SUM(updated_at) FROM preferences`).Scan(&sum))
	require.Equal(t, 4, sum)
}

func TestWhyADatabaseCannotBeOpened(t *testing.T) {
	t.Parallel()
	at := sqldbtest.PostgresURL(t)
	u, err := url.Parse(at)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*url.URL)
		kind   fault.Kind
		want   string
	}{
		"no such database": {func(u *url.URL) { u.Path = "/nowhere" }, fault.Invalid, "has no database of that name"},
		"no such user":     {func(u *url.URL) { u.User = url.UserPassword("nobody-knows", "hunter2") }, fault.Invalid, "does not let us in"},
		"nobody there":     {func(u *url.URL) { u.Host, u.RawQuery = "127.0.0.1:1", "sslmode=disable" }, fault.Unavailable, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := *u
			c.change(&broken)
			_, err := sqldb.Open(t.Context(), broken.String(), sqldb.Options{})
			require.ErrorContains(t, err, c.want)
			require.Equal(t, c.kind, fault.KindOf(err))
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err = sqldb.Open(t.Context(), "postgres://u:hunter2@h:port/x", sqldb.Options{})
	require.ErrorContains(t, err, "not a PostgreSQL URL")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestTheDatabasesClockIsReadInMicroseconds(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		db := d.Open(t)
		before := time.Now()
		now, err := db.Now(t.Context(), db.SQL())
		require.NoError(t, err)
		require.WithinDuration(t, before, now, 10*time.Second, "the same machine has one clock")
		require.Equal(t, now, sqldb.Time(sqldb.Micros(now)))
	}
}

func TestTheHorizonShowsATransactionThatStaysOpen(t *testing.T) {
	t.Parallel()
	db := open(t, sqldbtest.PostgresURL(t))
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO preferences (user_id, updated_at) VALUES ('u', 1)`); err != nil {
			return err
		}
		require.Eventually(t, func() bool {
			h, ok, err := db.Horizon(ctx)
			return ok && err == nil && h.OldestTransaction >= 50*time.Millisecond
		}, time.Minute, 10*time.Millisecond)
		return nil
	}))
	_, ok, err := sqldbtest.SQLite(t).Horizon(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
}
