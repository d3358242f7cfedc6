package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.Ledger = (*Ledger)(nil)

// Ledger implements notifier.Ledger on a database.
type Ledger struct {
	db *sqldb.DB
}

// New returns a Ledger on a migrated database.
func New(db *sqldb.DB) *Ledger { return &Ledger{db: db} }

// now tells the time by the database's clock, in microseconds: all replicas
// compare leases, expiries and due times by that one.
func (l *Ledger) now(ctx context.Context, q sqldb.Queryer) (int64, error) {
	now, err := l.db.Now(ctx, q)
	return sqldb.Micros(now), err
}

// records is a FROM item, j, over the batch in $1.
func (l *Ledger) records(columns ...string) string {
	return l.db.Dialect().Records("$1", columns...)
}

// idSet is a subquery of the ids in the batch in $1.
func (l *Ledger) idSet() string { return `(SELECT j.id FROM ` + l.records("id BIGINT") + `)` }

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
