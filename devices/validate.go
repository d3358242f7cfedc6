package devices

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/bugle-push/bugle/internal/fault"
)

// The limits of what an app may say. They bound a row's size and keep ids fit
// for a path, a log line and a metric.
const (
	// MaxIDLen bounds a device id and a user id, in bytes.
	MaxIDLen = 128
	// MinFCMTokenLen and MaxFCMTokenLen bound a registration token, in bytes.
	// Google documents no length; tokens seen in the field have 142 to 163 bytes
	// and more, and 4096 is the most that anybody reports.
	MinFCMTokenLen = 32
	MaxFCMTokenLen = 4096
	// FIDLen is the length of a Firebase installation id: 17 random bytes in
	// base64url (firebase-js-sdk, packages/installations).
	FIDLen = 22
	// MaxAblyIDLen bounds an Ably device id or client id, in bytes.
	MaxAblyIDLen = 256
	// MaxLocaleLen is the buffer that RFC 5646, section 4.4.1, calls sufficient.
	MaxLocaleLen = 35
	// MaxTimeZoneLen bounds an IANA name, in bytes; the longest has 32.
	MaxTimeZoneLen = 64
	// MaxAppVersionLen bounds an app's version, in bytes.
	MaxAppVersionLen = 64
)

// Validate returns an Invalid fault unless the id is 1 to 128 characters of
// [A-Za-z0-9._:-] and not a step in a path ("." or anything with "..").
func (id ID) Validate() error {
	s := string(id)
	if s == "" || len(s) > MaxIDLen || !all(s, isIDByte) || s == "." || strings.Contains(s, "..") {
		return fault.InvalidFields("the device id is not valid", fault.Field{
			Path:    "id",
			Message: `wants 1 to 128 characters of A-Z a-z 0-9 . _ : - without ".."`,
		})
	}
	return nil
}

// Validate returns an Invalid fault unless the id is 1 to 128 bytes of UTF-8
// without control characters.
func (u UserID) Validate() error {
	if u == "" || len(u) > MaxIDLen || !printable(string(u)) {
		return fault.InvalidFields("the user id is not valid", fault.Field{
			Path:    "user",
			Message: "wants 1 to 128 bytes of UTF-8 without control characters",
		})
	}
	return nil
}

func platformProblem(p Platform) string {
	switch p {
	case Android, IOS, Web:
		return ""
	}
	return "wants one of: android, ios, web"
}

// targetProblem names the wrong part of a target ("kind" or "value") and what
// is wrong with it. It never repeats the value.
func targetProblem(t Target) (part, message string) {
	v := t.Value.Reveal()
	switch t.Kind {
	case FCMToken:
		if len(v) < MinFCMTokenLen || len(v) > MaxFCMTokenLen || !all(v, isTokenByte) {
			return "value", fmt.Sprintf("wants an FCM registration token: %d to %d characters of A-Z a-z 0-9 _ : -",
				MinFCMTokenLen, MaxFCMTokenLen)
		}
	case FCMFID:
		if len(v) != FIDLen || !all(v, isBase64URLByte) {
			return "value", fmt.Sprintf("wants a Firebase installation id: %d characters of A-Z a-z 0-9 _ -", FIDLen)
		}
	case AblyDevice:
		// ably-js makes ULIDs, ably-cocoa base64 of a digest: any visible ASCII.
		if v == "" || len(v) > MaxAblyIDLen || !all(v, isVisibleByte) {
			return "value", fmt.Sprintf("wants an Ably device id: 1 to %d visible ASCII characters", MaxAblyIDLen)
		}
	case AblyClient:
		// "*" is Ably's wildcard identity: every client, so nobody's target.
		if v == "" || len(v) > MaxAblyIDLen || !printable(v) || v == "*" {
			return "value", fmt.Sprintf(`wants an Ably client id: 1 to %d bytes of UTF-8 without control characters, not "*"`, MaxAblyIDLen)
		}
	default:
		return "kind", "wants one of: fcm_token, fcm_fid, ably_device, ably_client"
	}
	return "", ""
}

// canonicalLocale returns the tag in its canonical spelling ("en_gb" becomes
// "en-GB"); empty stays empty. A tag that does not parse is returned as it is.
func canonicalLocale(s string) string {
	if s == "" {
		return ""
	}
	tag, err := language.Parse(s)
	if err != nil {
		return s
	}
	return tag.String()
}

func localeProblem(s string) string {
	if s == "" {
		return ""
	}
	const message = `wants a BCP 47 tag such as "en-GB"`
	if len(s) > MaxLocaleLen {
		return message
	}
	if _, err := language.Parse(s); err != nil {
		return message
	}
	if len(canonicalLocale(s)) > MaxLocaleLen {
		return message
	}
	return ""
}

func timeZoneProblem(s string) string {
	if s == "" {
		return ""
	}
	const message = `wants an IANA time zone such as "Europe/London"`
	// "Local" loads, but means the zone of whichever server is asked.
	if len(s) > MaxTimeZoneLen || s == "Local" || !all(s, isVisibleByte) {
		return message
	}
	if _, err := time.LoadLocation(s); err != nil {
		return message
	}
	return ""
}

func appVersionProblem(s string) string {
	if len(s) > MaxAppVersionLen || !printable(s) {
		return fmt.Sprintf("wants at most %d bytes of UTF-8 without control characters", MaxAppVersionLen)
	}
	return ""
}

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, unicode.IsControl) < 0
}

func isAlphaNum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isIDByte(c byte) bool        { return isAlphaNum(c) || c == '.' || c == '_' || c == ':' || c == '-' }
func isTokenByte(c byte) bool     { return isAlphaNum(c) || c == '_' || c == ':' || c == '-' }
func isBase64URLByte(c byte) bool { return isAlphaNum(c) || c == '_' || c == '-' }
func isVisibleByte(c byte) bool   { return c > ' ' && c < 0x7f }
