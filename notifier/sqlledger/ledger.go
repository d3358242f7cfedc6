package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.Ledger = (*Ledger)(nil)

// Ledger implements notifier.Ledger on a database.
type Ledger struct {
	db   *sqldb.DB
	each string // FROM item over the batch in $1
}

// New returns a Ledger on a migrated database.
func New(db *sqldb.DB) *Ledger {
	return &Ledger{db: db, each: db.Dialect().Each("$1")}
}

// now is the ledger's clock, in microseconds. SQLite has no clock of its own
// that is worth more than the process's.
func (l *Ledger) now() int64 { return sqldb.Micros(time.Now()) }

// batch is the one parameter of a set-wise statement.
func batch[T any](items []T) (string, error) {
	b, err := json.Marshal(items)
	if err != nil {
		return "", fmt.Errorf("encode batch: %w", err)
	}
	return string(b), nil
}

// ids is a batch of bare ids.
func ids[T ~int64](in []T) (string, error) {
	type item struct {
		ID int64 `json:"id"`
	}
	out := make([]item, len(in))
	for i, id := range in {
		out[i].ID = int64(id)
	}
	return batch(out)
}

// exec runs a statement and returns how many rows it touched.
func exec(ctx context.Context, tx *sql.Tx, query string, args ...any) (int, error) {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// collect reads all rows of a query with scan.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
