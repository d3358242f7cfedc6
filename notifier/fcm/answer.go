package fcm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The types of details that FCM puts beside an error (google.rpc.Status.details).
const (
	typeFCM        = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
	typeAPNs       = "type.googleapis.com/google.firebase.fcm.v1.ApnsError"
	typeBadRequest = "type.googleapis.com/google.rpc.BadRequest"
	typeErrorInfo  = "type.googleapis.com/google.rpc.ErrorInfo"
)

// maxWait bounds a wait that a provider asks for: after an hour a message is
// dropped rather than repeated ("Best practices when sending FCM messages at
// scale"), so more is an error or a trap.
const maxWait = time.Hour

// answer is what came back for one request, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// details are the typed parts of an error answer. All fields may be empty: a
// gateway answers with a page of HTML, and FCM itself leaves parts out.
type details struct {
	canonical string   // error.status, such as INVALID_ARGUMENT
	fcm       string   // FcmError.errorCode
	apns      bool     // there was an ApnsError
	reason    string   // ApnsError.reason
	info      string   // ErrorInfo.reason
	fields    []string // BadRequest.fieldViolations[].field
}

// details parses the body of an error answer as far as it can be parsed.
func (a answer) details() details {
	var body struct {
		Error struct {
			Status  string            `json:"status"`
			Details []json.RawMessage `json:"details"`
		} `json:"error"`
	}
	// A body that is no JSON, or JSON of another shape, has no details.
	if err := json.Unmarshal(a.body, &body); err != nil {
		return details{}
	}
	d := details{canonical: word(body.Error.Status)}
	for _, raw := range body.Error.Details {
		var v struct {
			Type            string `json:"@type"`
			ErrorCode       string `json:"errorCode"`
			Reason          string `json:"reason"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			continue // one odd detail does not hide the others
		}
		switch v.Type {
		case typeFCM:
			d.fcm = word(v.ErrorCode)
		case typeAPNs:
			d.apns, d.reason = true, word(v.Reason)
		case typeErrorInfo:
			d.info = word(v.Reason)
		case typeBadRequest:
			for _, f := range v.FieldViolations {
				d.fields = append(d.fields, field(f.Field))
			}
		}
	}
	return d
}

// word lets an identifier such as INVALID_ARGUMENT or BadDeviceToken through
// and nothing else: an answer must not write its own text into our log.
func word(s string) string {
	if len(s) > 64 {
		return ""
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		default:
			return ""
		}
	}
	return s
}

// field lets the path of a request's field through, up to an index or key.
func field(s string) string {
	if !strings.HasPrefix(s, "message") {
		return ""
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '.', c == '-':
		default:
			return s[:min(i, 64)]
		}
	}
	return s[:min(len(s), 64)]
}

// retryAfter reads Retry-After, in seconds or as a date (RFC 9110, section
// 10.2.3); 0 when there is none or it makes no sense.
func (a answer) retryAfter(now time.Time) time.Duration {
	v := strings.TrimSpace(a.header.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return min(max(time.Duration(n)*time.Second, 0), maxWait)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), maxWait)
	}
	return 0
}
