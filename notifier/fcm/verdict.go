package fcm

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// quotaPause is how long to wait after a 429 that does not say: one minute, the
// window of the project's quota ("Best practices when sending FCM messages at
// scale").
const quotaPause = time.Minute

// classify turns an answer into an outcome. The HTTP status decides first,
// because FcmError is missing from some real answers (over the project's quota,
// for one) and error.status is the canonical code only.
func classify(a answer, now time.Time) notifier.Outcome {
	if a.status >= 200 && a.status < 300 {
		return accepted(a)
	}
	d := a.details()
	verdict, code := judge(a.status, d)
	out := refusal(verdict, &Error{
		Code: code, Status: a.status,
		Canonical: d.canonical, FCM: d.fcm, APNs: d.reason, Reason: d.info, Fields: d.fields,
	})
	if verdict == notifier.VerdictRetry || verdict == notifier.VerdictUnknown {
		out.After = a.retryAfter(now)
	}
	out.PlatformOnly = code == CodeThirdPartyAuth
	if a.status == http.StatusTooManyRequests {
		out.Throttled, out.Hold = true, out.After
		if out.After == 0 {
			out.After = quotaPause
		}
	}
	return out
}

// refusal is the outcome of anything but an accepted message.
func refusal(v notifier.Verdict, err *Error) notifier.Outcome {
	return notifier.Outcome{Verdict: v, Code: err.Code, Status: err.Status, Err: err}
}

// accepted reads a 2xx answer. One without a name did not come from FCM, or was
// cut: whether the message was taken is unknown.
func accepted(a answer) notifier.Outcome {
	var body struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.Name == "" {
		return refusal(notifier.VerdictUnknown, &Error{
			Code: CodeUnexpectedAnswer, Status: a.status, Detail: "the answer names no message",
		})
	}
	return notifier.Outcome{
		Verdict: notifier.VerdictSent, Code: CodeAccepted, Status: a.status, ProviderID: body.Name,
	}
}

// judge decides on an answer that is not 2xx.
func judge(status int, d details) (notifier.Verdict, string) {
	switch status {
	case http.StatusBadRequest:
		return judgeBadRequest(d)
	case http.StatusUnauthorized:
		return judgeUnauthorized(d)
	case http.StatusForbidden:
		return judgeForbidden(d)
	case http.StatusNotFound:
		return judgeNotFound(d)
	case http.StatusRequestEntityTooLarge:
		return notifier.VerdictRejected, CodePayloadTooLarge
	case http.StatusTooManyRequests:
		return notifier.VerdictRetry, CodeQuotaExceeded
	case http.StatusInternalServerError:
		return notifier.VerdictUnknown, CodeInternal
	case http.StatusBadGateway:
		return notifier.VerdictUnknown, CodeBadGateway
	case http.StatusServiceUnavailable:
		return notifier.VerdictUnknown, CodeUnavailable
	case http.StatusGatewayTimeout:
		return notifier.VerdictUnknown, CodeGatewayTimeout
	}
	if status >= 500 || status == http.StatusRequestTimeout {
		return notifier.VerdictUnknown, CodeUnexpectedAnswer
	}
	// 3xx and the other 4xx: this is not FCM, or not its send method. Nothing was
	// accepted. One odd message must not stop a lane; when all answers are like
	// that, the dispatcher's breaker sees it.
	return notifier.VerdictRetry, CodeUnexpectedAnswer
}

// judgeBadRequest tells a dead target from a bad message. A complaint about the
// field message.token counts only with FcmError, that is when FCM itself looked
// at the token: without it the API's front end disliked the request's form.
func judgeBadRequest(d details) (notifier.Verdict, string) {
	if code, ok := deadAtAPNs(d); ok {
		return notifier.VerdictGone, code
	}
	if d.fcm == "" {
		return notifier.VerdictRejected, CodeBadRequest
	}
	if slices.Contains(d.fields, "message.token") || slices.Contains(d.fields, "message.fid") {
		return notifier.VerdictGone, CodeInvalidToken
	}
	return notifier.VerdictRejected, CodeInvalidArgument
}

// judgeUnauthorized tells the two credentials apart: with FcmError or ApnsError
// it is the one that Google uses towards APNs or a Web Push service, whatever
// the message says (firebase-admin-node issue 3215). Otherwise it is our access
// token; the sender then looks at the token's age.
func judgeUnauthorized(d details) (notifier.Verdict, string) {
	if d.fcm != "" || d.apns {
		return notifier.VerdictBlocked, CodeThirdPartyAuth
	}
	return notifier.VerdictBlocked, CodeUnauthenticated
}

// judgeForbidden: a sender id mismatch is given for every target when the
// project's credential is wrong, so it retires nothing.
func judgeForbidden(d details) (notifier.Verdict, string) {
	switch {
	case d.fcm == "SENDER_ID_MISMATCH":
		return notifier.VerdictRejected, CodeSenderIDMismatch
	case d.fcm == "THIRD_PARTY_AUTH_ERROR":
		return notifier.VerdictBlocked, CodeThirdPartyAuth
	case d.info == "SERVICE_DISABLED":
		return notifier.VerdictBlocked, CodeServiceDisabled
	}
	return notifier.VerdictBlocked, CodePermissionDenied
}

// judgeNotFound: only FcmError or ApnsError speak of the target.
func judgeNotFound(d details) (notifier.Verdict, string) {
	if code, ok := deadAtAPNs(d); ok {
		return notifier.VerdictGone, code
	}
	if d.fcm == "UNREGISTERED" {
		return notifier.VerdictGone, CodeUnregistered
	}
	return notifier.VerdictBlocked, CodeNotFound
}

// deadAtAPNs names the reasons by which APNs says that a device token is of no
// use (Apple: "Handling notification responses from APNs").
func deadAtAPNs(d details) (code string, ok bool) {
	switch d.reason {
	case "Unregistered":
		return CodeAPNsUnregistered, true
	case "BadDeviceToken":
		return CodeAPNsBadDeviceToken, true
	case "DeviceTokenNotForTopic":
		return CodeAPNsWrongTopic, true
	}
	return "", false
}
