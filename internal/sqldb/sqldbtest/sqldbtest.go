// Package sqldbtest opens empty, migrated databases for tests.
package sqldbtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// PostgresVariable names the variable with the URL of a PostgreSQL server whose
// user may create databases. `make test` sets it where it finds a server's
// programs; without it the suites run over SQLite alone.
const PostgresVariable = "BUGLE_TEST_POSTGRES_URL"

// Database is one kind of database that a suite runs over.
type Database struct {
	Name string
	// Open returns an empty, migrated database that is closed with the test.
	Open func(testing.TB) *sqldb.DB
	// Watch returns one too, and what watches its statements.
	Watch func(testing.TB) (*sqldb.DB, *Watch)
}

// Databases lists every kind of database that is at hand: SQLite always,
// PostgreSQL when PostgresVariable says where.
func Databases(testing.TB) []Database {
	out := []Database{{Name: "sqlite", Open: SQLite, Watch: watchSQLite}}
	if os.Getenv(PostgresVariable) != "" {
		out = append(out, Database{Name: "postgres", Open: Postgres, Watch: watchPostgres})
	}
	return out
}

// SQLite opens an SQLite file in the test's folder.
func SQLite(t testing.TB) *sqldb.DB {
	t.Helper()
	return open(t, "sqlite:"+filepath.Join(t.TempDir(), "bugle.db"))
}

func open(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	return openWith(t, url, sqldb.Options{})
}

func openWith(t testing.TB, url string, o sqldb.Options) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), url, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = sqldb.Migrate(t.Context(), db)
	require.NoError(t, err)
	return db
}
