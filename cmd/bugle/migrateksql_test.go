package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// ksqlServer starts a stand-in that takes statements.
func ksqlServer(t *testing.T, cfg ksqldb.Config) (environ []string) {
	t.Helper()
	cfg.DDL = true
	server, err := ksqldb.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return []string{"BUGLE_ENV=dev", "BUGLE_KSQLDB_URL=" + server.URL()}
}

func TestMigrateKSQLDB(t *testing.T) {
	t.Parallel()
	environ := ksqlServer(t, ksqldb.Config{})
	code, stdout, stderr := command(t, environ, "migrate", "ksqldb", "status")
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^pending +000001 +bugle views`, stdout)

	code, stdout, stderr = command(t, environ, "migrate", "ksqldb", "apply", "--dry-run", "--until", "2", "--define", "odds_tolerance=0.2")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "would apply 000002 bets")
	require.Contains(t, stdout, "CREATE STREAM IF NOT EXISTS bets (")
	require.Contains(t, stdout, "> 0.2 * (p.odds_now + 1)")
	require.NotContains(t, stdout, "${")
	require.Contains(t, stdout, "2 files to apply. Nothing was sent.\n")
	_, stdout, _ = command(t, environ, "migrate", "ksqldb", "status")
	require.NotContains(t, stdout, "migrated")

	code, stdout, stderr = command(t, environ, "migrate", "ksqldb", "apply", "--next")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "applying 000001 bugle views\n  1/4 CREATE STREAM IF NOT EXISTS settlements\n")
	require.True(t, strings.HasSuffix(stdout, "migrated 000001\n"), stdout)
	code, stdout, stderr = command(t, environ, "migrate", "ksqldb", "apply")
	require.Equal(t, exitOK, code, stderr)
	require.NotContains(t, stdout, "000001")
	require.Contains(t, stdout, "CREATE TABLE IF NOT EXISTS rejected_bets\n")
	require.Contains(t, stdout, "migrated 000004\n")
	_, stdout, _ = command(t, environ, "migrate", "ksqldb", "apply")
	require.Equal(t, "nothing to do\n", stdout)
	_, stdout, _ = command(t, environ, "migrate", "ksqldb", "status")
	require.Regexp(t, `(?m)^migrated +000004 +results and settlements +2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC$`, stdout)

	// Every view that the rules read is there for the service.
	code, stdout, stderr = command(t, environ, "rules", "preview", "bet-rejected")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "0 rows")
}

func TestMigrateKSQLDBGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	environ := ksqlServer(t, ksqldb.Config{QueuedPolls: 1, FailCommand: func(sql string) bool {
		return !mended.Load() && strings.Contains(sql, "event_pool")
	}})
	code, stdout, stderr := command(t, environ, "migrate", "ksqldb", "apply")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stdout, "migrated 000002\napplying 000003")
	require.NotContains(t, stdout, "migrated 000003")
	require.Contains(t, stderr, "apply version 3: statement 4 of 7 (CREATE TABLE IF NOT EXISTS event_pool)")
	require.Contains(t, stderr, "Mend the cause and run the command again")
	_, stdout, _ = command(t, environ, "migrate", "ksqldb", "status")
	require.Regexp(t, `(?m)^error +000003 +order book and odds`, stdout)
	require.Contains(t, stdout, "\n000003: apply version 3: statement 4 of 7")
	require.Regexp(t, `(?m)^pending +000004`, stdout)

	mended.Store(true)
	code, stdout, stderr = command(t, environ, "migrate", "ksqldb", "apply")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "  3/7 CREATE TABLE IF NOT EXISTS order_book: exists already\n  4/7 CREATE TABLE IF NOT EXISTS event_pool\n")
}

func TestMigrateKSQLDBWithOwnFiles(t *testing.T) {
	t.Parallel()
	environ := ksqlServer(t, ksqldb.Config{})
	dir := t.TempDir()
	file := filepath.Join(dir, "V000001__goals.sql")
	require.NoError(t, os.WriteFile(file, []byte("CREATE STREAM goals (id STRING KEY, player STRING) WITH (KAFKA_TOPIC='goals', VALUE_FORMAT='JSON', PARTITIONS=1);\n"), 0o600))
	code, _, stderr := command(t, environ, "migrate", "ksqldb", "apply", "--dir", dir)
	require.Equal(t, exitOK, code, stderr)
	require.NoError(t, os.WriteFile(file, []byte("DROP STREAM goals;\n"), 0o600))
	code, _, stderr = command(t, environ, "migrate", "ksqldb", "apply", "--dir", dir)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "V000001__goals.sql is not the file that was applied on")
	require.Contains(t, stderr, "write the change as a new version")
	_, stdout, _ := command(t, environ, "migrate", "ksqldb", "status", "--dir", dir)
	require.Regexp(t, `(?m)^changed +000001 +goals`, stdout)

	require.NoError(t, os.WriteFile(file, []byte("SELECT * FROM goals;\n"), 0o600))
	code, _, stderr = command(t, environ, "migrate", "ksqldb", "status", "--dir", dir)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, `V000001__goals.sql: line 1: ksql-migrations takes no statement that begins "SELECT *"`)
	code, _, stderr = command(t, environ, "migrate", "ksqldb", "status", "--dir", filepath.Join(dir, "nowhere"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "no such file")
}

func TestMigrateKSQLDBNeedsAServer(t *testing.T) {
	t.Parallel()
	code, _, stderr := command(t, nil, "migrate", "ksqldb", "status")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "ksqldb.url (BUGLE_KSQLDB_URL): missing")
	require.NotContains(t, stderr, "database")
	code, _, stderr = command(t, nil, "migrate", "ksqldb", "apply", "--until", "2", "--next")
	require.NotEqual(t, exitOK, code)
	require.Contains(t, stderr, "[next until]")
}

// The stand-in of the sandbox has the views already; the files fit around them.
func TestMigrateKSQLDBWhereTheViewsExist(t *testing.T) {
	t.Parallel()
	var views []ksqldb.View
	for name, columns := range goodViews() {
		views = append(views, ksqldb.NewTable(name, columns...))
	}
	environ := ksqlServer(t, ksqldb.Config{Views: views})
	code, stdout, stderr := command(t, environ, "migrate", "ksqldb", "apply")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "CREATE TABLE IF NOT EXISTS settled_bets: exists already")
	require.Contains(t, stdout, "migrated 000004")
}
