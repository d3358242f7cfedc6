package sqlledger

import (
	"context"
	"database/sql"

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

// rowsQueryer is a transaction, or the handle for reads outside of one.
type rowsQueryer interface {
	sqldb.Queryer
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// records is a FROM item, j, over the batch in $1.
func (l *Ledger) records(columns ...string) string {
	return l.db.Dialect().Records("$1", columns...)
}

// idSet is a subquery of the ids in the batch in $1.
func (l *Ledger) idSet() string { return `(SELECT j.id FROM ` + l.records("id BIGINT") + `)` }

// ids is a batch of bare ids.
func ids[T ~int64](in []T) (string, error) {
	type item struct {
		ID int64 `json:"id"`
	}
	out := make([]item, len(in))
	for i, id := range in {
		out[i].ID = int64(id)
	}
	return sqldb.Batch(out)
}
