package sqldb

import (
	"context"
	"fmt"
	"time"
)

// Horizon is what keeps PostgreSQL from cleaning up: the oldest snapshot and the
// oldest transaction of the database, whoever's they are. While they are old,
// every claim leaves rows behind that cannot be removed, and the queue gets slower.
type Horizon struct {
	// XminAge is the age of the oldest snapshot in transactions.
	XminAge int64
	// OldestTransaction is how long the oldest transaction has been open.
	OldestTransaction time.Duration
}

// Horizon reads what keeps the database from cleaning up; false on SQLite, where
// nothing does.
func (db *DB) Horizon(ctx context.Context) (Horizon, bool, error) {
	if db.dialect.Name != namePostgres {
		return Horizon{}, false, nil
	}
	var h Horizon
	var oldest int64
	err := db.read.QueryRowContext(ctx, `SELECT COALESCE(MAX(age(backend_xmin)), 0),
		COALESCE(CAST(EXTRACT(EPOCH FROM MAX(clock_timestamp() - xact_start)) * 1000000 AS BIGINT), 0)
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&h.XminAge, &oldest)
	if err != nil {
		return Horizon{}, true, fmt.Errorf("read the horizon of the database: %w", err)
	}
	h.OldestTransaction = time.Duration(oldest) * time.Microsecond
	return h, true, nil
}
