// Package sqldb opens the database that Bugle keeps its state in: SQLite today.
// The SQL texts live with the stores that use them and are written so that
// PostgreSQL takes them too ($1 parameters, ON CONFLICT, RETURNING); the little
// in which the two differ is behind a small Dialect value.
//
// Times are stored as BIGINT microseconds since 1970 UTC (Micros, Time): they
// compare, index and survive aggregates alike in both databases.
//
// SQLite has one writer. DB keeps one connection for writing and a few for
// reading, so that a reader never waits for a writer and a writer never gets
// SQLITE_BUSY from its own process.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bugle-push/bugle/internal/fault"
)

// DB is an open database.
type DB struct {
	write   *sql.DB
	read    *sql.DB
	dialect Dialect
}

// Open opens the database named by a URL: "sqlite:/var/lib/bugle/bugle.db" (or
// "sqlite::memory:" for a private one that ends with the DB). It does not
// migrate; see Migrate.
func Open(ctx context.Context, rawURL string) (*DB, error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	if !ok {
		return nil, fault.New(fault.Invalid, `database.url wants "sqlite:FILE"`)
	}
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	default:
		// The URL may carry a password, so only its scheme is repeated.
		return nil, fault.Newf(fault.Invalid, "database.url: unknown scheme %q (sqlite)", scheme)
	}
}

func openSQLite(ctx context.Context, file string) (*DB, error) {
	// FULL: what has been committed survives a power loss too. With NORMAL the last commits
	// could be undone: a message that was sent would be sent again, and a device that was
	// deactivated would be active.
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-65536)",
	}}
	dsn := "file:" + file + "?"
	if file == ":memory:" {
		// One connection only: another one would see another, empty database.
		db, err := sql.Open("sqlite", "file::memory:?"+pragmas.Encode()+"&_txlock=immediate")
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
	write, err := sql.Open("sqlite", dsn+pragmas.Encode()+"&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(fault.Wrap(fault.Unavailable, err, "database "+file+" cannot be opened"), write.Close())
	}
	pragmas.Add("_pragma", "query_only(1)")
	read, err := sql.Open("sqlite", dsn+pragmas.Encode())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sqlite for reading: %w", err), write.Close())
	}
	read.SetMaxOpenConns(4)
	return &DB{write: write, read: read, dialect: sqliteDialect}, nil
}

// SQL is the handle for reads outside a transaction.
func (db *DB) SQL() *sql.DB { return db.read }

// Dialect tells where the two databases differ.
func (db *DB) Dialect() Dialect { return db.dialect }

// Close closes every connection.
func (db *DB) Close() error {
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.read.Close(), db.write.Close())
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.read.PingContext(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the database does not answer")
	}
	return nil
}

// Tx runs fn in one writing transaction, committed when fn returns nil and
// rolled back otherwise. fn must use tx only, never db: on SQLite there is one
// writer, and waiting for it inside would never end.
func (db *DB) Tx(ctx context.Context, fn func(context.Context, *sql.Tx) error) (err error) {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer func() {
		if rbErr := tx.Rollback(); rbErr != nil && !errors.Is(rbErr, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rbErr))
		}
	}()
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// IsUniqueViolation tells whether err is a unique or primary key constraint
// that a statement would have broken.
func (db *DB) IsUniqueViolation(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// Micros is how a time is stored: microseconds since 1970 UTC, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is the reverse of Micros.
func Time(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
