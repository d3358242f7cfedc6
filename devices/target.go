package devices

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"

	"github.com/rs/zerolog"
)

// TargetKind is the kind of address that a provider knows a device by.
type TargetKind string

// The kinds of targets.
const (
	// FCMToken is a Firebase registration token.
	FCMToken TargetKind = "fcm_token"
	// FCMFID is a Firebase installation id, which replaces registration tokens
	// for apps that opted in.
	FCMFID TargetKind = "fcm_fid"
	// AblyDevice is the id of a device registered for push with Ably.
	AblyDevice TargetKind = "ably_device"
	// AblyClient is an Ably clientId: every device registered under it.
	AblyClient TargetKind = "ably_client"
)

// Provider is the service that takes a push for a target.
type Provider string

// The providers.
const (
	FCM  Provider = "fcm"
	Ably Provider = "ably"
)

// Target is where a device is reached.
type Target struct {
	Kind  TargetKind
	Value Secret
}

// Provider returns the provider that serves the target's kind, "" for an unknown kind.
func (t Target) Provider() Provider {
	switch t.Kind {
	case FCMToken, FCMFID:
		return FCM
	case AblyDevice, AblyClient:
		return Ably
	}
	return ""
}

// Equal tells whether both are the same kind and value. It takes the same time
// wherever they differ, because a target is what proves who holds a device.
func (t Target) Equal(o Target) bool {
	return t.Kind == o.Kind && t.Value.equal(o.Value)
}

// sameAddress tells whether both reach the same place: the provider and value
// by which a target is active on one device at a time.
func (t Target) sameAddress(o Target) bool {
	return t.Provider() == o.Provider() && t.Value.equal(o.Value)
}

// Secret is a value that must not reach a log: whoever holds a registration
// token can push to the device. It decodes from text as it is; whatever prints
// it gets a short hash. Reveal returns the value itself.
type Secret string

// Reveal returns the value, for the one place that must send or store it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(o)) == 1
}

// String returns a short hash that names the value without telling it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// GoString keeps the value out of %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps the value out of JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the value as it is.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}

// MarshalZerologObject logs the kind and the hash.
func (t Target) MarshalZerologObject(e *zerolog.Event) {
	e.Str("kind", string(t.Kind)).Stringer("hash", t.Value)
}
