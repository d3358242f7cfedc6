package devices

import "github.com/bugle-push/bugle/internal/fault"

// The errors that callers branch on. They carry their fault.Kind, and may be wrapped.
var (
	// ErrUnknownDevice says that there is no such device, or that it belongs to
	// somebody else: the two are never told apart, so that nobody can find out
	// which ids exist.
	ErrUnknownDevice error = fault.New(fault.NotFound, "there is no such device")
	// ErrDeviceTaken says that the id belongs to another user and the caller did
	// not show the device's current target.
	ErrDeviceTaken error = fault.New(fault.Conflict,
		"the device id belongs to another user: show the device's current target, or choose a new id")
	// ErrForeignClient says that an Ably client target names somebody else.
	ErrForeignClient error = fault.New(fault.Forbidden, "an ably_client target must be the caller's own client id")
)
