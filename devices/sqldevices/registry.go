package sqldevices

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
)

// Canceller cancels what is queued for a device.
type Canceller interface {
	// CancelQueued cancels every delivery to the device that has not been sent
	// yet, within tx. The reason is one of devices.CancelReason.
	CancelQueued(ctx context.Context, tx *sql.Tx, device devices.ID, reason string) error
}

// Auditor writes down what operators do to devices.
type Auditor interface {
	// NoteDeactivation writes within tx that an operator has deactivated a device, and why they say
	// they did. Nothing is written after it in the transaction.
	NoteDeactivation(ctx context.Context, tx *sql.Tx, by devices.Operator, reason string, before, after devices.Device) error
}

// Config is what a Registry needs beside its database.
type Config struct {
	// Canceller is told when a device loses its user or its target; nil when
	// nothing is ever queued.
	Canceller Canceller
	// Auditor is told when an operator deactivates a device; without one DeactivateBy fails.
	Auditor Auditor
	// Now is the clock; nil means the database's, which all replicas agree on: whether a
	// device was there when a notification was made is told by that one.
	Now func() time.Time
}

// Registry stores devices and preferences.
type Registry struct {
	db        *sqldb.DB
	canceller Canceller
	auditor   Auditor
	now       func() time.Time
}

// New returns a registry over a migrated database.
func New(db *sqldb.DB, cfg Config) *Registry {
	r := &Registry{db: db, canceller: cfg.Canceller, auditor: cfg.Auditor, now: cfg.Now}
	if r.canceller == nil {
		r.canceller = nothingQueued{}
	}
	return r
}

type nothingQueued struct{}

// CancelQueued has nothing to cancel.
func (nothingQueued) CancelQueued(context.Context, *sql.Tx, devices.ID, string) error { return nil }

// maxTries bounds how often an activation starts again after another one got
// to a unique index first. A loser finds the winner's row on its next try, so
// each further try needs yet another activation to win in between.
const maxTries = 8

// Activate makes the device active for the user with what the app said, by the
// rules of devices.Activate, and returns it as stored. It returns Invalid
// faults, devices.ErrDeviceTaken and devices.ErrForeignClient.
func (r *Registry) Activate(ctx context.Context, user devices.UserID, id devices.ID, a devices.Activation) (devices.Device, error) {
	if err := errors.Join(user.Validate(), id.Validate()); err != nil {
		return devices.Device{}, err
	}
	if err := a.Validate(); err != nil {
		return devices.Device{}, err
	}
	var err error
	for range maxTries {
		var d devices.Device
		if d, err = r.activateOnce(ctx, user, id, a); err == nil {
			return d, nil
		}
		if !r.db.IsUniqueViolation(err) {
			break
		}
	}
	return devices.Device{}, fmt.Errorf("activate device %q: %w", id, err)
}

func (r *Registry) activateOnce(ctx context.Context, user devices.UserID, id devices.ID, a devices.Activation) (devices.Device, error) {
	var change devices.Change
	err := r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		current, holder, err := r.lockForActivation(ctx, tx, id, a.Target)
		if err != nil {
			return err
		}
		now, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		change, err = devices.Activate(now, user, id, a, current, holder)
		if err != nil {
			return err
		}
		// The former holder first: the unique index allows one active row at any moment.
		if d := change.Displaced; d != nil {
			if err := update(ctx, tx, *d); err != nil {
				return err
			}
			if err := r.cancel(ctx, tx, d.ID, devices.CancelTargetMoved); err != nil {
				return err
			}
		}
		switch {
		case current == nil:
			err = insert(ctx, tx, change.Device)
		case change.Write:
			err = update(ctx, tx, change.Device)
		}
		if err != nil {
			return err
		}
		return r.cancel(ctx, tx, id, change.Cancel)
	})
	return change.Device, err
}

// Deactivate stops everything to the device and cancels what is queued for it.
// Doing it again changes nothing. It returns devices.ErrUnknownDevice for an
// unknown device and for somebody else's.
func (r *Registry) Deactivate(ctx context.Context, user devices.UserID, id devices.ID) error {
	err := r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		d, err := r.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		now, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		change, err := devices.Deactivate(now, user, d)
		if err != nil || !change.Write {
			return err
		}
		if err := update(ctx, tx, change.Device); err != nil {
			return err
		}
		return r.cancel(ctx, tx, id, change.Cancel)
	})
	if err != nil {
		return fmt.Errorf("deactivate device %q: %w", id, err)
	}
	return nil
}

