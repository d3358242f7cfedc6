// Package sqldb opens the database that Bugle keeps its state in: SQLite (one
// file, one replica) or PostgreSQL 14 and newer (several replicas). The SQL texts
// live with the stores that use them, one text for both: $1 parameters, ON
// CONFLICT, RETURNING. The little in which the two differ is behind a small
// Dialect value.
//
// Times are stored as BIGINT microseconds since 1970 UTC (Micros, Time): they
// compare, index and survive aggregates alike in both databases. What several
// replicas compare is told by the database's clock (DB.Now), never by their own.
//
// SQLite has one writer. DB keeps one connection for writing and a few for
// reading, so that a reader never waits for a writer and a writer never gets
// SQLITE_BUSY from its own process. PostgreSQL has one pool for both, whose
// sessions are bounded: see openPostgres.
package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

// txTimeout bounds one transaction of a caller that has no deadline of its own: a
// database that has vanished from the network answers never.
const txTimeout = 30 * time.Second

// answerTimeout bounds what is asked of a database at the start, which it answers at once.
const answerTimeout = 10 * time.Second

// maxTxTries bounds how often a transaction runs again that PostgreSQL has chosen
// as the victim of a deadlock.
const maxTxTries = 4

// DB is an open database.
type DB struct {
	write   *sql.DB
	read    *sql.DB
	dialect Dialect
	options Options
	url     string
}

// Options are what a caller may choose beside the URL.
type Options struct {
	// MaxConnections is the most connections to PostgreSQL; zero means
	// DefaultMaxConnections. SQLite has its own number.
	MaxConnections int
	// Password belongs to the user of a PostgreSQL URL that has none.
	Password string
	// Connector wraps what opens connections, for tests that watch statements; nil for none.
	Connector func(driver.Connector) driver.Connector
}

// Open opens the database named by a URL: "sqlite:/var/lib/bugle/bugle.db" (or
// "sqlite::memory:" for a private one that ends with the DB), or
// "postgres://user:password@host/name". It does not migrate; see Migrate. A
// database that does not answer is an Unavailable fault.
func Open(ctx context.Context, rawURL string, o Options) (*DB, error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	if !ok {
		return nil, fault.New(fault.Invalid, `database.url wants "sqlite:FILE" or "postgres://…"`)
	}
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, strings.TrimPrefix(rest, "//"), o)
	case "postgres", "postgresql":
		return openPostgres(ctx, rawURL, o)
	default:
		// The URL may carry a password, so only its scheme is repeated.
		return nil, fault.Newf(fault.Invalid, "database.url: unknown scheme %q (sqlite, postgres)", scheme)
	}
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

// Queryer is a transaction, or the handle for reads outside of one.
type Queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Now tells the time by the database's clock, to the microsecond. Replicas whose
// own clocks differ agree on it. SQLite has no clock of its own: there it is the
// process's.
func (db *DB) Now(ctx context.Context, q Queryer) (time.Time, error) {
	if db.dialect.Name == nameSQLite {
		return time.Now().UTC().Truncate(time.Microsecond), nil
	}
	var us int64
	err := q.QueryRowContext(ctx, `SELECT `+db.dialect.Clock).Scan(&us)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return Time(us), nil
}

// Lock makes transactions that name the same thing follow one another: it waits
// until the others have ended. It is for what has no row to lock yet. On SQLite
// transactions follow one another anyway.
func (db *DB) Lock(ctx context.Context, tx *sql.Tx, name string) error {
	if db.dialect.Name == nameSQLite {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name); err != nil {
		return fmt.Errorf("wait for lock: %w", err)
	}
	return nil
}

// LockAll is Lock for several names. Whoever locks overlapping sets waits, but not
// for each other: the names are locked in their order. PostgreSQL keeps each lock in
// shared memory, which has room for some thousands.
func (db *DB) LockAll(ctx context.Context, tx *sql.Tx, names []string) error {
	if db.dialect.Name == nameSQLite || len(names) == 0 {
		return nil
	}
	names = slices.Clone(names)
	slices.Sort(names)
	param, err := json.Marshal(slices.Compact(names))
	if err != nil {
		return fmt.Errorf("encode names of locks: %w", err)
	}
	// A function scan yields the array in its order.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended(j.value, 0)) FROM `+db.dialect.Texts("$1"), string(param)); err != nil {
		return fmt.Errorf("wait for locks: %w", err)
	}
	return nil
}

// Tx runs fn in one writing transaction, committed when fn returns nil and
// rolled back otherwise. fn must use tx only, never db: on SQLite there is one
// writer, and waiting for it inside would never end. fn may run again, from its
// beginning, when PostgreSQL has ended the transaction to resolve a deadlock.
//
// An error of the commit itself leaves open whether it took place.
func (db *DB) Tx(ctx context.Context, fn func(context.Context, *sql.Tx) error) (err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, txTimeout)
		defer cancel()
	}
	for range maxTxTries {
		if err = db.tx(ctx, fn); !isDeadlock(err) {
			break
		}
	}
	return err
}

func (db *DB) tx(ctx context.Context, fn func(context.Context, *sql.Tx) error) (err error) {
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
	return sqliteUniqueViolation(err) || postgresCode(err) == uniqueViolation
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
