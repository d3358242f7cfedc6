package sqlledger

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// statement puts a SELECT together from constant pieces; values are parameters
// only. The zero value is empty.
type statement struct {
	sql  strings.Builder
	args []any
}

// text adds a piece without values.
func (s *statement) text(piece string) { s.sql.WriteString(piece) }

// add adds a piece; each ? becomes the number of the next value.
func (s *statement) add(piece string, values ...any) {
	for _, v := range values {
		before, after, _ := strings.Cut(piece, "?")
		s.args = append(s.args, v)
		s.sql.WriteString(before + "$" + strconv.Itoa(len(s.args)))
		piece = after
	}
	s.sql.WriteString(piece)
}

// and adds a condition.
func (s *statement) and(condition string, values ...any) {
	s.add(" AND "+condition, values...)
}

// among adds the condition that a column has one of some ids, each a parameter: PostgreSQL
// expects a hundred rows of a batch, and for them reads a table of thousands as a whole.
func among[T ~int64](s *statement, column string, set []T) {
	s.text(" AND " + column + " IN (")
	for i, id := range set {
		if i > 0 {
			s.text(", ")
		}
		s.add("?", int64(id))
	}
	s.text(")")
}

// limit ends the statement.
func (s *statement) limit(n int) *statement {
	s.add(` LIMIT ?`, n)
	return s
}

// one runs a statement that finds one row within a transaction; sql.ErrNoRows when it finds none.
func one[T any](ctx context.Context, tx *sql.Tx, s *statement, scan func(*sql.Rows) (T, error)) (found T, err error) {
	rows, err := tx.QueryContext(ctx, s.sql.String(), s.args...)
	all, err := sqldb.Collect(rows, err, scan)
	if err != nil {
		return found, err
	}
	if len(all) == 0 {
		return found, sql.ErrNoRows
	}
	return all[0], nil
}

// list runs a statement outside of any transaction.
func list[T any](ctx context.Context, l *Ledger, s *statement, scan func(*sql.Rows) (T, error)) ([]T, error) {
	rows, err := l.db.SQL().QueryContext(ctx, s.sql.String(), s.args...)
	return sqldb.Collect(rows, err, scan)
}
