package sqldevices

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/devices"
)

// Find returns a device whosever it is, for operators; devices.ErrUnknownDevice
// when there is none. What answers to users is Device.
func (r *Registry) Find(ctx context.Context, id devices.ID) (devices.Device, error) {
	d, err := scanDevice(r.db.SQL().QueryRowContext(ctx, selectDevice+` WHERE id = $1`, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return devices.Device{}, devices.ErrUnknownDevice
	}
	if err != nil {
		return devices.Device{}, fmt.Errorf("find device %q: %w", id, err)
	}
	return d, nil
}
