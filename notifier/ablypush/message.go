package ablypush

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// maxKeep is the longest that FCM keeps a message: 28 days (FCM HTTP v1
// reference, AndroidConfig.ttl).
const maxKeep = 28 * 24 * time.Hour

// payload is the body of POST /push/publish (Ably: "REST API reference", push
// publish; "Publish and receive push notifications" for how it is mapped).
type payload struct {
	Recipient    recipient         `json:"recipient"`
	Notification notification      `json:"notification"`
	Data         map[string]string `json:"data"`
	FCM          fcmBlock          `json:"fcm"`
	APNs         apnsBlock         `json:"apns"`
	Web          webBlock          `json:"web"`
}

type recipient struct {
	DeviceID string `json:"deviceId,omitempty"`
	ClientID string `json:"clientId,omitempty"`
}

type notification struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	// TTL is in seconds. Ably uses it for Web Push only, where Edge demands it.
	TTL int64 `json:"ttl"`
}

// fcmBlock has the form of a message of FCM's HTTP v1 API.
type fcmBlock struct {
	Android android `json:"android"`
}

type android struct {
	CollapseKey  string              `json:"collapse_key,omitempty"`
	Priority     string              `json:"priority"`
	TTL          string              `json:"ttl"`
	Notification androidNotification `json:"notification"`
}

type androidNotification struct {
	Tag        string `json:"tag,omitempty"`
	ChannelID  string `json:"channel_id"`
	Visibility string `json:"visibility"`
}

type apnsBlock struct {
	Headers map[string]string `json:"apns-headers"`
	Aps     aps               `json:"aps"`
}

type aps struct {
	Alert             alert  `json:"alert"`
	Sound             string `json:"sound"`
	ThreadID          string `json:"thread-id"`
	InterruptionLevel string `json:"interruption-level"`
}

type alert struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

type webBlock struct {
	Notification webNotification `json:"notification"`
}

type webNotification struct {
	Title    string            `json:"title"`
	Body     string            `json:"body"`
	Tag      string            `json:"tag,omitempty"`
	Renotify bool              `json:"renotify,omitempty"`
	Data     map[string]string `json:"data"`
}

// builder makes payloads. It is pure: same push, same time, same payload.
type builder struct {
	// channels maps a category to an Android notification channel.
	channels map[string]string
}

// build makes the body of the request for a push at a time. A message that must
// not be sent is an *Error of verdict rejected. cut says that the message's body
// was shortened.
func (b builder) build(p notifier.Push, now time.Time) (body []byte, cut bool, err *Error) {
	m, cut, err := b.payload(p, now)
	if err != nil {
		return nil, false, err
	}
	body, encodeErr := json.Marshal(m)
	if encodeErr != nil {
		return nil, false, &Error{Code: CodeInvalidMessage, Detail: "the message cannot be written as JSON"}
	}
	return body, cut, nil
}

func (b builder) payload(p notifier.Push, now time.Time) (m *payload, cut bool, err *Error) {
	to, err := recipientOf(p.Target)
	if err != nil {
		return nil, false, err
	}
	msg := p.Message
	if !msg.ExpiresAt.After(now) {
		return nil, false, &Error{Code: CodeExpired}
	}
	if !notifier.ValidThread(msg.Thread) {
		return nil, false, &Error{Code: CodeInvalidMessage, Detail: "thread is not at most 32 characters of base64url"}
	}
	data, err := dataOf(msg)
	if err != nil {
		return nil, false, err
	}
	expires := msg.ExpiresAt
	if last := now.Add(maxKeep); expires.After(last) {
		expires = last
	}
	ttl := int64(expires.Sub(now) / time.Second)
	m = &payload{
		Recipient:    to,
		Notification: notification{Title: msg.Title, Body: msg.Body, TTL: ttl},
		Data:         data,
		FCM:          fcmBlock{Android: b.android(msg, ttl)},
		APNs:         apns(msg, expires),
		Web: webBlock{Notification: webNotification{
			Title: msg.Title, Body: msg.Body, Data: data,
			// Without renotify a browser replaces a notification of the same tag in
			// silence; with renotify and without a tag it refuses the notification.
			Tag: msg.Thread, Renotify: msg.Thread != "",
		}},
	}
	cut, ok := fit(m)
	if !ok {
		return nil, false, &Error{Code: CodePayloadTooLarge}
	}
	return m, cut, nil
}

func recipientOf(t devices.Target) (recipient, *Error) {
	switch {
	case t.Value == "":
	case t.Kind == devices.AblyDevice:
		return recipient{DeviceID: t.Value.Reveal()}, nil
	case t.Kind == devices.AblyClient:
		return recipient{ClientID: t.Value.Reveal()}, nil
	}
	return recipient{}, &Error{Code: CodeUnsupportedTarget, Detail: "target is neither an Ably device nor an Ably client"}
}

// dataOf returns the data of a message: the rule's and ours.
func dataOf(msg notifier.Message) (map[string]string, *Error) {
	for k := range msg.Data {
		if ReservedDataKey(k) {
			// The key comes from a rule and may be a value by mistake: it stays out of the error.
			return nil, &Error{Code: CodeReservedDataKey}
		}
	}
	return msg.AppData(), nil
}

// ReservedDataKey reports whether a rule may not use key in a message's data: it
// is one of notifier.ReservedDataKey, or means something at the root of an APNs
// payload, where Ably puts the data.
func ReservedDataKey(key string) bool {
	return key == "apns-headers" || notifier.ReservedDataKey(key)
}

// android makes FCM's Android block. ttl is whole seconds; 0 is "now or never"
// to FCM.
func (b builder) android(msg notifier.Message, ttl int64) android {
	a := android{
		Priority: "normal",
		TTL:      strconv.FormatInt(ttl, 10) + "s",
		Notification: androidNotification{
			Tag: msg.Thread, ChannelID: b.channel(msg.Category), Visibility: "PUBLIC",
		},
	}
	if msg.Urgency == notifier.High {
		a.Priority = "high"
	}
	if msg.Class == notifier.Transactional {
		a.Notification.Visibility = "PRIVATE"
	}
	if msg.Perishable {
		// FCM keeps four collapse keys for an offline device and evicts an
		// arbitrary one beyond that ("Non-collapsible and collapsible
		// messages"), so what must not be lost carries none; the tag replaces
		// on screen without it.
		a.CollapseKey = msg.Thread
	}
	return a
}

// channel returns the Android notification channel of a category.
func (b builder) channel(category string) string {
	if c, ok := b.channels[category]; ok {
		return c
	}
	return category
}

// apns makes the APNs block. Apple: "Sending notification requests to APNs".
func apns(msg notifier.Message, expires time.Time) apnsBlock {
	headers := map[string]string{
		"apns-push-type": "alert",
		"apns-priority":  "10",
		// Absolute, in Unix seconds: a small number would mean 1970.
		"apns-expiration": strconv.FormatInt(expires.Unix(), 10),
	}
	if msg.Urgency != notifier.High {
		headers["apns-priority"] = "5" // with regard to the device's battery
	}
	if msg.Thread != "" {
		headers["apns-collapse-id"] = msg.Thread
	}
	level := "active"
	if msg.Perishable {
		level = "time-sensitive"
	}
	return apnsBlock{Headers: headers, Aps: aps{
		Alert: alert{Title: msg.Title, Body: msg.Body}, Sound: "default", ThreadID: msg.Category, InterruptionLevel: level,
	}}
}
