package ablypush

import (
	"encoding/json"

	"github.com/bugle-push/bugle/notifier"
)

// The most bytes that a transport takes. Ably does not check them when a push
// is published: over them the provider refuses it, and only the push log says
// so (103004).
const (
	// maxFCM: "The maximum is 4K (4096 bytes)" (FCM).
	maxFCM = 4096
	// maxAPNs: 4 KB (Apple: "Generating a remote notification").
	maxAPNs = 4096
	// maxWeb is what is left of the 4096 bytes of an encrypted message (RFC 8291,
	// section 4).
	maxWeb = 3993
)

// frame bounds what a payload has for one transport beside its texts: names,
// braces, headers, and the thread wherever it is repeated. It only decides when
// the exact sizes must be computed.
const frame = 900

// fit shortens the body until every transport takes the payload, and reports
// whether it did and whether the payload fits. Each transport's JSON has the body
// once, so what is too much in the worst of them must go.
func fit(m *payload) (cut, ok bool) {
	if roughSize(m) <= maxWeb {
		return false, true
	}
	over := excess(m)
	if over <= 0 {
		return false, true
	}
	body := m.Notification.Body
	short := notifier.Shorten(body, quotedLen(body)-over, quotedLen)
	if short == "" {
		return false, false
	}
	m.setBody(short)
	return true, true
}

func (m *payload) setBody(s string) {
	m.Notification.Body, m.APNs.Aps.Alert.Body, m.Web.Notification.Body = s, s, s
}

// roughSize is never less than the largest of a payload's sizes and much
// cheaper: JSON needs at most six bytes for one.
func roughSize(m *payload) int {
	n := len(m.Notification.Title) + len(m.Notification.Body) +
		len(m.APNs.Aps.ThreadID) + len(m.FCM.Android.Notification.ChannelID)
	for k, v := range m.Data {
		n += len(k) + len(v) + 1
	}
	return 6*n + frame
}

// excess is by how many bytes a payload is too large for the transport that
// takes the least; zero or less when it fits. What is counted is the whole JSON
// that Ably makes of the payload for a transport, which is never less than what
// the provider counts.
func excess(m *payload) int {
	fcm, apns, web := sizes(m)
	return max(fcm-maxFCM, apns-maxAPNs, web-maxWeb)
}

// quotedLen is what a text adds to JSON, its quotes aside.
func quotedLen(s string) int { return encodedLen(s) - len(`""`) }

func sizes(m *payload) (fcm, apns, web int) {
	fcm = encodedLen(map[string]any{
		"notification": m.APNs.Aps.Alert, "data": m.Data, "android": m.FCM.Android,
	})
	root := make(map[string]any, len(m.Data)+1)
	for k, v := range m.Data {
		root[k] = v
	}
	root["aps"] = m.APNs.Aps
	return fcm, encodedLen(root), encodedLen(m.Web)
}

// encodedLen is the number of bytes of v in JSON. The types here cannot fail to
// be written.
func encodedLen(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return maxFCM + 1
	}
	return len(b)
}
