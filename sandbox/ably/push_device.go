package ably

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
)

// States of a device's push. Source: Ably, "Push device state".
const (
	stateActive  = "ACTIVE"
	stateFailing = "FAILING"
	stateFailed  = "FAILED"
)

// device is a device registration.
type device struct {
	id, clientID, platform, formFactor string
	metadata                           object
	secret                             string
	recipient                          object
	state                              string
	err                                *errorInfo
	failures                           int
	dead                               bool // its transport token is not valid any more
}

// deviceDetails is a registration as answered.
type deviceDetails struct {
	ID            string         `json:"id"`
	ClientID      string         `json:"clientId,omitempty"`
	Platform      string         `json:"platform"`
	FormFactor    string         `json:"formFactor"`
	Metadata      map[string]any `json:"metadata"`
	Push          pushDetails    `json:"push"`
	IdentityToken *identityToken `json:"deviceIdentityToken,omitempty"`
}

type pushDetails struct {
	Recipient map[string]any `json:"recipient"`
	State     string         `json:"state"`
	Error     *errorInfo     `json:"error,omitempty"`
}

// identityToken is what a device shows as proof of who it is.
type identityToken struct {
	Token    string `json:"token"`
	DeviceID string `json:"deviceId"`
	KeyName  string `json:"keyName"`
	Issued   int64  `json:"issued"`
	Expires  int64  `json:"expires"`
}

func (d *device) details() deviceDetails {
	meta := d.metadata
	if meta == nil {
		meta = object{}
	}
	return deviceDetails{
		ID: d.id, ClientID: d.clientID, Platform: d.platform, FormFactor: d.formFactor, Metadata: meta,
		Push: pushDetails{Recipient: d.recipient, State: d.state, Error: d.err},
	}
}

func (d *device) target() target {
	address, _ := addressOf(d.recipient)
	return target{
		deviceID: d.id, clientID: d.clientID, platform: d.platform,
		transport: canonicalTransport(d.recipient.str("transportType")), address: address, fields: d.recipient, dev: d,
	}
}

// failed notes a failed push: the device is failing, and after some in a row
// failed.
func (d *device) failed(e *errorInfo, failAfter int) {
	d.failures++
	d.state, d.err = stateFailing, e
	if d.failures >= failAfter {
		d.state = stateFailed
	}
}

func sortedDevices(m map[string]*device) []*device {
	return slices.SortedFunc(maps.Values(m), func(a, b *device) int { return cmp.Compare(a.id, b.id) })
}

// putDevice enters a registration. s.mu must be held.
func (s *Server) putDevice(d *device) {
	if old, known := s.devices[d.id]; known {
		delete(s.byClient[old.clientID], d.id)
	}
	s.devices[d.id] = d
	if d.clientID != "" {
		if s.byClient[d.clientID] == nil {
			s.byClient[d.clientID] = map[string]*device{}
		}
		s.byClient[d.clientID][d.id] = d
	}
}

// dropDevice removes a registration and its subscriptions. s.mu must be held.
func (s *Server) dropDevice(d *device) {
	delete(s.devices, d.id)
	delete(s.byClient[d.clientID], d.id)
	for sub := range s.subs {
		if sub.DeviceID == d.id {
			delete(s.subs, sub)
		}
	}
}

