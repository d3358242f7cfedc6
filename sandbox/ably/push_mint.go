package ably

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
)

// MintDevice registers a device of the given platform ([Android], [IOS] or
// [Browser]; "web" is taken for the last) with the transport that goes with it,
// and returns its id. An empty clientID registers an anonymous device. It
// panics for another platform.
func (s *Server) MintDevice(clientID, platform string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	sum := sha256.Sum256(s.derive("device " + strconv.FormatUint(s.ids, 10)))
	id := fmt.Sprintf("%X", sum[:13]) // like the ULIDs that the SDKs make
	token := base64.RawURLEncoding.EncodeToString(sum[:])
	d := &device{id: id, clientID: clientID, platform: platform, formFactor: "phone", state: stateActive, secret: token}
	switch platform {
	case Android:
		d.recipient = object{"transportType": transportFCM, "registrationToken": token}
	case IOS:
		d.recipient = object{"transportType": transportAPNs, "deviceToken": fmt.Sprintf("%x", sum)}
	case Browser, "web":
		d.platform, d.formFactor = Browser, "desktop"
		d.recipient = object{
			"transportType": transportWeb, "targetUrl": "https://push.invalid/" + token, "publicVapidKey": token,
			"encryptionKey": map[string]any{"p256dh": token, "auth": token[:16]},
		}
	default:
		panic("ably: unknown platform " + platform)
	}
	s.putDevice(d)
	return id
}

// KillDevice makes the device's transport token invalid, as happens when the
// app is removed: pushes are accepted still and fail with 103005 on the push
// log, and the registration goes to FAILING and, after [Config.FailAfter] in a
// row, to FAILED. A registration with another recipient revives it. The error
// is [ErrUnknownDevice].
func (s *Server) KillDevice(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.devices[id]
	if !known {
		return ErrUnknownDevice
	}
	d.dead = true
	return nil
}

// DeviceState returns the state of a registration: "ACTIVE", "FAILING" or
// "FAILED". The error is [ErrUnknownDevice].
func (s *Server) DeviceState(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.devices[id]
	if !known {
		return "", ErrUnknownDevice
	}
	return d.state, nil
}

// RemoveDevice removes a registration, as a device does that deactivates push.
// Publishing to it is then a 404. An unknown device is no error.
func (s *Server) RemoveDevice(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, known := s.devices[id]; known {
		s.dropDevice(d)
	}
}
