package notifier

import (
	"maps"
	"strconv"
	"strings"
)

// The keys that every push has in its data, whoever sends it: what an app may
// rely on. A rule adds its own beside them.
const (
	// DataNotification is the notification id: an app drops one that it has shown.
	DataNotification = "nid"
	// DataSequence is the same number: within a thread, an app drops a smaller one than it has shown.
	DataSequence = "seq"
	DataThread   = "thread"
	DataCategory = "category"
	DataClass    = "class"
	// DataLink opens the right page of the app; absent when the message has none.
	DataLink = "link"
)

// AppData returns the data of a push as an app finds it: the rule's, and
// Bugle's own keys, which win. The map is the caller's.
func (m Message) AppData() map[string]string {
	data := make(map[string]string, len(m.Data)+6)
	maps.Copy(data, m.Data)
	id := strconv.FormatInt(int64(m.NotificationID), 10)
	data[DataNotification], data[DataSequence] = id, id
	data[DataThread] = m.Thread
	data[DataCategory] = m.Category
	data[DataClass] = string(m.Class)
	if m.Link != "" {
		data[DataLink] = m.Link
	}
	return data
}

// ReservedDataKey reports whether a rule may not use key in a message's data:
// it is empty, one of ours, or reserved by Google (FCM error codes reference:
// "from", "gcm" and everything that begins with "google"; the API's discovery
// document adds "message_type") or by APNs ("aps", beside which the data of an
// iOS message stands).
func ReservedDataKey(key string) bool {
	switch key {
	case "", DataNotification, DataSequence, DataThread, DataCategory, DataClass, DataLink,
		"from", "message_type", "aps":
		return true
	}
	return strings.HasPrefix(key, "google") || strings.HasPrefix(key, "gcm")
}

// maxThread is the longest thread: Web Push's Topic has at most 32 characters
// of base64url (RFC 8030, section 5.4), APNs' collapse id 64 bytes.
const maxThread = 32

// ValidThread reports whether a thread fits every platform; none is fine.
func ValidThread(s string) bool {
	if len(s) > maxThread {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// AndroidChannels returns the Android notification channels of the built-in
// categories. The map is the caller's.
func AndroidChannels() map[string]string {
	return map[string]string{"race": "race_alerts", "win": "bet_results", "loss": "bet_results"}
}
