package ably

import (
	"encoding/json"
	"maps"
	"slices"
)

// Transports of a push.
const (
	transportFCM     = "fcm"
	transportGCM     = "gcm" // the former name, still accepted
	transportAPNs    = "apns"
	transportWeb     = "web"
	transportChannel = "ablyChannel"
)

// payload is what a push carries, checked for its shape.
type payload struct{ fields object }

// payloadOf checks the fields of a push. Source: Ably, "Push payload
// structure".
func payloadOf(fields object) (payload, *errorInfo) {
	if len(fields) == 0 {
		return payload{}, fail(codeBadRequest, "push payload is empty")
	}
	for name, v := range fields {
		switch name {
		case "notification", "data", transportAPNs, transportFCM, transportGCM, transportWeb:
			if _, isObject := asObject(v); !isObject {
				return payload{}, fail(codeBadRequest, "push payload: %s is not an object", name)
			}
		default:
			// Whether the service ignores a name it does not know is not
			// documented; what passes here passes there.
			return payload{}, fail(codeBadRequest, "push payload: unknown field")
		}
	}
	for name, v := range fields.sub("notification") {
		switch name {
		case "title", "body", "icon", "sound", "collapseKey":
			if _, isString := v.(string); !isString {
				return payload{}, fail(codeBadRequest, "push payload: notification.%s is not a string", name)
			}
		case "ttl":
			if n, isInt := v.(int64); !isInt || n < 0 {
				return payload{}, fail(codeBadRequest, "push payload: notification.ttl is not a number of seconds")
			}
		default:
			return payload{}, fail(codeBadRequest, "push payload: unknown field of notification")
		}
	}
	if h, has := fields.sub(transportAPNs)["apns-headers"]; has {
		headers, isObject := asObject(h)
		if !isObject {
			return payload{}, fail(codeBadRequest, "push payload: apns-headers is not an object")
		}
		for name, v := range headers {
			if _, isString := v.(string); !isString {
				return payload{}, fail(codeBadRequest, "push payload: header %s is not a string", name)
			}
		}
	}
	return payload{fields}, nil
}

// nid returns the id by which a push is told apart.
func (p payload) nid() string {
	for _, data := range []object{
		p.fields.sub("data"), p.fields.sub(transportFCM).sub("data"),
		p.fields.sub(transportAPNs), p.fields.sub(transportWeb).sub("notification").sub("data"),
	} {
		if nid := data.str("nid"); nid != "" {
			return nid
		}
	}
	return ""
}

// merge lays over's fields over base, objects within objects.
func merge(base, over object) object {
	out := object(maps.Clone(base))
	if out == nil {
		out = object{}
	}
	for name, v := range over {
		if sub, isObject := asObject(v); isObject {
			v = map[string]any(merge(out.sub(name), sub))
		}
		out[name] = v
	}
	return out
}

// pick copies the fields that are there.
func pick(from object, names ...string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if v, has := from[name]; has {
			out[name] = v
		}
	}
	return out
}

// render makes the message for a transport, by the table in Ably's "Push
// payload structure", and fills in what the record says about it.
func (p payload) render(transport string, rec *Accepted) {
	n := p.fields.sub("notification")
	data := p.fields.sub("data")
	var msg object
	switch transport {
	case transportAPNs:
		aps := map[string]any{}
		if alert := pick(n, "title", "body"); len(alert) > 0 {
			aps["alert"] = alert
		}
		maps.Copy(aps, pick(n, "sound"))
		if key := n.str("collapseKey"); key != "" {
			aps["thread-id"] = key
		}
		msg = merge(data, object{"aps": aps})
		over := object(maps.Clone(p.fields.sub(transportAPNs)))
		rec.Headers = texts(over.sub("apns-headers"))
		delete(over, "apns-headers")
		msg = merge(msg, over)
		rec.fromAPNs(msg)
	case transportWeb:
		web := pick(n, "title", "body", "icon")
		if len(data) > 0 {
			web["data"] = map[string]any(data)
		}
		msg = merge(object{"notification": web}, p.fields.sub(transportWeb))
		rec.fromWeb(msg)
	case transportChannel:
		// The test transport publishes the payload as it is.
		msg = p.fields
		rec.Title, rec.Body, rec.Data = n.str("title"), n.str("body"), texts(data)
	default:
		msg = object{}
		if fcm := pick(n, "title", "body", "icon", "sound"); len(fcm) > 0 {
			msg["notification"] = fcm
		}
		if len(data) > 0 {
			msg["data"] = map[string]any(data)
		}
		if key := n.str("collapseKey"); key != "" {
			msg["collapse_key"] = key
		}
		msg = merge(merge(msg, p.fields.sub(transportGCM)), p.fields.sub(transportFCM))
		rec.fromFCM(msg)
	}
	rec.NID = p.nid()
	b, err := json.Marshal(msg)
	if err != nil { // decoded values always encode
		return
	}
	rec.Payload = b
}

func (a *Accepted) fromAPNs(msg object) {
	aps := msg.sub("aps")
	a.ThreadID = aps.str("thread-id")
	a.CollapseID = a.Headers["apns-collapse-id"]
	if alert, isText := aps["alert"].(string); isText {
		a.Body = alert
	} else {
		a.Title, a.Body = aps.sub("alert").str("title"), aps.sub("alert").str("body")
	}
	data := object(maps.Clone(msg))
	delete(data, "aps")
	a.Data = texts(data)
}

func (a *Accepted) fromWeb(msg object) {
	n := msg.sub("notification")
	a.Title, a.Body, a.Tag, a.Data = n.str("title"), n.str("body"), n.str("tag"), texts(n.sub("data"))
}

func (a *Accepted) fromFCM(msg object) {
	n := merge(msg.sub("notification"), msg.sub("android").sub("notification"))
	a.Title, a.Body, a.Tag = n.str("title"), n.str("body"), n.str("tag")
	a.CollapseKey = msg.str("collapse_key")
	if key := msg.sub("android").str("collapse_key"); key != "" {
		a.CollapseKey = key
	}
	a.Data = texts(msg.sub("data"))
}

// texts writes the values of an object as strings.
func texts(o object) map[string]string {
	out := make(map[string]string, len(o))
	for name, v := range o {
		if s, isString := v.(string); isString {
			out[name] = s
			continue
		}
		b, err := json.Marshal(v)
		if err != nil { // decoded values always encode
			continue
		}
		out[name] = string(b)
	}
	return out
}

// refusal says why the provider would refuse the rendered push, with nil for
// none: Ably hears of it only afterwards.
func (p payload) refusal(transport string, rec *Accepted) *errorInfo {
	switch {
	case transport == transportChannel:
		return nil
	case len(rec.Payload) > MaxPushPayload:
		return fail(codePushRejected, "push rejected by %s: the payload is %d bytes long, more than %d", transport, len(rec.Payload), MaxPushPayload)
	case transport == transportFCM:
		data := merge(p.fields.sub("data"), p.fields.sub(transportFCM).sub("data"))
		for _, name := range slices.Sorted(maps.Keys(data)) {
			if _, isString := data[name].(string); !isString {
				return fail(codePushRejected, "push rejected by fcm: INVALID_ARGUMENT: data values must be strings")
			}
		}
	}
	return nil
}
