package fcm

import (
	"encoding/json"
	"unicode/utf8"

	"firebase.google.com/go/v4/messaging"

	"github.com/bugle-push/bugle/notifier"
)

// maxPayload is the most bytes of a message: "Message is too large. The maximum
// is 4K (4096 bytes)" (FCM); APNs has the same limit for its payload.
const maxPayload = 4096

// frame bounds what a message's JSON has beside its texts: names, braces,
// headers, and the thread wherever it is repeated. It only decides when the
// exact size must be computed.
const frame = 1200

// fit shortens the body until the message has at most maxPayload bytes, and
// reports whether it did and whether the message fits.
//
// FCM counts keys and values; what is counted here is the whole JSON without
// the target, which is never less.
func fit(m *messaging.Message) (cut, ok bool) {
	if roughSize(m) <= maxPayload {
		return false, true
	}
	size, err := payloadSize(m)
	if err != nil {
		return false, false
	}
	if size <= maxPayload {
		return false, true
	}
	short := notifier.Shorten(m.Notification.Body, encodedLen(m.Notification.Body)-(size-maxPayload), encodedLen)
	if short == "" {
		return false, false
	}
	m.Notification.Body = short
	return true, true
}

// roughSize is never less than payloadSize and much cheaper: JSON needs at
// most six bytes for one.
func roughSize(m *messaging.Message) int {
	n := len(m.Notification.Title) + len(m.Notification.Body)
	for k, v := range m.Data {
		n += len(k) + len(v) + 1
	}
	// The link and the category may stand in the platform's block once more.
	n += len(m.Data[notifier.DataLink]) + len(m.Data[notifier.DataCategory])
	if m.Android != nil {
		n += len(m.Android.Notification.ChannelID)
	}
	return 6*n + frame
}

// payloadSize is the number of bytes of the message's JSON without its target.
func payloadSize(m *messaging.Message) (int, error) {
	bare := *m
	bare.Token = ""
	b, err := json.Marshal(&bare)
	return len(b), err
}

// encodedLen is the number of bytes of s in the JSON that the SDK writes.
func encodedLen(s string) int {
	total := 0
	for i, r := range s {
		n, _ := encodedRune(r, s[i:])
		total += n
	}
	return total
}

// encodedRune returns the bytes that r, the first character of s, needs in
// JSON as encoding/json writes it for HTML, and its width in s.
func encodedRune(r rune, s string) (n, width int) {
	switch r {
	case '"', '\\', '\b', '\f', '\n', '\r', '\t':
		return 2, 1
	case '<', '>', '&':
		return 6, 1
	case '\u2028', '\u2029':
		return 6, 3
	case utf8.RuneError:
		_, width = utf8.DecodeRuneInString(s)
		if width == 1 {
			return 6, 1 // not UTF-8: written as \ufffd
		}
		return 3, 3
	}
	if r < ' ' {
		return 6, 1
	}
	width = utf8.RuneLen(r)
	return width, width
}
