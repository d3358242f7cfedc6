package fcm

import (
	"net/url"
	"strconv"
	"time"

	"firebase.google.com/go/v4/messaging"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// maxKeep is the longest that FCM keeps a message: 28 days (FCM HTTP v1
// reference, AndroidConfig.ttl).
const maxKeep = 28 * 24 * time.Hour

// builder makes FCM messages. It is pure: same push, same time, same message.
type builder struct {
	// channels maps a category to an Android notification channel.
	channels map[string]string
}

// build makes the message for a push at a time. A message that must not be
// sent is an *Error of verdict rejected. cut says that the body was shortened.
//
// Only the block of the push's platform is set: a target belongs to one
// platform, and the other blocks would be bytes that nobody reads.
func (b builder) build(p notifier.Push, now time.Time) (m *messaging.Message, cut bool, err *Error) {
	if p.Target.Provider() != devices.FCM || p.Target.Value == "" {
		return nil, false, &Error{Code: CodeUnsupportedTarget, Detail: "target is neither an FCM token nor an FCM installation id"}
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
	m = &messaging.Message{
		Data:         data,
		Notification: &messaging.Notification{Title: msg.Title, Body: msg.Body},
		Token:        p.Target.Value.Reveal(),
	}
	switch p.Platform {
	case devices.Android:
		m.Android = b.android(msg, expires.Sub(now))
	case devices.IOS:
		m.APNS = apns(msg, expires)
	case devices.Web:
		m.Webpush = webpush(msg, expires.Sub(now))
	default:
		return nil, false, &Error{Code: CodeUnsupportedTarget, Detail: "platform is none of android, ios, web"}
	}

	cut, ok := fit(m)
	if !ok {
		return nil, false, &Error{Code: CodePayloadTooLarge}
	}
	return m, cut, nil
}

// dataOf returns the data of a message: the rule's and ours.
func dataOf(msg notifier.Message) (map[string]string, *Error) {
	for k := range msg.Data {
		if notifier.ReservedDataKey(k) {
			// The key comes from a rule and may be a value by mistake: it stays out of the error.
			return nil, &Error{Code: CodeReservedDataKey}
		}
	}
	return msg.AppData(), nil
}

// android makes the Android block. ttl is cut to whole seconds, as FCM does
// itself; less than one second is "now or never" to FCM.
func (b builder) android(msg notifier.Message, ttl time.Duration) *messaging.AndroidConfig {
	a := &messaging.AndroidConfig{
		Priority: priority(msg.Urgency),
		TTL:      new(ttl.Truncate(time.Second)),
		Notification: &messaging.AndroidNotification{
			Tag:        msg.Thread,
			ChannelID:  b.channel(msg.Category),
			Visibility: messaging.VisibilityPublic,
		},
	}
	if msg.Class == notifier.Transactional {
		a.Notification.Visibility = messaging.VisibilityPrivate
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

// apns makes the APNs block. FCM makes the alert of the message's notification
// and puts the data beside aps. Apple: "Sending notification requests to APNs".
func apns(msg notifier.Message, expires time.Time) *messaging.APNSConfig {
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
	return &messaging.APNSConfig{
		Headers: headers,
		Payload: &messaging.APNSPayload{Aps: &messaging.Aps{
			Sound:    "default",
			ThreadID: msg.Category,
			// The SDK has no field for it.
			CustomData: map[string]any{"interruption-level": level},
		}},
	}
}

// webpush makes the Web Push block (RFC 8030 for the headers).
func webpush(msg notifier.Message, ttl time.Duration) *messaging.WebpushConfig {
	w := &messaging.WebpushConfig{
		Headers: map[string]string{
			"TTL":     strconv.FormatInt(int64(ttl/time.Second), 10),
			"Urgency": priority(msg.Urgency),
		},
	}
	if msg.Thread != "" {
		w.Headers["Topic"] = msg.Thread
		// Without renotify a browser replaces a notification of the same tag in
		// silence; with renotify and without a tag it refuses the notification.
		w.Notification = &messaging.WebpushNotification{Tag: msg.Thread, Renotify: true}
	}
	if webLink(msg.Link) {
		w.FCMOptions = &messaging.WebpushFCMOptions{Link: msg.Link}
	}
	return w
}

// priority returns the word that both Android and Web Push use.
func priority(u notifier.Urgency) string {
	if u == notifier.High {
		return "high"
	}
	return "normal"
}

// webLink reports whether FCM takes a link for the web: https only.
func webLink(link string) bool {
	u, err := url.ParseRequestURI(link)
	return err == nil && u.Scheme == "https" && u.Host != ""
}
