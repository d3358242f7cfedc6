package sqldb_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

func TestVersionsWritesNothing(t *testing.T) {
	t.Parallel()
	db, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tables := func() (n int) {
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM sqlite_master`).Scan(&n))
		return n
	}
	current, newest, err := sqldb.Versions(t.Context(), db)
	require.NoError(t, err)
	require.Zero(t, current)
	require.Positive(t, newest)
	require.Zero(t, tables())

	_, err = sqldb.Migrate(t.Context(), db)
	require.NoError(t, err)
	current, again, err := sqldb.Versions(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, newest, current)
	require.Equal(t, newest, again)

	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (777, TRUE)`)
		return err
	}))
	current, _, err = sqldb.Versions(t.Context(), db)
	require.NoError(t, err)
	require.EqualValues(t, 777, current)
}
