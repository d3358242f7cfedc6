package sqldevices

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
)

const selectDevice = `SELECT id, user_id, platform, target_kind, target_value, generation, state,
	locale, time_zone, app_version, activated_at, updated_at, retired_reason FROM devices`

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

type scanner interface{ Scan(dest ...any) error }

func scanDevice(row scanner) (devices.Device, error) {
	var (
		d                    devices.Device
		value                string
		activated, updatedAt int64
	)
	err := row.Scan(&d.ID, &d.User, &d.Platform, &d.Target.Kind, &value, &d.Generation, &d.State,
		&d.Locale, &d.TimeZone, &d.AppVersion, &activated, &updatedAt, &d.RetiredReason)
	if err != nil {
		return devices.Device{}, err
	}
	d.Target.Value = devices.Secret(value)
	d.ActivatedAt, d.UpdatedAt = sqldb.Time(activated), sqldb.Time(updatedAt)
	return d, nil
}

func queryDevices(ctx context.Context, db queryer, query string, args ...any) (_ []devices.Device, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []devices.Device
	for rows.Next() {
		d, err := scanDevice(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

// lockForActivation reads and locks the device with the id and the active
// device that holds the target, either nil when there is none. One statement
// locks both in the order of their ids; the inner one names them by index. Who
// else wants the target waits: what a row says after a wait for its lock is not
// what the inner statement has seen.
func (r *Registry) lockForActivation(ctx context.Context, tx *sql.Tx, id devices.ID, target devices.Target) (current, holder *devices.Device, err error) {
	if err := r.db.Lock(ctx, tx, "target "+string(target.Provider())+" "+target.Value.Reveal()); err != nil {
		return nil, nil, err
	}
	query := selectDevice + ` WHERE id IN (
		SELECT id FROM devices WHERE id = $1
		UNION SELECT id FROM devices WHERE provider = $2 AND target_value = $3 AND state = 'active'
	) ORDER BY id` + r.db.Dialect().ForUpdate
	found, err := queryDevices(ctx, tx, query, string(id), string(target.Provider()), target.Value.Reveal())
	if err != nil {
		return nil, nil, fmt.Errorf("lock devices: %w", err)
	}
	for i := range found {
		if found[i].ID == id {
			current = &found[i]
		} else {
			holder = &found[i]
		}
	}
	return current, holder, nil
}

func (r *Registry) lock(ctx context.Context, tx *sql.Tx, id devices.ID) (devices.Device, error) {
	d, err := scanDevice(tx.QueryRowContext(ctx, selectDevice+` WHERE id = $1`+r.db.Dialect().ForUpdate, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return devices.Device{}, devices.ErrUnknownDevice
	}
	return d, err
}

func insert(ctx context.Context, tx *sql.Tx, d devices.Device) error {
	const q = `INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state,
		locale, time_zone, app_version, activated_at, updated_at, retired_reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	_, err := tx.ExecContext(ctx, q, columns(d)...)
	return err
}

func update(ctx context.Context, tx *sql.Tx, d devices.Device) error {
	const q = `UPDATE devices SET user_id = $2, platform = $3, provider = $4, target_kind = $5, target_value = $6,
		generation = $7, state = $8, locale = $9, time_zone = $10, app_version = $11,
		activated_at = $12, updated_at = $13, retired_reason = $14
		WHERE id = $1`
	_, err := tx.ExecContext(ctx, q, columns(d)...)
	return err
}

func columns(d devices.Device) []any {
	return []any{
		string(d.ID), string(d.User), string(d.Platform),
		string(d.Target.Provider()), string(d.Target.Kind), d.Target.Value.Reveal(),
		d.Generation, string(d.State), d.Locale, d.TimeZone, d.AppVersion,
		sqldb.Micros(d.ActivatedAt), sqldb.Micros(d.UpdatedAt), d.RetiredReason,
	}
}
