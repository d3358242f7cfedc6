package ablypush

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// codeNotFound is Ably's code for whatever does not exist: a device, and an
// application just as well.
const codeNotFound = 40400

// refusal is the outcome of anything but an accepted push.
func refusal(v notifier.Verdict, err *Error) notifier.Outcome {
	return notifier.Outcome{Verdict: v, Code: err.Code, Status: err.Status, Err: err}
}

// classify turns an answer into an outcome. doubtful says that the answer is
// about something that does not exist, and that it is not certain what.
func classify(a answer, kind devices.TargetKind) (out notifier.Outcome, doubtful bool) {
	if a.status >= 200 && a.status < 300 {
		return accepted(a), false
	}
	code := a.code()
	verdict, word := judge(a.status, code, kind)
	out = refusal(verdict, &Error{Code: word, Status: a.status, Ably: code})
	// Ably documents no Retry-After; the dispatcher's own backoff applies.
	out.Throttled = word == CodeRateLimited
	return out, code == codeNotFound && (word == CodeDeviceNotFound || word == CodeClientNotFound)
}

// accepted reads a 2xx answer, which is empty when it comes from Ably. JSON
// without an error is let pass, since the answer is not specified further; a
// page of HTML comes from somebody else.
func accepted(a answer) notifier.Outcome {
	ok := a.code() == 0 && (len(bytes.TrimSpace(a.body)) == 0 || json.Valid(a.body))
	if !ok {
		return refusal(notifier.VerdictUnknown, &Error{
			Code: CodeUnexpectedAnswer, Status: a.status, Ably: a.code(), Detail: "the answer is neither empty nor a success",
		})
	}
	return notifier.Outcome{Verdict: notifier.VerdictSent, Code: CodeAccepted, Status: a.status}
}

// judge decides on an answer that is not 2xx. Ably's codes are the HTTP status
// and two digits more, so that a code and a status say the same; where they do
// not, the code is the closer word, except that a 5xx leaves everything open.
func judge(status, code int, kind devices.TargetKind) (notifier.Verdict, string) {
	family := status
	if f := code / 100; status < 500 && f >= 400 && f < 600 {
		family = f
	}
	switch {
	case family >= 500 || family == http.StatusRequestTimeout:
		return notifier.VerdictUnknown, CodeServerError
	case code == 40009 || family == http.StatusRequestEntityTooLarge:
		return notifier.VerdictRejected, CodePayloadTooLarge
	case code == 40015:
		return notifier.VerdictRejected, CodeInvalidDeviceID
	case code >= 40110 && code <= 40120:
		return notifier.VerdictBlocked, CodeAccountBlocked
	case code >= 40160 && code <= 40199:
		return notifier.VerdictBlocked, CodePermissionDenied
	case code == 41001:
		return absent(kind, CodeRegistrationExpired)
	case code == codeNotFound:
		return absent(kind, CodeDeviceNotFound)
	}
	switch family {
	case http.StatusBadRequest:
		return notifier.VerdictRejected, CodeBadRequest
	case http.StatusUnauthorized:
		return notifier.VerdictBlocked, CodeUnauthenticated
	case http.StatusForbidden:
		return notifier.VerdictBlocked, CodePermissionDenied
	case http.StatusNotFound:
		return notifier.VerdictBlocked, CodeNotFound
	case http.StatusTooManyRequests:
		return notifier.VerdictRetry, CodeRateLimited
	}
	// 3xx and the other 4xx: this is not Ably, or not its push API. Nothing was
	// accepted and nothing on the lane will be until somebody looks.
	return notifier.VerdictBlocked, CodeUnexpectedAnswer
}

// absent: a device that does not exist is gone. A client is a name under which
// a device may register at any time.
func absent(kind devices.TargetKind, code string) (notifier.Verdict, string) {
	if kind == devices.AblyDevice {
		return notifier.VerdictGone, code
	}
	return notifier.VerdictRejected, CodeClientNotFound
}
