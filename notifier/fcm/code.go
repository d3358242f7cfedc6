package fcm

import (
	"strconv"
	"strings"
)

// The codes of an outcome: a closed set, fit for a metric's label.
const (
	// CodeAccepted: Google took the message. Verdict sent.
	CodeAccepted = "accepted"

	// CodeNotSent: nothing of the request was written (lookup, dial, TLS, no
	// free connection before the deadline). Verdict retry.
	CodeNotSent = "not_sent"
	// CodeTokenUnavailable: no access token could be fetched in time. Verdict retry.
	CodeTokenUnavailable = "token_unavailable"
	// CodeTokenStale: the access token was refused and has been dropped; the next
	// send fetches another. Verdict retry.
	CodeTokenStale = "token_stale"
	// CodeQuotaExceeded: 429. Verdict retry, throttled.
	CodeQuotaExceeded = "quota_exceeded"

	// CodeTimeout: the deadline passed, or the context ended, after the request
	// was written. Verdict unknown.
	CodeTimeout = "timeout"
	// CodeConnectionLost: the connection broke after the request was written.
	// Verdict unknown.
	CodeConnectionLost = "connection_lost"
	// CodeInternal: 500. Verdict unknown.
	CodeInternal = "internal"
	// CodeBadGateway: 502. Verdict unknown.
	CodeBadGateway = "bad_gateway"
	// CodeUnavailable: 503. Verdict unknown.
	CodeUnavailable = "unavailable"
	// CodeGatewayTimeout: 504. Verdict unknown.
	CodeGatewayTimeout = "gateway_timeout"
	// CodeUnexpectedAnswer: a status or a body that FCM does not document.
	// Verdict unknown for 2xx and 5xx, blocked for 3xx and 4xx.
	CodeUnexpectedAnswer = "unexpected_answer"

	// CodeUnregistered: 404 UNREGISTERED. Verdict gone.
	CodeUnregistered = "unregistered"
	// CodeInvalidToken: 400 about the field message.token. Verdict gone.
	CodeInvalidToken = "invalid_token"
	// CodeAPNsUnregistered: APNs says that its device token is dead. Verdict gone.
	CodeAPNsUnregistered = "apns_unregistered"
	// CodeAPNsBadDeviceToken: APNs does not know the device token. Verdict gone.
	CodeAPNsBadDeviceToken = "apns_bad_device_token"
	// CodeAPNsWrongTopic: the APNs device token belongs to another app. Verdict gone.
	CodeAPNsWrongTopic = "apns_device_token_not_for_topic"

	// CodeExpired: the message expired before it could be sent; Google was not
	// asked. Verdict rejected.
	CodeExpired = "expired"
	// CodeReservedDataKey: a rule used a data key that is reserved; Google was
	// not asked. Verdict rejected.
	CodeReservedDataKey = "reserved_data_key"
	// CodePayloadTooLarge: more than 4096 bytes even without its body; Google
	// was not asked, or said 413. Verdict rejected.
	CodePayloadTooLarge = "payload_too_large"
	// CodeInvalidMessage: the message breaks a rule that we or the SDK check;
	// Google was not asked. Verdict rejected.
	CodeInvalidMessage = "invalid_message"
	// CodeUnsupportedTarget: the push names no FCM target or no known platform;
	// Google was not asked. Verdict rejected.
	CodeUnsupportedTarget = "unsupported_target"
	// CodeInvalidArgument: 400 with FcmError about the message. Verdict rejected.
	CodeInvalidArgument = "invalid_argument"
	// CodeBadRequest: 400 without FcmError: Google's front end could not read
	// the request. Verdict rejected.
	CodeBadRequest = "bad_request"
	// CodeSenderIDMismatch: the target belongs to another sender, or our
	// credential does. Verdict rejected, so that nothing is retired by it.
	CodeSenderIDMismatch = "sender_id_mismatch"

	// CodeCredentialsRefused: our key is missing, malformed or refused by the
	// token server. Verdict blocked.
	CodeCredentialsRefused = "credentials_refused"
	// CodeUnauthenticated: the access token that replaced a refused one was
	// refused as well. Verdict blocked.
	CodeUnauthenticated = "unauthenticated"
	// CodePermissionDenied: our account may not send for this project. Verdict blocked.
	CodePermissionDenied = "permission_denied"
	// CodeServiceDisabled: the FCM API is not enabled in the project. Verdict blocked.
	CodeServiceDisabled = "service_disabled"
	// CodeThirdPartyAuth: Google's credential for APNs or Web Push, kept in the
	// Firebase project, is refused there. Verdict blocked; it concerns one
	// platform only.
	CodeThirdPartyAuth = "third_party_auth_error"
	// CodeNotFound: 404 without FcmError: a wrong address or project. Verdict blocked.
	CodeNotFound = "not_found"
)

// Codes returns every code that an outcome of this package can carry.
func Codes() []string {
	return []string{
		CodeAccepted,
		CodeNotSent, CodeTokenUnavailable, CodeTokenStale, CodeQuotaExceeded,
		CodeTimeout, CodeConnectionLost, CodeInternal, CodeBadGateway, CodeUnavailable, CodeGatewayTimeout, CodeUnexpectedAnswer,
		CodeUnregistered, CodeInvalidToken, CodeAPNsUnregistered, CodeAPNsBadDeviceToken, CodeAPNsWrongTopic,
		CodeExpired, CodeReservedDataKey, CodePayloadTooLarge, CodeInvalidMessage, CodeUnsupportedTarget,
		CodeInvalidArgument, CodeBadRequest, CodeSenderIDMismatch,
		CodeCredentialsRefused, CodeUnauthenticated, CodePermissionDenied, CodeServiceDisabled, CodeThirdPartyAuth, CodeNotFound,
	}
}

// Error says why a message was not sent. It carries words from closed alphabets
// only: no target, no title, no body, and no message of Google's, which may
// quote any of them.
type Error struct {
	// Code is one of Codes.
	Code string
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Canonical is the canonical status of the answer, such as "NOT_FOUND"; may be empty.
	Canonical string
	// FCM is FcmError.errorCode, such as "UNREGISTERED"; may be empty.
	FCM string
	// APNs is ApnsError.reason, such as "BadDeviceToken"; may be empty.
	APNs string
	// Reason is ErrorInfo.reason, such as "SERVICE_DISABLED"; may be empty.
	Reason string
	// Fields are the paths that BadRequest complains about, such as "message.token".
	Fields []string
	// Detail is a remark of ours; may be empty.
	Detail string
	// Err is the cause; nil when Google answered or was not asked.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("fcm: ")
	b.WriteString(e.Code)
	if e.Status != 0 {
		b.WriteString(", status ")
		b.WriteString(strconv.Itoa(e.Status))
	}
	for _, s := range []string{e.Canonical, e.FCM, e.APNs, e.Reason, strings.Join(e.Fields, " "), e.Detail} {
		if s != "" {
			b.WriteString(", ")
			b.WriteString(s)
		}
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
