package sqldevices

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bugle-push/bugle/devices"
)

// exportedDevice is a device as it is handed out: of its target, the hash.
type exportedDevice struct {
	devices.Device
	Target string
}

// CountUser counts the user's devices and preferences.
func (r *Registry) CountUser(ctx context.Context, user devices.UserID) (map[string]int64, error) {
	var n, chosen int64
	err := r.db.SQL().QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM devices WHERE user_id = $1), (SELECT COUNT(*) FROM preferences WHERE user_id = $1)`,
		string(user)).Scan(&n, &chosen)
	if err != nil {
		return nil, fmt.Errorf("count devices and preferences: %w", err)
	}
	return map[string]int64{"devices": n, "preferences": chosen}, nil
}

// ExportUser hands out the user's devices, without their targets, and preferences.
func (r *Registry) ExportUser(ctx context.Context, user devices.UserID, emit func(kind string, record any) error) error {
	found, err := r.Devices(ctx, user)
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := emit("device", exportedDevice{Device: d, Target: string(d.Target.Kind) + " " + d.Target.Value.String()}); err != nil {
			return err
		}
	}
	p, err := r.Preferences(ctx, user)
	if err != nil {
		return err
	}
	return emit("preferences", p)
}

// EraseUser removes the user's devices and preferences, all of them: a user has a few. Nothing may
// be on its way to them any more.
func (r *Registry) EraseUser(ctx context.Context, user devices.UserID, _ int) (erased map[string]int64, waiting int64, more bool, err error) {
	err = r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		erased = map[string]int64{}
		for kind, query := range map[string]string{
			"devices": `DELETE FROM devices WHERE user_id = $1`, "preferences": `DELETE FROM preferences WHERE user_id = $1`,
		} {
			res, err := tx.ExecContext(ctx, query, string(user))
			if err != nil {
				return fmt.Errorf("erase %s: %w", kind, err)
			}
			if erased[kind], err = res.RowsAffected(); err != nil {
				return fmt.Errorf("erase %s: %w", kind, err)
			}
		}
		return nil
	})
	return erased, 0, false, err
}
