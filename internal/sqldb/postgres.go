package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/bugle-push/bugle/internal/fault"
)

// DefaultMaxConnections is the size of the pool of one replica: two providers
// with two lanes each, the recorder, the fan-out, the runs, and some for apps.
const DefaultMaxConnections = 16

// MinPostgres is the oldest version of PostgreSQL that is supported.
const MinPostgres = 14

// The SQLSTATE codes that are told apart (PostgreSQL: "Error Codes").
const (
	uniqueViolation      = "23505"
	deadlockDetected     = "40P01"
	serializationFailure = "40001"
	classAuthorization   = "28" // wrong user or password
	classCatalog         = "3D" // no such database
)

// session bounds what a replica that is paused (SIGSTOP, a long pause of its
// host) can hold: its locks and the horizon behind which rows cannot be
// vacuumed. The server ends such a session; the replica finds a broken
// connection when it wakes up.
func session() map[string]string {
	return map[string]string{
		"application_name": "bugle",
		// The longest statements are one step of a fan-out and the count of a run's deliveries.
		"statement_timeout": "30s",
		// Plans are made once and run often, on few rows: compiling each run costs more than the run.
		"jit":                                 "off",
		"idle_in_transaction_session_timeout": "10s",
		// A host that has vanished is noticed within half a minute, not after two hours.
		"tcp_keepalives_idle":     "10",
		"tcp_keepalives_interval": "5",
		"tcp_keepalives_count":    "4",
	}
}

func openPostgres(ctx context.Context, url string, o Options) (*DB, error) {
	db, err := connectPostgres(url, o, session())
	if err != nil {
		return nil, err
	}
	most := o.MaxConnections
	if most == 0 {
		most = DefaultMaxConnections
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(5 * time.Minute)
	// Now and then each connection is made anew, so that a pool finds its way after names have moved.
	db.SetConnMaxLifetime(30 * time.Minute)
	if err := reachable(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &DB{write: db, read: db, dialect: postgresDialect, url: url, options: o}, nil
}

func connectPostgres(url string, o Options, params map[string]string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		// The text of the error may repeat the URL and with it the password.
		return nil, fault.New(fault.Invalid, "database.url is not a PostgreSQL URL: postgres://user:password@host:5432/name?sslmode=verify-full")
	}
	for name, value := range params {
		if _, given := cfg.RuntimeParams[name]; !given {
			cfg.RuntimeParams[name] = value
		}
	}
	if o.Password != "" {
		cfg.Password = o.Password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if o.Connector != nil {
		return sql.OpenDB(o.Connector(stdlib.GetConnector(*cfg))), nil
	}
	return stdlib.OpenDB(*cfg), nil
}

// reachable checks that the server can be used: it answers, within answerTimeout,
// lets us in and is new enough.
func reachable(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var version int
	err := db.QueryRowContext(ctx, `SELECT CAST(current_setting('server_version_num') AS INTEGER)`).Scan(&version)
	switch code := postgresCode(err); {
	case err == nil && version < MinPostgres*10_000:
		return fault.Newf(fault.Invalid, "database.url: PostgreSQL %d is too old, %d or newer is needed", version/10_000, MinPostgres)
	case err == nil:
		return nil
	case strings.HasPrefix(code, classAuthorization):
		return fault.Wrap(fault.Invalid, err, "the database does not let us in (user or password)")
	case strings.HasPrefix(code, classCatalog):
		return fault.Wrap(fault.Invalid, err, "the database server has no database of that name")
	}
	return fault.Wrap(fault.Unavailable, err, "the database does not answer")
}

// unbounded opens the database once more without the bounds of a session: a step
// of a migration takes as long as it takes.
func (db *DB) unbounded(ctx context.Context) (*sql.DB, error) {
	params := session()
	maps.Copy(params, map[string]string{"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "application_name": "bugle migrate"})
	out, err := connectPostgres(db.url, db.options, params)
	if err != nil {
		return nil, fmt.Errorf("open database for migrations: %w", err)
	}
	if err := reachable(ctx, out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// postgresCode is the SQLSTATE of an error, empty when it is not PostgreSQL's.
func postgresCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// isDeadlock tells whether PostgreSQL has rolled a transaction back that may
// succeed when it runs again.
func isDeadlock(err error) bool {
	code := postgresCode(err)
	return code == deadlockDetected || code == serializationFailure
}
