package sqldb_test

import (
	"context"
	"database/sql"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/migrations"
)

func TestMigrateTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			db := d.Open(t)
			applied, err := sqldb.Migrate(t.Context(), db)
			require.NoError(t, err)
			require.Empty(t, applied)
			status, err := sqldb.MigrationStatus(t.Context(), db)
			require.NoError(t, err)
			require.NotEmpty(t, status)
			for _, m := range status {
				require.True(t, m.Applied, m.Name)
			}
		})
	}
}

func TestRecordsTakeABatchInOneParameter(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			db := d.Open(t)
			q := `SELECT SUM(j.n), COUNT(*) FILTER (WHERE j.yes), MAX(j.word) FROM ` + db.Dialect().Records("$1", "n BIGINT", "yes BOOLEAN", "word TEXT")
			var sum, yes int64
			var word string
			const batch = `[{"n":9007199254740993,"yes":true,"word":"a\"'ü"},{"n":2,"yes":false}]`
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), q, batch).Scan(&sum, &yes, &word))
			require.EqualValues(t, 9007199254740995, sum)
			require.EqualValues(t, 1, yes)
			require.Equal(t, `a"'ü`, word)
			var found bool
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT EXISTS (SELECT 1 FROM `+db.Dialect().Texts("$1")+` WHERE j.value = $2)`,
				`["win","loss"]`, "loss").Scan(&found))
			require.True(t, found)
		})
	}
}

func TestUniqueViolationIsRecognised(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			db := d.Open(t)
			insert := func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO preferences (user_id, updated_at) VALUES ($1, $2)`, "u", 1)
				return err
			}
			require.NoError(t, db.Tx(t.Context(), insert))
			err := db.Tx(t.Context(), insert)
			require.Error(t, err)
			require.True(t, db.IsUniqueViolation(err))
			require.False(t, db.IsUniqueViolation(sql.ErrNoRows))
		})
	}
}

// During a deployment an older binary starts beside a newer one that has migrated further.
func TestAnOlderBinaryLeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			db := d.Open(t)
			require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)`)
				return err
			}))
			applied, err := sqldb.Migrate(t.Context(), db)
			require.NoError(t, err)
			require.Empty(t, applied)
			current, newest, err := sqldb.Versions(t.Context(), db)
			require.NoError(t, err)
			require.Greater(t, current, newest)
		})
	}
}

func TestTheStepsOfBothDatabasesHaveTheSameNames(t *testing.T) {
	t.Parallel()
	sqlite, err := fs.Glob(migrations.SQLite(), "*.sql")
	require.NoError(t, err)
	postgres, err := fs.Glob(migrations.Postgres(), "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, sqlite)
	require.Equal(t, sqlite, postgres)
}

// Two versions run side by side during a deployment, so a step only adds: what an older binary
// reads and writes stays as it is. What is to go is removed by a later release, whose step is then
// named here.
func TestStepsOnlyAdd(t *testing.T) {
	t.Parallel()
	removes := regexp.MustCompile(`(?i)\b(DROP\s+(TABLE|COLUMN|INDEX|CONSTRAINT|DEFAULT)|RENAME|ALTER\s+COLUMN|SET\s+NOT\s+NULL)\b`)
	adds := regexp.MustCompile(`(?i)\bADD\s+COLUMN\b[^;]*;`)
	for name, files := range map[string]fs.FS{"sqlite": migrations.SQLite(), "postgres": migrations.Postgres()} {
		steps, err := fs.Glob(files, "*.sql")
		require.NoError(t, err)
		for _, step := range steps {
			text, err := fs.ReadFile(files, step)
			require.NoError(t, err)
			require.NotRegexp(t, removes, string(text), name+"/"+step)
			for _, column := range adds.FindAllString(string(text), -1) {
				if strings.Contains(column, "NOT NULL") {
					require.Contains(t, column, "DEFAULT", name+"/"+step+": an older binary does not write it")
				}
			}
		}
	}
}
