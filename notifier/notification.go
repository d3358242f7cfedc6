package notifier

import (
	"time"

	"github.com/bugle-push/bugle/devices"
)

// NotificationID names a notification. Later notifications have larger ids, so
// that it serves as the sequence number by which an app drops an older one.
type NotificationID int64

// Class is why a user is told something. It decides the urgency where the rule does not, and an
// app finds it in the data of a push.
type Class string

// The classes.
const (
	// Transactional is about the user's own money: a bet settled.
	Transactional Class = "transactional"
	// Service is about something the user follows: a race postponed.
	Service Class = "service"
	// Marketing is everything that wants the user back: a race starting soon.
	Marketing Class = "marketing"
)

// Urgency orders lanes: high is claimed and sent apart from normal.
type Urgency string

// The urgencies.
const (
	High   Urgency = "high"
	Normal Urgency = "normal"
)

// AudienceKind says how a notification finds its devices.
type AudienceKind string

// The kinds of audience.
const (
	// AudienceUser is every active device of one user, named by a column.
	AudienceUser AudienceKind = "user"
	// AudienceAll is every active device.
	AudienceAll AudienceKind = "all"
	// AudienceFollows is every device that was, or may have been, sent another rule's notification of the same key.
	AudienceFollows AudienceKind = "follows"
)

// Audience is who a rule's notifications are for.
type Audience struct {
	Kind AudienceKind
	// Column names the user, for AudienceUser.
	Column string
	// Rule is the rule whose devices are told, for AudienceFollows.
	Rule string
}

// Draft is what a rule makes of one row, before the ledger knows whether it is news.
type Draft struct {
	// Key identifies the event for its audience: the rule's key columns, in a canonical text.
	Key string
	// VersionHash is a hash of the rule's version columns; another hash is another version.
	VersionHash string
	// Order says which of two versions is newer (larger). Zero for every row when the rule has no order.
	Order int64
	// User is the addressee; empty unless the audience is a user.
	User devices.UserID
	// Variant is the chosen variant; empty when the rule has one text.
	Variant  string
	Category string
	// ExpiresAt is when the notification is worth nothing any more; zero when that counts from its
	// creation (see Rule.Expiry).
	ExpiresAt time.Time
	// Arrival is when the row arrived: the value of watermark.column; zero when the rule has no watermark.
	Arrival time.Time
	// DueAt is when the event that is announced happened, where the rule says so (ttl.from), else zero.
	DueAt time.Time
	// Provisional says that the row is not final: see Rule.HeldUntil.
	Provisional bool
	Row         Row
}

// Notification is one event for one audience: a version of a rule's key.
type Notification struct {
	ID   NotificationID
	Rule string
	Draft
	// Version counts the versions of this rule and key, from 1.
	Version int
	Class   Class
	// Thread is what the notification replaces on screen: one thread for all versions of a key,
	// shared with the rule that it follows. At most 32 characters of base64url, so that it fits
	// Web Push's Topic (RFC 8030), APNs' collapse id (64 bytes) and Android's tag.
	Thread    string
	CreatedAt time.Time
}

// Message is the rendered notification for one device.
type Message struct {
	// NotificationID repeats at every attempt: an app drops an id that it has shown.
	NotificationID NotificationID
	// Thread is the tag and collapse id.
	Thread   string
	Category string
	Urgency  Urgency
	Class    Class
	Title    string
	Body     string
	// Link opens the right page of the app; empty for none.
	Link string
	// Data is what a rule adds for the app, beside the reserved keys that a sender sets itself.
	Data map[string]string
	// ExpiresAt bounds how long a provider may keep the message.
	ExpiresAt time.Time
	// Perishable messages lose their worth soon (a race starting): a provider that holds them for
	// an offline device keeps only the newest of the thread.
	Perishable bool
}