// deviceToken makes a device's identity token.
func (s *Server) deviceToken(id string) string {
	mac := hmac.New(sha256.New, s.signing)
	mac.Write([]byte("device " + id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// isDevice reports whether the request proves to come from the device itself.
// s.mu must be held.
func (x *request) isDevice(d *device) bool {
	given := func(header string) string {
		v := x.r.Header.Get(header)
		if b, err := base64.StdEncoding.DecodeString(v); err == nil && len(b) > 0 {
			return string(b)
		}
		return v
	}
	if t := given("X-Ably-DeviceToken"); t != "" && hmac.Equal([]byte(t), []byte(x.s.deviceToken(d.id))) {
		return true
	}
	secret := x.r.Header.Get("X-Ably-DeviceSecret")
	return secret != "" && hmac.Equal([]byte(secret), []byte(d.secret))
}

// routeDevices is /push/deviceRegistrations.
func (x *request) routeDevices() *answer {
	switch x.r.Method {
	case http.MethodPost:
		return x.saveDevice("")
	case http.MethodGet:
		return x.listDevices()
	case http.MethodDelete:
		return x.removeDevices()
	}
	return refuse(fail(codeMethod, "method not allowed"))
}

// routeDevice is /push/deviceRegistrations/{id}.
func (x *request) routeDevice(id string) *answer {
	switch x.r.Method {
	case http.MethodPut:
		return x.saveDevice(id)
	case http.MethodPatch:
		return x.patchDevice(id)
	case http.MethodGet, http.MethodDelete:
	default:
		return refuse(fail(codeMethod, "method not allowed"))
	}
	s, admin := x.s, x.who.mayAnywhere(opPushAdmin)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.devices[id]
	if !admin && (!known || !x.isDevice(d)) {
		return refuse(denied(opPushAdmin, "the device"))
	}
	if x.r.Method == http.MethodDelete {
		if known {
			s.dropDevice(d)
		}
		return noContent() // also for a device that is unknown
	}
	if !known {
		return refuse(notFound("device"))
	}
	return ok(d.details())
}

// deviceOf reads a registration. The caller knows the id from the path, or it
// is in the body.
func deviceOf(body object, id string) (*device, *errorInfo) {
	if id == "" {
		id = body.str("id")
	}
	if id == "" || body.str("id") != "" && body.str("id") != id {
		return nil, fail(codeDeviceID, "invalid device id")
	}
	d := &device{
		id: id, clientID: body.str("clientId"), platform: body.str("platform"), formFactor: body.str("formFactor"),
		metadata: body.sub("metadata"), secret: body.str("deviceSecret"), recipient: body.sub("push").sub("recipient"), state: stateActive,
	}
	switch {
	case !slices.Contains([]string{Android, IOS, Browser}, d.platform):
		return nil, fail(codeBadRequest, "invalid platform")
	case !slices.Contains([]string{"phone", "tablet", "desktop", "tv", "watch", "car", "embedded", "other"}, d.formFactor):
		return nil, fail(codeBadRequest, "invalid formFactor")
	}
	if _, e := addressOf(d.recipient); e != nil {
		return nil, e
	}
	return d, nil
}

// saveDevice is POST (activation by the device) and PUT (by an administrator).
func (x *request) saveDevice(id string) *answer {
	s := x.s
	admin := x.who.mayAnywhere(opPushAdmin)
	if !admin && (id != "" || !x.who.mayAnywhere(opPushSubscribe)) {
		return refuse(denied(opPushAdmin, "device registrations"))
	}
	body, e := x.object(s.cfg.MaxMessageSize)
	if e != nil {
		return refuse(e)
	}
	d, e := deviceOf(body, id)
	if e != nil {
		return refuse(e)
	}
	if !admin {
		if d.clientID == "" {
			d.clientID = x.who.identity()
		}
		if !x.who.actsAs(d.clientID) {
			return refuse(fail(codeClientMismatch, "clientId of the registration is not that of the credentials"))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.devices[d.id]; known {
		if !admin && !x.isDevice(old) && (d.secret == "" || d.secret != old.secret) {
			return refuse(denied(opPushAdmin, "the device"))
		}
		if old.platform != d.platform || old.formFactor != d.formFactor || d.secret != "" && old.secret != "" && d.secret != old.secret {
			return refuse(fail(codeBadRequest, "a field that cannot change differs from the registration"))
		}
		if d.secret == "" {
			d.secret = old.secret
		}
		d.keepFailure(old)
	}
	s.putDevice(d)
	out := d.details()
	if id != "" {
		return ok(out)
	}
	now := s.cfg.Now().UnixMilli()
	out.IdentityToken = &identityToken{
		Token: s.deviceToken(d.id), DeviceID: d.id, KeyName: x.who.key.name, Issued: now, Expires: now + 365*24*3600*1000,
	}
	return &answer{status: http.StatusCreated, body: out}
}

// keepFailure carries the state over from a registration with the same
// recipient; another recipient begins anew.
func (d *device) keepFailure(old *device) {
	a, _ := addressOf(old.recipient)
	b, _ := addressOf(d.recipient)
	if a == b {
		d.state, d.err, d.failures, d.dead = old.state, old.err, old.failures, old.dead
	}
}

// patchDevice changes what may change: clientId, metadata and push.recipient.
func (x *request) patchDevice(id string) *answer {
	s := x.s
	admin := x.who.mayAnywhere(opPushAdmin)
	body, e := x.object(s.cfg.MaxMessageSize)
	if e != nil {
		return refuse(e)
	}
	for name := range body {
		switch name {
		case "push":
		case "clientId", "metadata":
			if !admin {
				return refuse(denied(opPushAdmin, "the device"))
			}
		default:
			return refuse(fail(codeBadRequest, "only clientId, metadata and push.recipient can be changed"))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.devices[id]
	switch {
	case !admin && (!known || !x.isDevice(old)):
		return refuse(denied(opPushAdmin, "the device"))
	case !known:
		return refuse(notFound("device"))
	}
	d := new(*old)
	if _, has := body["clientId"]; has {
		d.clientID = body.str("clientId")
	}
	if _, has := body["metadata"]; has {
		d.metadata = body.sub("metadata")
	}
	if r := body.sub("push").sub("recipient"); r != nil {
		if _, e := addressOf(r); e != nil {
			return refuse(e)
		}
		d.recipient, d.state, d.err, d.failures, d.dead = r, stateActive, nil, 0, false
		d.keepFailure(old)
	}
	s.putDevice(d)
	return ok(d.details())
}

// resetUpdateToken gives a device a new identity token; the stand-in's do not
// change.
func (x *request) resetUpdateToken(id string) *answer {
	s, admin := x.s, x.who.mayAnywhere(opPushAdmin)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.devices[id]
	switch {
	case !admin && (!known || !x.isDevice(d)):
		return refuse(denied(opPushAdmin, "the device"))
	case !known:
		return refuse(notFound("device"))
	}
	out := d.details()
	out.IdentityToken = &identityToken{Token: s.deviceToken(id), DeviceID: id, KeyName: x.who.key.name}
	return ok(out)
}

func (x *request) listDevices() *answer {
	s := x.s
	if !x.who.mayAnywhere(opPushAdmin) {
		return refuse(denied(opPushAdmin, "device registrations"))
	}
	deviceID, clientID, state := x.q.Get("deviceId"), x.q.Get("clientId"), x.q.Get("state")
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.devices
	if clientID != "" {
		from = s.byClient[clientID]
	}
	out := []deviceDetails{}
	for _, d := range sortedDevices(from) {
		if (deviceID == "" || d.id == deviceID) && (state == "" || d.state == state) {
			out = append(out, d.details())
		}
	}
	items, links, e := page(x, out, "deviceRegistrations")
	if e != nil {
		return refuse(e)
	}
	return &answer{status: http.StatusOK, body: items, links: links}
}

func (x *request) removeDevices() *answer {
	s := x.s
	if !x.who.mayAnywhere(opPushAdmin) {
		return refuse(denied(opPushAdmin, "device registrations"))
	}
	deviceID, clientID := x.q.Get("deviceId"), x.q.Get("clientId")
	if (deviceID == "") == (clientID == "") {
		return refuse(fail(codeBadParam, "want either deviceId or clientId"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, known := s.devices[deviceID]; known {
		s.dropDevice(d)
	}
	for _, d := range sortedDevices(s.byClient[clientID]) {
		s.dropDevice(d)
	}
	return noContent()
}
