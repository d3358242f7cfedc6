package devices

import "time"

// ID names a device. The app chooses it, once per installation.
type ID string

// UserID names a user: the subject of the token that the app presents.
type UserID string

// Platform is what kind of app a device runs.
type Platform string

// The platforms.
const (
	Android Platform = "android"
	IOS     Platform = "ios"
	Web     Platform = "web"
)

// State is whether a device may be sent to.
type State string

// The states of a device.
const (
	// Active devices receive notifications.
	Active State = "active"
	// Inactive devices were deactivated by their user or an operator, or lost their target to another
	// device; a new activation revives them.
	Inactive State = "inactive"
	// Retired devices had a target that its provider declared dead; a new activation revives them.
	Retired State = "retired"
)

// Device is one installation of the app and how it is reached.
type Device struct {
	ID       ID
	User     UserID
	Platform Platform
	Target   Target
	// Generation starts at 1 and grows by one whenever the target or the user changes and
	// whenever the device is revived. A verdict about an older generation says nothing about
	// this one.
	Generation int64
	State      State
	// Locale is a BCP 47 tag such as "en-GB"; empty means the default texts.
	Locale string
	// TimeZone is an IANA name such as "Europe/London"; empty means UTC.
	TimeZone   string
	AppVersion string
	// ActivatedAt is when the device last became active for its user: new, revived
	// or taken over.
	ActivatedAt time.Time
	// UpdatedAt is when anything about it last changed, or when its app last said
	// the same again, to within ConfirmEvery (an Ably device: at once).
	UpdatedAt time.Time
	// RetiredReason is the provider's reason, in a closed set of words; empty unless retired.
	RetiredReason string
}
