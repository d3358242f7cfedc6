package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// Batch is the one parameter of a set-wise statement, which Records or Texts
// takes apart. It fails only for items that have no JSON.
func Batch[T any](items []T) (string, error) {
	text, err := json.Marshal(items)
	if err != nil {
		return "", fmt.Errorf("encode batch: %w", err)
	}
	return string(text), nil
}

// Exec runs a statement and returns how many rows it touched.
func Exec(ctx context.Context, tx *sql.Tx, query string, args ...any) (int, error) {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// Collect reads all rows of a query with scan, and closes them. It takes what
// QueryContext returns, the error included.
func Collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
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
