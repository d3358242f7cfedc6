// Package sqldbtest opens empty, migrated databases for tests.
package sqldbtest

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// Database is one kind of database that a suite runs over.
type Database struct {
	Name string
	// Open returns an empty, migrated database that is closed with the test.
	Open func(testing.TB) *sqldb.DB
}

// Databases lists every kind of database that is at hand: SQLite always.
func Databases(testing.TB) []Database {
	return []Database{{Name: "sqlite", Open: SQLite}}
}

// SQLite opens an SQLite file in the test's folder.
func SQLite(t testing.TB) *sqldb.DB {
	t.Helper()
	return open(t, "sqlite:"+filepath.Join(t.TempDir(), "bugle.db"))
}

func open(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = sqldb.Migrate(t.Context(), db)
	require.NoError(t, err)
	return db
}
