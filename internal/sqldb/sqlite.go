package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bugle-push/bugle/internal/fault"
)

func openSQLite(ctx context.Context, file string, o Options) (*DB, error) {
	// FULL: what has been committed survives a power loss too. With NORMAL the last commits
	// could be undone: a message that was sent would be sent again, and a device that was
	// deactivated would be active.
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-65536)",
	}}
	dsn := "file:" + file + "?"
	if file == ":memory:" {
		// One connection only: another one would see another, empty database.
		db, err := connectSQLite(o, "file::memory:?"+pragmas.Encode()+"&_txlock=immediate")
		if err != nil {
			return nil, fmt.Errorf("open sqlite: %w", err)
		}
		db.SetMaxOpenConns(1)
		db.SetConnMaxIdleTime(0)
		db.SetConnMaxLifetime(0)
		return &DB{write: db, read: db, dialect: sqliteDialect}, db.PingContext(ctx)
	}
	pragmas.Add("_pragma", "journal_mode(WAL)")
	// IMMEDIATE: a transaction that will write takes its lock at once, instead of
	// failing in the middle when another writer got there first.
	write, err := connectSQLite(o, dsn+pragmas.Encode()+"&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(fault.Wrap(fault.Unavailable, err, "database "+file+" cannot be opened"), write.Close())
	}
	pragmas.Add("_pragma", "query_only(1)")
	read, err := connectSQLite(o, dsn+pragmas.Encode())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sqlite for reading: %w", err), write.Close())
	}
	read.SetMaxOpenConns(4)
	return &DB{write: write, read: read, dialect: sqliteDialect}, nil
}

func connectSQLite(o Options, dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil || o.Connector == nil {
		return db, err
	}
	return sql.OpenDB(o.Connector(sqliteConnector{dsn, db.Driver()})), db.Close() // it has no connection yet
}

// sqliteConnector is what sql.Open makes of a driver that has none of its own.
type sqliteConnector struct {
	dsn    string
	driver driver.Driver
}

// Connect opens a connection.
func (c sqliteConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver returns the driver.
func (c sqliteConnector) Driver() driver.Driver { return c.driver }

func sqliteUniqueViolation(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}
