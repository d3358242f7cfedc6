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

var _ notifier.FleetLedger = (*Ledger)(nil)

// forgetReplica is how long a replica stays on record that was not heard of any more.
const forgetReplica = time.Hour

// Join implements notifier.FleetLedger.
func (l *Ledger) Join(ctx context.Context, r notifier.Replica) (since time.Time, err error) {
	err = l.fleet(ctx, func(ctx context.Context, tx *sql.Tx, now int64) error {
		since, r.Since = sqldb.Time(now), sqldb.Time(now)
		return l.seen(ctx, tx, r, now)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("join replicas: %w", err)
	}
	return since, nil
}

// Beat implements notifier.FleetLedger.
func (l *Ledger) Beat(ctx context.Context, r notifier.Replica) (inForce string, at time.Time, err error) {
	err = l.fleet(ctx, func(ctx context.Context, tx *sql.Tx, now int64) error {
		at = sqldb.Time(now)
		if err := l.seen(ctx, tx, r, now); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM replicas WHERE seen_at < $1`, now-forgetReplica.Microseconds())
		return err
	})
	if err == nil {
		inForce, err = l.rulesInForce(ctx, l.db.SQL())
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("tell replicas: %w", err)
	}
	return inForce, at, nil
}

// Leave implements notifier.FleetLedger.
func (l *Ledger) Leave(ctx context.Context, r notifier.Replica) error {
	err := l.fleet(ctx, func(ctx context.Context, tx *sql.Tx, _ int64) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM replicas WHERE owner = $1`, r.Owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("leave replicas: %w", err)
	}
	return nil
}

// Replicas lists the replicas that were heard of within the last hour, those
// with the newest rules first.
func (l *Ledger) Replicas(ctx context.Context) ([]notifier.ReplicaRecord, error) {
	now, err := l.db.Now(ctx, l.db.SQL())
	if err != nil {
		return nil, err
	}
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT owner, generation, version, since, seen_at,
		generation = COALESCE((SELECT f.generation FROM rules_in_force f), '') FROM replicas ORDER BY since DESC, owner DESC`)
	out, err := sqldb.Collect(rows, err, func(r *sql.Rows) (v notifier.ReplicaRecord, err error) {
		var since, seen int64
		err = r.Scan(&v.Owner, &v.Generation, &v.Version, &since, &seen, &v.InForce)
		v.Since, v.SeenAt = sqldb.Time(since), sqldb.Time(seen)
		v.Alive = now.Sub(v.SeenAt) < notifier.ReplicaLife
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	return out, nil
}

// fleet changes the record of the replicas and decides anew which rules are in
// force. Such changes follow one another.
func (l *Ledger) fleet(ctx context.Context, change func(ctx context.Context, tx *sql.Tx, now int64) error) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := l.db.Lock(ctx, tx, "replicas"); err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		// While nobody could be heard, because the database was away, nobody's silence says
		// anything: else the first to speak again would be the only one alive.
		_, err = tx.ExecContext(ctx, `UPDATE replicas SET seen_at = $1 WHERE seen_at > $2
			AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.seen_at > $3)`,
			now, now-forgetReplica.Microseconds(), now-notifier.ReplicaLife.Microseconds())
		if err != nil {
			return fmt.Errorf("excuse silent replicas: %w", err)
		}
		if err := change(ctx, tx, now); err != nil {
			return err
		}
		// Where nobody is alive, the last ones stay in force: whoever comes next joins first.
		_, err = tx.ExecContext(ctx, `INSERT INTO rules_in_force (id, generation, since)
			SELECT 1, r.generation, CAST($2 AS BIGINT) FROM (SELECT generation FROM replicas WHERE seen_at > $1 ORDER BY since DESC, owner DESC LIMIT 1) r WHERE TRUE
			ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, since = excluded.since WHERE rules_in_force.generation <> excluded.generation`,
			now-notifier.ReplicaLife.Microseconds(), now)
		if err != nil {
			return fmt.Errorf("decide which rules are in force: %w", err)
		}
		return nil
	})
}

func (l *Ledger) seen(ctx context.Context, tx *sql.Tx, r notifier.Replica, now int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO replicas (owner, generation, version, since, seen_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (owner) DO UPDATE SET generation = excluded.generation, version = excluded.version, since = excluded.since, seen_at = excluded.seen_at`,
		r.Owner, r.Generation, r.Version, sqldb.Micros(r.Since), now)
	if err != nil {
		return fmt.Errorf("write replica: %w", err)
	}
	return nil
}

// rulesInForce is the generation of the rules in force, empty when no replica has ever joined.
func (l *Ledger) rulesInForce(ctx context.Context, q sqldb.Queryer) (generation string, err error) {
	err = q.QueryRowContext(ctx, `SELECT generation FROM rules_in_force WHERE id = 1`).Scan(&generation)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read which rules are in force: %w", err)
	}
	return generation, nil
}
