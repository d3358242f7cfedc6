package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// Quota implements notifier.Quotas. The row is locked before the clock is
// read, so that the times of its changes are in the order of the changes.
func (l *Ledger) Quota(
	ctx context.Context, provider devices.Provider, change func(notifier.QuotaState, time.Time) notifier.QuotaState,
) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		s, err := l.quota(ctx, tx, provider, l.db.Dialect().ForUpdate)
		if errors.Is(err, sql.ErrNoRows) {
			// A row that is not there cannot be locked. Of two replicas that come first, one
			// waits here for the other.
			if _, err := tx.ExecContext(ctx, `INSERT INTO quotas (provider) VALUES ($1) ON CONFLICT DO NOTHING`, provider); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			s, err = l.quota(ctx, tx, provider, l.db.Dialect().ForUpdate)
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		s = change(s, sqldb.Time(now))
		_, err = tx.ExecContext(ctx, `UPDATE quotas SET share = $2, moved_at = $3, next_at = $4, granted_at = $5, slowed_at = $6,
			paused_until = $7, changed_at = $8, granted = $9 WHERE provider = $1`,
			provider, s.Share, sqldb.Micros(s.MovedAt), sqldb.Micros(s.Next), sqldb.Micros(s.GrantedAt), sqldb.Micros(s.SlowedAt),
			sqldb.Micros(s.PausedUntil), sqldb.Micros(s.ChangedAt), s.Granted)
		if err != nil {
			return fmt.Errorf("update: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("quota of %s: %w", provider, err)
	}
	return nil
}

// QuotaNow implements notifier.Quotas.
func (l *Ledger) QuotaNow(ctx context.Context, provider devices.Provider) (notifier.QuotaState, time.Time, error) {
	s, err := l.quota(ctx, l.db.SQL(), provider, "")
	var now int64
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		// After the row: what it says is not of the future.
		now, err = l.now(ctx, l.db.SQL())
	}
	if err != nil {
		return notifier.QuotaState{}, time.Time{}, fmt.Errorf("look at quota of %s: %w", provider, err)
	}
	return s, sqldb.Time(now), nil
}

// quota reads a row, which lock may lock.
func (l *Ledger) quota(ctx context.Context, q sqldb.Queryer, provider devices.Provider, lock string) (notifier.QuotaState, error) {
	var s notifier.QuotaState
	var moved, next, granted, slowed, paused, changed int64
	err := q.QueryRowContext(ctx, `SELECT share, moved_at, next_at, granted_at, slowed_at, paused_until, changed_at, granted
		FROM quotas WHERE provider = $1`+lock, provider).
		Scan(&s.Share, &moved, &next, &granted, &slowed, &paused, &changed, &s.Granted)
	s.MovedAt, s.Next, s.GrantedAt = sqldb.Time(moved), sqldb.Time(next), sqldb.Time(granted)
	s.SlowedAt, s.PausedUntil, s.ChangedAt = sqldb.Time(slowed), sqldb.Time(paused), sqldb.Time(changed)
	return s, err
}
