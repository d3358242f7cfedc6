package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/internal/fault"
)

// Versions returns the version of the database's schema, 0 for a database
// without one, and the newest one that this binary knows. Unlike the other
// functions about migrations it writes nothing, not even goose's own table. A
// database that has vanished is an Unavailable fault after answerTimeout.
func Versions(ctx context.Context, db *DB) (current, newest int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	defer func() {
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fault.Wrap(fault.Unavailable, err, "the database does not answer")
		}
	}()
	if newest, err = db.newestKnown(); err != nil {
		return 0, 0, err
	}
	versioned := `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version')`
	if db.dialect.Name == namePostgres {
		versioned = `SELECT to_regclass('goose_db_version') IS NOT NULL`
	}
	var exists bool
	if err := db.read.QueryRowContext(ctx, versioned).Scan(&exists); err != nil {
		return 0, 0, fmt.Errorf("read schema: %w", err)
	}
	if !exists {
		return 0, newest, nil
	}
	var version sql.NullInt64
	if err := db.read.QueryRowContext(ctx, `SELECT MAX(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version); err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	}
	return version.Int64, newest, nil
}
