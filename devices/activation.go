package devices

import (
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

// ConfirmEvery is how often a repeated, otherwise unchanged activation renews
// Device.UpdatedAt: often enough to tell a stale target from a living one
// (Google: "Best practices for FCM registration token management" counts in
// months), seldom enough that starting an app does not write each time.
const ConfirmEvery = 24 * time.Hour

// confirmEvery is ConfirmEvery for targets whose own value changes when the
// provider gives a new one. An Ably device keeps its id when its app renews the
// push token behind it, so that each activation of one is news: without it a
// report about the token before, read late, would retire the living device.
func confirmEvery(kind TargetKind) time.Duration {
	if kind == AblyDevice {
		return 0
	}
	return ConfirmEvery
}

// Activation is what an app says when it activates a device. Locale, TimeZone
// and AppVersion may be empty, which erases what was known.
type Activation struct {
	Platform Platform
	Target   Target
	// Locale is a BCP 47 tag; it is stored in its canonical spelling.
	Locale string
	// TimeZone is an IANA name.
	TimeZone   string
	AppVersion string
}

// Validate returns nil or an Invalid *fault.Error whose fields name every
// wrong part ("platform", "target.kind", "target.value", "locale",
// "time_zone", "app_version"). No message repeats a target's value.
func (a Activation) Validate() error {
	var fields []fault.Field
	add := func(path, message string) {
		if message != "" {
			fields = append(fields, fault.Field{Path: path, Message: message})
		}
	}
	add("platform", platformProblem(a.Platform))
	if part, message := targetProblem(a.Target); part != "" {
		add("target."+part, message)
	}
	add("locale", localeProblem(a.Locale))
	add("time_zone", timeZoneProblem(a.TimeZone))
	add("app_version", appVersionProblem(a.AppVersion))
	if len(fields) > 0 {
		return fault.InvalidFields("the activation is not valid", fields...)
	}
	return nil
}

// CancelReason says why what was queued for a device is not sent any more.
type CancelReason string

// The reasons for which a registry cancels what is queued.
const (
	// CancelDeactivated: the user deactivated the device, or an operator did.
	CancelDeactivated CancelReason = "deactivated"
	// CancelUserChanged: another user took the device over.
	CancelUserChanged CancelReason = "user_changed"
	// CancelTargetMoved: the target is active on another device now.
	CancelTargetMoved CancelReason = "target_moved"
)

// Change is what an activation comes to.
type Change struct {
	// Device is the device as it stands afterwards.
	Device Device
	// Write says that Device differs from what is stored.
	Write bool
	// Cancel is why what is queued for Device must be cancelled; empty when nothing must.
	Cancel CancelReason
	// Displaced is the other device that loses its target, already inactive; nil
	// when there is none. What is queued for it is cancelled with CancelTargetMoved.
	Displaced *Device
}

// Activate decides what an activation by user of the device id comes to. It is
// the whole of the rules and touches nothing:
//
//   - A new device starts at generation 1. The generation grows when the target
//     or the user changes and when a device comes back from inactive or retired.
//   - Another user takes a device over only by showing its current target, also
//     when it is not active (ErrDeviceTaken otherwise).
//   - A target that is active on another device moves here, whoever owns that
//     device: to know a registration token is to hold the installation. A client
//     id can be guessed, so an ably_client target must be the user's own
//     (ErrForeignClient), or anybody could silence anybody.
//   - Saying the same thing again changes nothing, except that UpdatedAt is
//     renewed once per ConfirmEvery, and each time for an Ably device.
//
// current is the device as stored, nil for a new one; holder is another device
// on which a's target is active, nil for none. A holder that is current, not
// active or holds another target is ignored. a must be valid, now is the time
// to stamp, in microseconds.
func Activate(now time.Time, user UserID, id ID, a Activation, current, holder *Device) (Change, error) {
	if a.Target.Kind == AblyClient && a.Target.Value.Reveal() != string(user) {
		return Change{}, ErrForeignClient
	}
	if current != nil && current.User != user && !current.Target.Equal(a.Target) {
		return Change{}, ErrDeviceTaken
	}
	next := Device{
		ID: id, User: user, Platform: a.Platform, Target: a.Target, Generation: 1, State: Active,
		Locale: canonicalLocale(a.Locale), TimeZone: a.TimeZone, AppVersion: a.AppVersion,
		ActivatedAt: now, UpdatedAt: now,
	}
	change := Change{Device: next, Write: true}
	if holder != nil && holder.ID != id && holder.State == Active && holder.Target.sameAddress(a.Target) {
		displaced := *holder
		displaced.State = Inactive
		displaced.UpdatedAt = now
		change.Displaced = &displaced
	}
	if current == nil {
		return change, nil
	}

	userChanged := current.User != user
	revived := current.State != Active
	if userChanged {
		change.Cancel = CancelUserChanged
	}
	next.Generation = current.Generation
	if userChanged || revived || !current.Target.Equal(a.Target) {
		next.Generation++
	}
	if !userChanged && !revived {
		next.ActivatedAt = current.ActivatedAt
	}
	unchanged := next
	unchanged.UpdatedAt = current.UpdatedAt
	if unchanged == *current && now.Sub(current.UpdatedAt) < confirmEvery(a.Target.Kind) {
		next, change.Write = unchanged, false
	}
	change.Device = next
	return change, nil
}

// Deactivate decides what a deactivation by user of the stored device d comes
// to: ErrUnknownDevice for somebody else's, no change for one that is not
// active any more.
func Deactivate(now time.Time, user UserID, d Device) (Change, error) {
	if d.User != user {
		return Change{}, ErrUnknownDevice
	}
	if d.State != Active {
		return Change{Device: d}, nil
	}
	d.State = Inactive
	d.UpdatedAt = now
	return Change{Device: d, Write: true, Cancel: CancelDeactivated}, nil
}
