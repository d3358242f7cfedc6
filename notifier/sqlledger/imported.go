package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.ImportLedger = (*Ledger)(nil)

// importer is the actor of what an import changes.
var importer = notifier.Actor{Name: notifier.ImportActor}

// ImportState implements notifier.ImportLedger.
func (l *Ledger) ImportState(ctx context.Context) (notifier.ImportState, error) {
	s, _, err := l.importState(ctx, l.db.SQL())
	return s, err
}

func (l *Ledger) importState(ctx context.Context, q sqldb.Queryer) (s notifier.ImportState, leased int64, err error) {
	if s.Now, err = l.db.Now(ctx, q); err != nil {
		return s, 0, err
	}
	var succeeded int64
	err = q.QueryRowContext(ctx, `SELECT lease_until, succeeded_at FROM suppression_imports WHERE id = 1`).Scan(&leased, &succeeded)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, 0, fmt.Errorf("read how imports stand: %w", err)
	}
	s.SucceededAt = sqldb.Time(succeeded)
	return s, leased, nil
}

// BeginImport implements notifier.ImportLedger.
func (l *Ledger) BeginImport(
	ctx context.Context, owner string, lease time.Duration, due func(notifier.ImportState) bool,
) (turn notifier.ImportTurn, ok bool, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		turn, ok = notifier.ImportTurn{}, false
		if err := l.db.Lock(ctx, tx, "suppression import"); err != nil { // there may be no row to lock yet
			return err
		}
		s, leased, err := l.importState(ctx, tx)
		if err != nil || leased > sqldb.Micros(s.Now) || !due(s) {
			return err
		}
		turn, ok = notifier.ImportTurn{Owner: owner, BegunAt: s.Now}, true
		return tx.QueryRowContext(ctx, `INSERT INTO suppression_imports (id, owner, no, lease_until) VALUES (1, $1, 1, $2)
			ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, no = suppression_imports.no + 1, lease_until = excluded.lease_until
			RETURNING no`, owner, sqldb.Micros(s.Now.Add(lease))).Scan(&turn.No)
	})
	if err != nil {
		return notifier.ImportTurn{}, false, fmt.Errorf("begin import: %w", err)
	}
	return turn, ok, nil
}

// keepTurn gives the turn another lease, and locks its row until the end of the transaction.
func (l *Ledger) keepTurn(ctx context.Context, tx *sql.Tx, turn notifier.ImportTurn, lease time.Duration) error {
	now, err := l.now(ctx, tx)
	if err != nil {
		return err
	}
	n, err := sqldb.Exec(ctx, tx, `UPDATE suppression_imports SET lease_until = $1 WHERE id = 1 AND owner = $2 AND no = $3 AND lease_until > $4`,
		now+lease.Microseconds(), turn.Owner, turn.No, now)
	if err != nil {
		return fmt.Errorf("keep import: %w", err)
	}
	if n == 0 {
		return notifier.ErrImportLost
	}
	return nil
}

// SetImported implements notifier.ImportLedger.
func (l *Ledger) SetImported(ctx context.Context, turn notifier.ImportTurn, lease time.Duration, set []notifier.Suppression) (changed int, err error) {
	wanted, keys, err := normalized(set)
	if err != nil {
		return 0, err
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if err := l.keepTurn(ctx, tx, turn, lease); err != nil {
			return err
		}
		done, err := l.setSuppressions(ctx, tx, listImported, importer, wanted, keys, notifier.AllowShorter) // the importer has decided that
		changed = done.Changed
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("set imported suppressions: %w", err)
	}
	return changed, nil
}

// Imported implements notifier.ImportLedger.
func (l *Ledger) Imported(ctx context.Context, after *notifier.SuppressionKey, limit int) ([]notifier.Suppression, error) {
	out, err := list(ctx, l, suppressionsIn(listImported, notifier.SuppressionQuery{After: after, Limit: limit}), scanSuppression)
	if err != nil {
		return nil, fmt.Errorf("list imported suppressions: %w", err)
	}
	for i := range out {
		out[i].Imported = true
	}
	return out, nil
}

// LiftImported implements notifier.ImportLedger.
func (l *Ledger) LiftImported(
	ctx context.Context, turn notifier.ImportTurn, lease time.Duration, keys []notifier.SuppressionKey,
) (lifted int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.keepTurn(ctx, tx, turn, lease); err != nil {
			return err
		}
		known, err := l.lockSuppressions(ctx, tx, listImported, keys)
		if err != nil {
			return err
		}
		var notes []note
		for _, key := range keys {
			before, ok := known[key]
			if !ok {
				continue
			}
			delete(known, key)
			n, err := noteOf(notifier.ActionUnsuppress, notifier.SubjectSuppression(key), suppressionStateOf(before), nil)
			if err != nil {
				return err
			}
			notes = append(notes, n)
		}
		if lifted = len(notes); lifted == 0 {
			return nil
		}
		param, err := keyBatch(keys)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM imported_suppressions WHERE (user_id, reason) IN
			(SELECT j.user_id, j.reason FROM `+l.records("user_id TEXT", "reason TEXT")+`)`, param)
		if err != nil {
			return fmt.Errorf("delete imported suppressions: %w", err)
		}
		return l.noteAll(ctx, tx, importer, notes)
	})
	if err != nil {
		return 0, fmt.Errorf("lift imported suppressions: %w", err)
	}
	return lifted, nil
}

// EndImport implements notifier.ImportLedger.
func (l *Ledger) EndImport(ctx context.Context, turn notifier.ImportTurn, succeeded bool, pause time.Duration) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		until, began := now, sqldb.Micros(turn.BegunAt)
		if !succeeded {
			until, began = now+pause.Microseconds(), 0
		}
		_, err = tx.ExecContext(ctx, `UPDATE suppression_imports SET lease_until = $1,
			succeeded_at = CASE WHEN CAST($2 AS BIGINT) > succeeded_at THEN $2 ELSE succeeded_at END
			WHERE id = 1 AND owner = $3 AND no = $4`, until, began, turn.Owner, turn.No)
		return err
	})
	if err != nil {
		return fmt.Errorf("end import: %w", err)
	}
	return nil
}
