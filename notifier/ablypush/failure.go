package ablypush

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ably's codes of failures after a push was accepted (ably-common,
// protocol/errors.json and errors/codes).
const (
	failureInternal      = 103000 // inside Ably
	failureExhausted     = 103001 // the provider was tried as often as Ably tries
	failureNoRecipient   = 103002
	failureBadBody       = 103003
	failurePayload       = 103004 // the provider refused the payload: our fault
	failureToken         = 103005 // the device's push token is invalid for the application
	failureNotConfigured = 103006 // the transport has no credentials in Ably
	failureUnreachable   = 103007 // the provider could not be reached
	failureCredentials   = 103008 // the provider refuses Ably's credentials
	failureRate          = 42926  // over the account's rate: dropped at random
)

// Labels of failures without a code that is known.
const (
	// FailureOther is for events with another code.
	FailureOther = "other"
	// FailureUnreadable is for events that have no code, or several.
	FailureUnreadable = "unreadable"
)

// FailureCodes returns the values of the label code of
// bugle_ably_push_failures_total: Ably's error codes, "other", "unreadable".
func FailureCodes() []string {
	return []string{
		"42926", "103000", "103001", "103002", "103003", "103004", "103005", "103006", "103007", "103008",
		FailureOther, FailureUnreadable,
	}
}

// label brings a code into the closed set.
func label(code int) string {
	if code == 0 {
		return FailureUnreadable
	}
	if s := strconv.Itoa(code); slices.Contains(FailureCodes(), s) {
		return s
	}
	return FailureOther
}

// failure is one event of the push log, as far as it concerns us.
type failure struct {
	// id is the message's id at Ably; it is the same in history.
	id string
	at time.Time
	// code is Ably's error code, 0 when the event has none or several.
	code int
	// device is the deviceId, empty when the event names none or several.
	device string
}

// Bounds on reading an event: Ably's are small and flat.
const (
	maxEventDepth = 8
	maxEventNodes = 2000
)

// parseFailure reads an event. Its form is not documented, so code and device
// are taken from wherever they stand outermost, and from nowhere if the
// outermost ones contradict each other. What was pushed is not looked at: it
// may have any names.
func parseFailure(id string, at time.Time, data any, encoding string) failure {
	f := failure{id: id, at: at}
	level := []any{decodeData(data, encoding)}
	codes, ids := map[int]bool{}, map[string]bool{}
	nodes := 0
	for depth := 0; depth < maxEventDepth && len(level) > 0; depth++ {
		var next []any
		levelCodes, levelIDs := map[int]bool{}, map[string]bool{}
		for _, v := range level {
			if nodes++; nodes > maxEventNodes {
				return f
			}
			switch v := v.(type) {
			case []any:
				next = append(next, v...)
			case map[string]any:
				next = append(next, readFields(v, depth, levelCodes, levelIDs)...)
			}
		}
		if len(codes) == 0 {
			codes = levelCodes
		}
		if len(ids) == 0 {
			ids = levelIDs
		}
		level = next
	}
	for code := range codes {
		if len(codes) == 1 {
			f.code = code
		}
	}
	for device := range ids {
		if len(ids) == 1 {
			f.device = device
		}
	}
	return f
}

// readFields notes the codes and device ids of one object and returns what is
// to be looked into further.
func readFields(o map[string]any, depth int, codes map[int]bool, ids map[string]bool) []any {
	var next []any
	for name, v := range o {
		switch name {
		case "code", "errorCode":
			if n := codeOf(v); n != 0 {
				codes[n] = true
			}
		case "deviceId", "deviceID":
			if s, ok := v.(string); ok && s != "" {
				ids[s] = true
			}
		case "device":
			if d, ok := v.(map[string]any); ok {
				if s, ok := d["id"].(string); ok && s != "" {
					ids[s] = true
				}
			}
		case "payload", "notification", "apns", "fcm", "web":
		case "data":
			if depth == 0 { // an envelope, not what was pushed
				next = append(next, v)
			}
		default:
			next = append(next, v)
		}
	}
	return next
}

// codeOf reads an error code of Ably's.
func codeOf(v any) int {
	n := 0
	switch v := v.(type) {
	case float64:
		n = int(v)
	case string:
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			return 0
		}
	}
	if n < 10_000 || n > 999_999 {
		return 0 // an HTTP status, perhaps
	}
	return n
}

// decodeData undoes a message's encoding. Without one, a text may still be JSON.
func decodeData(data any, encoding string) any {
	var raw []byte
	switch v := data.(type) {
	case string:
		raw = []byte(v)
	case []byte:
		raw = v
	default:
		return data
	}
	if strings.HasSuffix(encoding, "base64") {
		b, err := base64.StdEncoding.DecodeString(string(raw))
		if err != nil {
			return nil
		}
		raw = b
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil
	}
	return out
}