// DeactivateBy deactivates a device whosever it is, as its user would, and returns
// it as it stands then. It is in the audit, in the same transaction, with the
// reason, which may be empty. A device that is not active stays as it is, and
// nothing is audited. The device is active again when its app activates it the
// next time: nothing is remembered that would refuse that. It returns Invalid
// faults and devices.ErrUnknownDevice.
func (r *Registry) DeactivateBy(ctx context.Context, by devices.Operator, id devices.ID, reason string) (now devices.Device, err error) {
	if err := id.Validate(); err != nil {
		return devices.Device{}, err
	}
	if r.auditor == nil {
		return devices.Device{}, fmt.Errorf("deactivate device %q: there is no audit to write to", id)
	}
	err = r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := r.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		at, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		change, err := devices.Deactivate(at, before.User, before)
		if now = change.Device; err != nil || !change.Write {
			return err
		}
		if err := update(ctx, tx, change.Device); err != nil {
			return err
		}
		if err := r.cancel(ctx, tx, id, change.Cancel); err != nil {
			return err
		}
		return r.auditor.NoteDeactivation(ctx, tx, by, reason, before, change.Device)
	})
	if err != nil {
		return devices.Device{}, fmt.Errorf("deactivate device %q: %w", id, err)
	}
	return now, nil
}

// Retire marks the device retired because its provider declared its target
// dead, and tells whether it did. It does so only while the device is active
// and of the generation that the verdict was about: a newer generation has
// another target, about which nobody has said anything yet. The reason is a
// word of a closed set. What is queued stays: the device may come back with a
// new target before it expires, and the gates hold it back until then.
func (r *Registry) Retire(ctx context.Context, id devices.ID, generation int64, reason string) (bool, error) {
	const q = `UPDATE devices SET state = $1, retired_reason = $2, updated_at = $3
		WHERE id = $4 AND generation = $5 AND state = $6`
	var n int64
	err := r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, q, string(devices.Retired), reason, sqldb.Micros(now),
			string(id), generation, string(devices.Active))
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("retire device %q: %w", id, err)
	}
	return n > 0, nil
}

// RetireTarget marks the active device that is reached at target retired,
// because its provider reported the target dead in an event of before or later,
// and tells whether it did. It does nothing when there is no such device, or
// when anything about the device has changed, or its app has confirmed it, at
// before or later: then the event may be about what is no longer so. A target
// that is still dead fails again at the next push, with a later event.
//
// The reason is a word of a closed set. Asking again is harmless.
func (r *Registry) RetireTarget(ctx context.Context, target devices.Target, before time.Time, reason string) (bool, error) {
	const q = `UPDATE devices SET state = $1, retired_reason = $2, updated_at = $3
		WHERE provider = $4 AND target_value = $5 AND target_kind = $6 AND state = 'active' AND updated_at < $7`
	var n int64
	err := r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, q, string(devices.Retired), reason, sqldb.Micros(now),
			string(target.Provider()), target.Value.Reveal(), string(target.Kind), sqldb.Micros(before))
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("retire target: %w", err)
	}
	return n > 0, nil
}

// Device returns the user's device, devices.ErrUnknownDevice when there is none
// or it belongs to somebody else.
func (r *Registry) Device(ctx context.Context, user devices.UserID, id devices.ID) (devices.Device, error) {
	d, err := scanDevice(r.db.SQL().QueryRowContext(ctx, selectDevice+` WHERE id = $1 AND user_id = $2`, string(id), string(user)))
	if errors.Is(err, sql.ErrNoRows) {
		return devices.Device{}, devices.ErrUnknownDevice
	}
	if err != nil {
		return devices.Device{}, fmt.Errorf("read device %q: %w", id, err)
	}
	return d, nil
}

// MaxListed bounds the answer of Devices. A user has a handful; the bound is
// there for whoever activates a new id at each start of the app.
const MaxListed = 500

// Devices returns the user's devices in any state, the latest updated first,
// at most MaxListed. It is empty, not an error, for a user without any.
func (r *Registry) Devices(ctx context.Context, user devices.UserID) ([]devices.Device, error) {
	out, err := queryDevices(ctx, r.db.SQL(), selectDevice+` WHERE user_id = $1 ORDER BY updated_at DESC, id LIMIT $2`, string(user), MaxListed)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return out, nil
}

// stamp is now by the database's clock, or by that of the Config, in the
// resolution of the database.
func (r *Registry) stamp(ctx context.Context, tx *sql.Tx) (time.Time, error) {
	if r.now != nil {
		return r.now().UTC().Truncate(time.Microsecond), nil
	}
	return r.db.Now(ctx, tx)
}

func (r *Registry) cancel(ctx context.Context, tx *sql.Tx, id devices.ID, reason devices.CancelReason) error {
	if reason == "" {
		return nil
	}
	if err := r.canceller.CancelQueued(ctx, tx, id, string(reason)); err != nil {
		return fmt.Errorf("cancel queued for device %q: %w", id, err)
	}
	return nil
}
