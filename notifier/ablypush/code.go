package ablypush

import (
	"strconv"
	"strings"
)

// The codes of an outcome: a closed set, fit for a metric's label. Numbers are
// Ably's error codes (ably-common, protocol/errors.json).
const (
	// CodeAccepted: Ably took the push. Verdict sent.
	CodeAccepted = "accepted"

	// CodeNotSent: nothing of the request was written (lookup, dial, TLS, no
	// free place before the deadline). Verdict retry.
	CodeNotSent = "not_sent"
	// CodeRateLimited: 429, 42910 to 42926. Verdict retry, throttled.
	CodeRateLimited = "rate_limited"
	// CodeUnconfirmedNotFound: 40400, and whether it is about the device could
	// not be found out. Verdict retry.
	CodeUnconfirmedNotFound = "unconfirmed_not_found"

	// CodeTimeout: the deadline passed, or the context ended, after the request
	// was written. Verdict unknown.
	CodeTimeout = "timeout"
	// CodeConnectionLost: the connection broke after the request was written.
	// Verdict unknown.
	CodeConnectionLost = "connection_lost"
	// CodeServerError: 5xx, 50000 to 50999. Verdict unknown.
	CodeServerError = "server_error"
	// CodeUnexpectedAnswer: a status or a body that Ably does not document.
	// Verdict unknown for 2xx, blocked for 3xx and 4xx.
	CodeUnexpectedAnswer = "unexpected_answer"

	// CodeDeviceNotFound: 40400 for a device, with a key that works. Verdict gone.
	CodeDeviceNotFound = "device_not_found"
	// CodeRegistrationExpired: 41001 for a device. Verdict gone.
	CodeRegistrationExpired = "registration_expired"

	// CodeExpired: the message expired before it could be sent; Ably was not
	// asked. Verdict rejected.
	CodeExpired = "expired"
	// CodeReservedDataKey: a rule used a data key that is reserved; Ably was not
	// asked. Verdict rejected.
	CodeReservedDataKey = "reserved_data_key"
	// CodePayloadTooLarge: too large for a transport even without its body; Ably
	// was not asked, or said 40009 or 413. Verdict rejected.
	CodePayloadTooLarge = "payload_too_large"
	// CodeInvalidMessage: the message breaks a rule that we check; Ably was not
	// asked. Verdict rejected.
	CodeInvalidMessage = "invalid_message"
	// CodeUnsupportedTarget: the push names no Ably target; Ably was not asked.
	// Verdict rejected.
	CodeUnsupportedTarget = "unsupported_target"
	// CodeBadRequest: 400, 40000 to 40099. Verdict rejected.
	CodeBadRequest = "bad_request"
	// CodeInvalidDeviceID: 40015. Verdict rejected.
	CodeInvalidDeviceID = "invalid_device_id"
	// CodeClientNotFound: 40400 or 41001 for a client, with a key that works: it
	// has no device now and may have one later. Verdict rejected.
	CodeClientNotFound = "client_not_found"

	// CodeUnauthenticated: 401, 40100 to 40159: the key is refused. Verdict blocked.
	CodeUnauthenticated = "unauthenticated"
	// CodePermissionDenied: 40160 to 40199, or 403: the key lacks the capability
	// push-admin. Verdict blocked.
	CodePermissionDenied = "permission_denied"
	// CodeAccountBlocked: 40110 to 40120: the account or application is disabled
	// or has used up what it paid for. Verdict blocked.
	CodeAccountBlocked = "account_blocked"
	// CodeNotFound: 404 that is not about the target: a wrong address or an
	// unknown application. Verdict blocked.
	CodeNotFound = "not_found"
)

// Codes returns every code that an outcome of this package can carry.
func Codes() []string {
	return []string{
		CodeAccepted,
		CodeNotSent, CodeRateLimited, CodeUnconfirmedNotFound,
		CodeTimeout, CodeConnectionLost, CodeServerError, CodeUnexpectedAnswer,
		CodeDeviceNotFound, CodeRegistrationExpired,
		CodeExpired, CodeReservedDataKey, CodePayloadTooLarge, CodeInvalidMessage, CodeUnsupportedTarget,
		CodeBadRequest, CodeInvalidDeviceID, CodeClientNotFound,
		CodeUnauthenticated, CodePermissionDenied, CodeAccountBlocked, CodeNotFound,
	}
}

// Error says why a push was not sent, or why Ably could not be read. It carries
// numbers and words from closed sets only: no key, no target, no title, no
// body, and no message of Ably's, which may quote any of them.
type Error struct {
	// Code is one of Codes.
	Code string
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Ably is Ably's error code, such as 40160; 0 when it gave none.
	Ably int
	// Detail is a remark of ours; may be empty.
	Detail string
	// Err is the cause; nil when Ably answered or was not asked.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ably: ")
	b.WriteString(e.Code)
	if e.Status != 0 {
		b.WriteString(", status ")
		b.WriteString(strconv.Itoa(e.Status))
	}
	if e.Ably != 0 {
		b.WriteString(", code ")
		b.WriteString(strconv.Itoa(e.Ably))
	}
	if e.Detail != "" {
		b.WriteString(", ")
		b.WriteString(e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
