package fcm

import (
	"net/http"
	"slices"
	"time"
)

// APNsFailure is what APNs says about an iOS device.
type APNsFailure int

const (
	// APNsOK is no failure.
	APNsOK APNsFailure = iota
	// APNsUnregistered is 404 UNREGISTERED with ApnsError 410 Unregistered.
	APNsUnregistered
	// APNsDisabled is 400 "APNs device token is disabled." with ApnsError 410
	// Unregistered.
	APNsDisabled
	// APNsBadDeviceToken is 400 INVALID_ARGUMENT with ApnsError 400
	// BadDeviceToken.
	APNsBadDeviceToken
	// APNsInvalidProviderToken is 401 THIRD_PARTY_AUTH_ERROR with ApnsError
	// 403 InvalidProviderToken: the project's key is refused.
	APNsInvalidProviderToken
	// APNsBadEnvironment is 401 THIRD_PARTY_AUTH_ERROR with ApnsError 403
	// BadEnvironmentKeyInToken.
	APNsBadEnvironment
)

// Storage limits. Source: Google, "Non-collapsible and collapsible messages".
const (
	maxCollapseKeys = 4
	maxPending      = 100
)

// device is what was said about one target. Targets nothing was said about
// have none.
type device struct {
	platform     string // of a target registered by hand
	registered   bool
	unregistered bool
	lastSend     bool // the next send still gets 200, then unregistered
	apns         APNsFailure
	offline      bool
	pending      []Accepted
	overflowed   bool
}

// device returns the record of a target, making it. s.mu must be held.
func (s *Server) device(target string) *device {
	d, ok := s.devices[target]
	if !ok {
		d = &device{}
		s.devices[target] = d
	}
	return d
}

// RegisterToken makes a token of the caller's own known to the project, as if
// it had been minted. It must have the shape of a registration token.
func (s *Server) RegisterToken(token, platform string) {
	platformCode(platform) // panics for an unknown one
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.device(token)
	d.platform, d.registered, d.unregistered = platform, true, false
}

// Unregister makes a target answer 404 UNREGISTERED from now on.
func (s *Server) Unregister(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device(target).unregistered = true
}

// UnregisterSoon makes a target answer 404 UNREGISTERED after one more send
// was accepted, as happens after an app's deleteToken.
func (s *Server) UnregisterSoon(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device(target).lastSend = true
}

// SetAPNs makes sends to an iOS target fail as given, or succeed with
// [APNsOK]. Targets of other platforms ignore it.
func (s *Server) SetAPNs(target string, f APNsFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device(target).apns = f
}

// SetOffline makes the service store what it accepts for a target until
// [Server.SetOnline]. Storage follows the documented rules: a message is kept
// until it expires, one of the same collapse key replaces the older, an Android
// device has four keys (a fifth evicts the oldest here; the service evicts
// any), and beyond 100 messages without a key all of those are dropped. The
// key is android.collapse_key, apns-collapse-id or the Web Push header Topic.
func (s *Server) SetOffline(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device(target).offline = true
}

// SetOnline ends SetOffline and returns the stored messages that the device
// now gets. deleted reports that messages were dropped beyond 100, for which
// an Android app gets onDeletedMessages.
func (s *Server) SetOnline(target string) (delivered []Accepted, deleted bool) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.device(target)
	delivered = slices.DeleteFunc(d.pending, func(a Accepted) bool { return !a.Expiration.After(now) })
	deleted = d.overflowed
	d.offline, d.pending, d.overflowed = false, nil, false
	return delivered, deleted
}

