package sqldbtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/migrations"
)

// templateLock is the advisory lock under which the template is made: test
// binaries of several packages run at once.
const templateLock = 0x6275676c65

// Postgres opens a database of its own on the server of PostgresVariable; it is
// dropped with the test. Without a server the test is skipped.
func Postgres(t testing.TB) *sqldb.DB {
	t.Helper()
	return open(t, PostgresURL(t))
}

// PostgresURL makes such a database and returns its URL.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return makeDatabase(t, " TEMPLATE "+template(t))
}

// EmptyPostgresURL makes a database without any table and returns its URL.
func EmptyPostgresURL(t testing.TB) string {
	t.Helper()
	return makeDatabase(t, "")
}

func server(t testing.TB) string {
	t.Helper()
	server := os.Getenv(PostgresVariable)
	if server == "" {
		t.Skip("no PostgreSQL: set " + PostgresVariable + ", or let make test find one")
	}
	return server
}

func makeDatabase(t testing.TB, options string) string {
	t.Helper()
	server := server(t)
	name := "t_" + strings.ToLower(rand.Text()[:16])
	run(t, server, `CREATE DATABASE `+name+options)
	t.Cleanup(func() { run(t, server, `DROP DATABASE `+name+` WITH (FORCE)`) })
	return at(t, server, name)
}

// template returns the name of a migrated database that others are copied from,
// and makes it when nobody has yet. Its name has a hash of the steps.
func template(t testing.TB) string {
	t.Helper()
	server := server(t)
	name := "bugle_template_" + schema(t)
	conn := connect(t, server)
	defer closeConn(conn)
	exists := func() (found bool) {
		require.NoError(t, conn.QueryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate)`, name).Scan(&found))
		return found
	}
	if exists() {
		return name
	}
	_, err := conn.Exec(context.Background(), `SELECT pg_advisory_lock($1)`, templateLock)
	require.NoError(t, err)
	if exists() {
		return name
	}
	run(t, server, `DROP DATABASE IF EXISTS `+name) // half made by somebody who was killed
	run(t, server, `CREATE DATABASE `+name)
	db, err := sqldb.Open(context.Background(), at(t, server, name), sqldb.Options{})
	require.NoError(t, err)
	_, err = sqldb.Migrate(context.Background(), db)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	run(t, server, `ALTER DATABASE `+name+` WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`)
	return name
}

func schema(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	files := migrations.Postgres()
	require.NoError(t, fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		fmt.Fprintln(h, path, len(text))
		h.Write(text)
		return err
	}))
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// at is the URL of another database of the server.
func at(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	return conn
}

func closeConn(conn *pgx.Conn) { _ = conn.Close(context.Background()) }

func run(t testing.TB, url, statement string) {
	t.Helper()
	conn := connect(t, url)
	defer closeConn(conn)
	_, err := conn.Exec(context.Background(), statement)
	require.NoError(t, err)
}
