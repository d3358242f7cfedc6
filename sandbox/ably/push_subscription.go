package ably

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

// subscription ties a device or a client to the pushes of a channel.
type subscription struct {
	Channel  string `json:"channel"`
	DeviceID string `json:"deviceId,omitempty"`
	ClientID string `json:"clientId,omitempty"`
}

func (a subscription) compare(b subscription) int {
	return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.DeviceID, b.DeviceID), cmp.Compare(a.ClientID, b.ClientID))
}

// routeSubscriptions is /push/channelSubscriptions.
func (x *request) routeSubscriptions() *answer {
	switch x.r.Method {
	case http.MethodPost:
		body, e := x.object(x.s.cfg.MaxMessageSize)
		if e != nil {
			return refuse(e)
		}
		return x.subscribe(subscription{body.str("channel"), body.str("deviceId"), body.str("clientId")})
	case http.MethodGet:
		return x.listSubscriptions()
	case http.MethodDelete:
		return x.unsubscribe(subscription{x.q.Get("channel"), x.q.Get("deviceId"), x.q.Get("clientId")})
	}
	return refuse(fail(codeMethod, "method not allowed"))
}

// mayTouch checks the right to change a subscription: any with push-admin on
// the channel, one's own with push-subscribe. s.mu must be held.
func (x *request) mayTouch(sub subscription) *errorInfo {
	if x.who.may(opPushAdmin, sub.Channel) || sub.Channel == "" && x.who.mayAnywhere(opPushAdmin) {
		return nil
	}
	own := sub.ClientID != "" && sub.ClientID == x.who.identity()
	if d, known := x.s.devices[sub.DeviceID]; known {
		own = x.isDevice(d) || d.clientID != "" && d.clientID == x.who.identity()
	}
	if own && (x.who.may(opPushSubscribe, sub.Channel) || sub.Channel == "" && x.who.mayAnywhere(opPushSubscribe)) {
		return nil
	}
	return denied(opPushSubscribe, "the channel")
}

func (x *request) subscribe(sub subscription) *answer {
	s := x.s
	if (sub.DeviceID == "") == (sub.ClientID == "") {
		return refuse(fail(codeBadRequest, "want either deviceId or clientId"))
	}
	if e := checkChannelName(sub.Channel); e != nil {
		return refuse(e)
	}
	if !s.pushEnabled(sub.Channel) {
		return refuse(fail(codeBadRequest, "push is not enabled on the channel"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := x.mayTouch(sub); e != nil {
		return refuse(e)
	}
	if _, known := s.devices[sub.DeviceID]; sub.DeviceID != "" && !known {
		return refuse(notFound("device"))
	}
	s.subs[sub] = struct{}{}
	// The reference promises an empty object, the SDKs read a subscription.
	return &answer{status: http.StatusCreated, body: sub}
}

func (x *request) unsubscribe(sub subscription) *answer {
	s := x.s
	if (sub.DeviceID == "") == (sub.ClientID == "") {
		return refuse(fail(codeBadParam, "want either deviceId or clientId"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := x.mayTouch(sub); e != nil {
		return refuse(e)
	}
	for have := range s.subs {
		// Without a channel, all of the device or client go.
		if (sub.Channel == "" || have.Channel == sub.Channel) && have.DeviceID == sub.DeviceID && have.ClientID == sub.ClientID {
			delete(s.subs, have)
		}
	}
	return noContent()
}

func (x *request) listSubscriptions() *answer {
	s := x.s
	if !x.who.mayAnywhere(opPushAdmin) {
		return refuse(denied(opPushAdmin, "channel subscriptions"))
	}
	channel, deviceID, clientID := x.q.Get("channel"), x.q.Get("deviceId"), x.q.Get("clientId")
	s.mu.Lock()
	all := slices.SortedFunc(maps.Keys(s.subs), subscription.compare)
	s.mu.Unlock()
	out := []subscription{}
	for _, sub := range all {
		byDevice, byClient := deviceID == "" || sub.DeviceID == deviceID, clientID == "" || sub.ClientID == clientID
		if deviceID != "" && clientID != "" && x.q.Get("concatFilters") == "true" {
			byDevice = byDevice || byClient
			byClient = true
		}
		if (channel == "" || sub.Channel == channel) && byDevice && byClient {
			out = append(out, sub)
		}
	}
	items, links, e := page(x, out, "channelSubscriptions")
	if e != nil {
		return refuse(e)
	}
	return &answer{status: http.StatusOK, body: items, links: links}
}

// listPushChannels is GET /push/channels.
func (x *request) listPushChannels() *answer {
	s := x.s
	if !x.who.mayAnywhere(opPushAdmin) {
		return refuse(denied(opPushAdmin, "push channels"))
	}
	s.mu.Lock()
	names := map[string]struct{}{}
	for sub := range s.subs {
		names[sub.Channel] = struct{}{}
	}
	s.mu.Unlock()
	items, links, e := page(x, slices.Sorted(maps.Keys(names)), "channels")
	if e != nil {
		return refuse(e)
	}
	if items == nil {
		items = []string{}
	}
	return &answer{status: http.StatusOK, body: items, links: links}
}