// store keeps a message for an offline device. s.mu must be held.
func (d *device) store(a Accepted, key string) {
	if !a.Expiration.After(a.At) {
		return // "now or never", and it is not now
	}
	d.pending = slices.DeleteFunc(d.pending, func(p Accepted) bool { return !p.Expiration.After(a.At) })
	if key == "" {
		n := 0
		for _, p := range d.pending {
			if collapse(p) == "" {
				n++
			}
		}
		if n >= maxPending {
			d.pending = slices.DeleteFunc(d.pending, func(p Accepted) bool { return collapse(p) == "" })
			d.overflowed = true
			return
		}
		d.pending = append(d.pending, a)
		return
	}
	d.pending = slices.DeleteFunc(d.pending, func(p Accepted) bool { return collapse(p) == key })
	if a.Platform == Android {
		// Every key is there once, so that pending keys are counted by message.
		keyed := 0
		for _, p := range d.pending {
			if collapse(p) != "" {
				keyed++
			}
		}
		if keyed >= maxCollapseKeys {
			oldest := slices.IndexFunc(d.pending, func(p Accepted) bool { return collapse(p) != "" })
			d.pending = slices.Delete(d.pending, oldest, oldest+1)
		}
	}
	d.pending = append(d.pending, a)
}

// collapse is the key under which messages replace each other in storage.
func collapse(a Accepted) string {
	switch a.Platform {
	case IOS:
		return a.CollapseID
	case Web:
		return a.webTopic
	}
	return a.CollapseKey
}

// platformOfTarget looks a message's target up: its platform, and the answer
// if it cannot be sent to.
func (s *Server) platformOfTarget(msg fields) (platform string, refused *answer) {
	target := msg.str("token") + msg.str("fid")
	if target == "" {
		return "", nil // a topic, a condition or nothing
	}
	// The field token takes an installation id as well, during the transition
	// from the one to the other that the reference describes.
	in, ok := s.keys.parseFID(target)
	ok = ok && in.kind&ofFID != 0
	if !ok && !msg.has("fid") {
		in, ok = s.keys.parseToken(target)
		ok = ok && in.kind&ofFID == 0
	}
	s.mu.Lock()
	d := s.devices[target]
	known := d != nil && d.registered
	if known {
		in.platform = d.platform
	}
	gone := d != nil && d.unregistered
	var apns APNsFailure
	if d != nil && in.platform == IOS {
		apns = d.apns
	}
	s.mu.Unlock()
	switch {
	case !ok && !known && !s.keys.shaped(target):
		return "", invalidToken()
	case gone, !ok && !known:
		// A well-shaped target nobody issued: answered like one that has gone.
		return in.platform, unregistered()
	case in.kind&ofForeign != 0:
		return in.platform, senderIDMismatch()
	}
	return in.platform, apnsAnswer(apns)
}

func apnsAnswer(f APNsFailure) *answer {
	switch f {
	case APNsUnregistered:
		return unregistered(apnsError(http.StatusGone, "Unregistered"))
	case APNsDisabled:
		return badAPNs("APNs device token is disabled.", http.StatusGone, "Unregistered")
	case APNsBadDeviceToken:
		return badAPNs("Request contains an invalid argument.", http.StatusBadRequest, "BadDeviceToken")
	case APNsInvalidProviderToken:
		return thirdPartyAuth(apnsError(http.StatusForbidden, "InvalidProviderToken"))
	case APNsBadEnvironment:
		return thirdPartyAuth(apnsError(http.StatusForbidden, "BadEnvironmentKeyInToken"))
	case APNsOK:
	}
	return nil
}

// window counts sends in a fixed span that begins with its first send.
type window struct {
	start time.Time
	used  int
}

// take uses one of limit, or reports the time until there is room again.
func (w *window) take(now time.Time, limit int) (ok bool, wait time.Duration) {
	if now.Sub(w.start) >= time.Minute || now.Before(w.start) {
		*w = window{start: now}
	}
	if w.used >= limit {
		return false, w.start.Add(time.Minute).Sub(now)
	}
	w.used++
	return true, 0
}

// deviceWindow counts messages per device in spans common to all devices,
// which keeps its memory to the sends of one span.
type deviceWindow struct {
	start time.Time
	used  map[messageKey]int
}

func (w *deviceWindow) take(now time.Time, key messageKey, limit int) bool {
	if w.used == nil || now.Sub(w.start) >= time.Minute || now.Before(w.start) {
		w.start, w.used = now, map[messageKey]int{}
	}
	if w.used[key] >= limit {
		return false
	}
	w.used[key]++
	return true
}
