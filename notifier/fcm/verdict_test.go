package fcm_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// failure writes an error answer in Google's form.
func failure(code int, status, message string, details ...string) string {
	body := `{"error":{"code":` + itoa(code) + `,"message":"` + message + `","status":"` + status + `"`
	if len(details) > 0 {
		body += `,"details":[` + strings.Join(details, ",") + `]`
	}
	return body + `}}`
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

func fcmError(code string) string {
	return `{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"` + code + `"}`
}

func apnsError(status int, reason string) string {
	return `{"@type":"type.googleapis.com/google.firebase.fcm.v1.ApnsError","statusCode":` + itoa(status) + `,"reason":"` + reason + `"}`
}

func badField(field string) string {
	return `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"` + field + `","description":"d"}]}`
}

func errorInfo(reason string) string {
	return `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + reason + `","domain":"googleapis.com","metadata":{"service":"fcm.googleapis.com"}}`
}

const (
	bareBadRequest = `{"@type":"type.googleapis.com/google.rpc.BadRequest"}`
	quotaFailure   = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"s","description":"d"}]}`
	help           = `{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"d","url":"https://cloud.google.com"}]}`
	htmlPage       = `<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title><p>That’s an error.`
	name           = `{"name":"projects/demo-bets/messages/0:1700000000000000%31bd1c9631bd1c96"}`
)

// TestVerdicts goes through the answers that FCM and the machines before it give.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const (
		sent, retry, gone  = notifier.VerdictSent, notifier.VerdictRetry, notifier.VerdictGone
		rejected, blocked  = notifier.VerdictRejected, notifier.VerdictBlocked
		unknown            = notifier.VerdictUnknown
		invalid, forbidden = "INVALID_ARGUMENT", "PERMISSION_DENIED"
	)
	for _, tc := range []struct {
		name      string
		status    int
		header    map[string]string
		body      string
		verdict   notifier.Verdict
		code      string
		after     time.Duration
		throttled bool
	}{
		{name: "accepted", status: 200, body: name, verdict: sent, code: fcm.CodeAccepted},
		{name: "200 without a name", status: 200, body: `{}`, verdict: unknown, code: fcm.CodeUnexpectedAnswer},
		{name: "200 of another server", status: 200, body: htmlPage, verdict: unknown, code: fcm.CodeUnexpectedAnswer},

		{name: "unregistered", status: 404, body: failure(404, "NOT_FOUND", "Requested entity was not found.", fcmError("UNREGISTERED")), verdict: gone, code: fcm.CodeUnregistered},
		{name: "unregistered, APNs", status: 404, body: failure(404, "NOT_FOUND", "m", fcmError("UNREGISTERED"), apnsError(410, "Unregistered")), verdict: gone, code: fcm.CodeAPNsUnregistered},
		{name: "404 without FcmError", status: 404, body: failure(404, "NOT_FOUND", "Requested entity was not found."), verdict: blocked, code: fcm.CodeNotFound},
		{name: "404 page", status: 404, body: htmlPage, verdict: blocked, code: fcm.CodeNotFound},
		{name: "404 empty", status: 404, verdict: blocked, code: fcm.CodeNotFound},

		{name: "invalid token", status: 400, body: failure(400, invalid, "The registration token is not a valid FCM registration token", fcmError(invalid), badField("message.token")), verdict: gone, code: fcm.CodeInvalidToken},
		{name: "invalid token, details in the other order", status: 400, body: failure(400, invalid, "m", badField("message.token"), fcmError(invalid)), verdict: gone, code: fcm.CodeInvalidToken},
		{name: "invalid fid", status: 400, body: failure(400, invalid, "m", badField("message.fid"), fcmError(invalid)), verdict: gone, code: fcm.CodeInvalidToken},
		{name: "token of a wrong JSON type", status: 400, body: failure(400, invalid, "m", badField("message.token")), verdict: rejected, code: fcm.CodeBadRequest},
		{name: "APNs token disabled", status: 400, body: failure(400, invalid, "APNs device token is disabled.", fcmError(invalid), apnsError(410, "Unregistered")), verdict: gone, code: fcm.CodeAPNsUnregistered},
		{name: "APNs bad device token", status: 400, body: failure(400, invalid, "m", apnsError(400, "BadDeviceToken"), fcmError(invalid)), verdict: gone, code: fcm.CodeAPNsBadDeviceToken},
		{name: "APNs token of another app", status: 400, body: failure(400, invalid, "m", apnsError(400, "DeviceTokenNotForTopic"), fcmError(invalid)), verdict: gone, code: fcm.CodeAPNsWrongTopic},
		{name: "APNs dislikes the payload", status: 400, body: failure(400, invalid, "m", apnsError(400, "BadMessageId"), fcmError(invalid)), verdict: rejected, code: fcm.CodeInvalidArgument},

		{name: "no target", status: 400, body: failure(400, invalid, "Recipient of the message is not set.", badField("message"), fcmError(invalid)), verdict: rejected, code: fcm.CodeInvalidArgument},
		{name: "too big", status: 400, body: failure(400, invalid, "Message is too large. The maximum is 4K (4096 bytes).", bareBadRequest, fcmError(invalid)), verdict: rejected, code: fcm.CodeInvalidArgument},
		{name: "bad web TTL", status: 400, body: failure(400, invalid, "TTL must be a non-negative integer.", badField("message.webpush.headers.TTL"), fcmError(invalid)), verdict: rejected, code: fcm.CodeInvalidArgument},
		{name: "no details", status: 400, body: failure(400, invalid, "Request contains an invalid argument."), verdict: rejected, code: fcm.CodeBadRequest},
		{name: "reserved key", status: 400, body: failure(400, invalid, "Invalid data payload key: from"), verdict: rejected, code: fcm.CodeBadRequest},
		{name: "front end: wrong type", status: 400, body: failure(400, invalid, "Invalid value at 'message.data[0].value' (TYPE_STRING), 12", badField("message.data[0].value")), verdict: rejected, code: fcm.CodeBadRequest},
		{name: "front end: unknown name", status: 400, body: failure(400, invalid, "Invalid JSON payload received.", badField("message.token_x")), verdict: rejected, code: fcm.CodeBadRequest},
		{name: "unspecified", status: 400, body: failure(400, invalid, "m", fcmError("UNSPECIFIED_ERROR")), verdict: rejected, code: fcm.CodeInvalidArgument},
		{name: "413", status: 413, body: htmlPage, verdict: rejected, code: fcm.CodePayloadTooLarge},

		{name: "third party auth", status: 401, body: failure(401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service", fcmError("THIRD_PARTY_AUTH_ERROR")), verdict: blocked, code: fcm.CodeThirdPartyAuth},
		{name: "third party auth, misleading message", status: 401, body: failure(401, "UNAUTHENTICATED", "Request is missing required authentication credential.", fcmError("THIRD_PARTY_AUTH_ERROR"), apnsError(403, "InvalidProviderToken")), verdict: blocked, code: fcm.CodeThirdPartyAuth},
		{name: "third party auth, ApnsError alone", status: 401, body: failure(401, "UNAUTHENTICATED", "m", apnsError(403, "BadEnvironmentKeyInToken")), verdict: blocked, code: fcm.CodeThirdPartyAuth},
		{name: "access token refused", status: 401, body: failure(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), verdict: retry, code: fcm.CodeTokenStale},

		{name: "sender id mismatch", status: 403, body: failure(403, forbidden, "SenderId mismatch", fcmError("SENDER_ID_MISMATCH")), verdict: rejected, code: fcm.CodeSenderIDMismatch},
		{name: "IAM", status: 403, body: failure(403, forbidden, "Permission 'cloudmessaging.messages.create' denied on resource"), verdict: blocked, code: fcm.CodePermissionDenied},
		{name: "API off", status: 403, body: failure(403, forbidden, "m", errorInfo("SERVICE_DISABLED"), help), verdict: blocked, code: fcm.CodeServiceDisabled},
		{name: "403 page", status: 403, body: htmlPage, verdict: blocked, code: fcm.CodePermissionDenied},

		{name: "project quota", status: 429, body: failure(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'", errorInfo("RATE_LIMIT_EXCEEDED"), help), verdict: retry, code: fcm.CodeQuotaExceeded, after: time.Minute, throttled: true},
		{name: "device quota", status: 429, body: failure(429, "RESOURCE_EXHAUSTED", "m", fcmError("QUOTA_EXCEEDED"), quotaFailure), header: map[string]string{"Retry-After": "7"}, verdict: retry, code: fcm.CodeQuotaExceeded, after: 7 * time.Second, throttled: true},
		{name: "429 with a date long ago", status: 429, header: map[string]string{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, verdict: retry, code: fcm.CodeQuotaExceeded, after: time.Minute, throttled: true},
		{name: "429 with a date far away", status: 429, header: map[string]string{"Retry-After": "Wed, 21 Oct 2115 07:28:00 GMT"}, verdict: retry, code: fcm.CodeQuotaExceeded, after: time.Hour, throttled: true},
		{name: "429 with nonsense", status: 429, header: map[string]string{"Retry-After": "soon"}, verdict: retry, code: fcm.CodeQuotaExceeded, after: time.Minute, throttled: true},

		{name: "internal", status: 500, body: failure(500, "INTERNAL", "Internal error encountered.", fcmError("INTERNAL")), verdict: unknown, code: fcm.CodeInternal},
		{name: "internal page", status: 500, body: htmlPage, verdict: unknown, code: fcm.CodeInternal},
		{name: "bad gateway", status: 502, body: htmlPage, verdict: unknown, code: fcm.CodeBadGateway},
		{name: "unavailable", status: 503, body: failure(503, "UNAVAILABLE", "The service is currently unavailable.", fcmError("UNAVAILABLE")), verdict: unknown, code: fcm.CodeUnavailable},
		{name: "unavailable, Retry-After", status: 503, header: map[string]string{"Retry-After": "20"}, body: failure(503, "UNAVAILABLE", "m"), verdict: unknown, code: fcm.CodeUnavailable, after: 20 * time.Second},
		{name: "gateway timeout", status: 504, body: htmlPage, verdict: unknown, code: fcm.CodeGatewayTimeout},
		{name: "a status of nobody's", status: 529, verdict: unknown, code: fcm.CodeUnexpectedAnswer},

		{name: "redirect", status: 307, header: map[string]string{"Location": "/elsewhere"}, verdict: retry, code: fcm.CodeUnexpectedAnswer},
		{name: "method not allowed", status: 405, verdict: retry, code: fcm.CodeUnexpectedAnswer},

		{name: "details of a wrong shape", status: 404, body: `{"error":{"status":"NOT_FOUND","details":[7,{"@type":3},` + fcmError("UNREGISTERED") + `]}}`, verdict: gone, code: fcm.CodeUnregistered},
		{name: "an error that is a list", status: 400, body: `[{"error":{"status":"INVALID_ARGUMENT"}}]`, verdict: rejected, code: fcm.CodeBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGoogle(t, answerWith(tc.status, tc.header, tc.body))
			out := newSender(t, g, nil).Send(t.Context(), push())

			require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
			require.Equal(t, tc.code, out.Code)
			require.Contains(t, fcm.Codes(), out.Code)
			require.Equal(t, tc.status, out.Status)
			require.Equal(t, tc.after, out.After)
			require.Equal(t, tc.throttled, out.Throttled)
			hold := time.Duration(0)
			if tc.throttled && tc.after != time.Minute { // the documented default holds up the one message only
				hold = tc.after
			}
			require.Equal(t, hold, out.Hold)
			require.EqualValues(t, 1, g.sends.Load(), "requests of one Send")
			if tc.verdict == sent {
				require.NoError(t, out.Err)
				require.Equal(t, "projects/demo-bets/messages/0:1700000000000000%31bd1c9631bd1c96", out.ProviderID)
				return
			}
			var e *fcm.Error
			require.ErrorAs(t, out.Err, &e)
			require.Equal(t, tc.code, e.Code)
			require.Empty(t, out.ProviderID)
		})
	}
}

// TestRetryAfterDate reads the header's other form.
func TestRetryAfterDate(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(90 * time.Second)
	g := newGoogle(t, answerWith(429, map[string]string{"Retry-After": at.UTC().Format(http.TimeFormat)}, ""))
	out := newSender(t, g, nil).Send(t.Context(), push())
	require.InDelta(t, 90, out.After.Seconds(), 5)
}

// TestAccessTokenRefusedTwice: one more token is tried, by the next send; when
// that is refused as well, it is not the token.
func TestAccessTokenRefusedTwice(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, answerWith(401, nil, failure(401, "UNAUTHENTICATED", "m")))
	var n atomic.Int64
	g.token = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3599,"token_type":"Bearer"}`, n.Add(1))
	}
	s := newSender(t, g, nil)
	first := s.Send(t.Context(), push())
	require.Equal(t, notifier.VerdictRetry, first.Verdict)
	require.Equal(t, fcm.CodeTokenStale, first.Code)
	for range 5 {
		out := s.Send(t.Context(), push())
		require.Equal(t, notifier.VerdictBlocked, out.Verdict)
		require.Equal(t, fcm.CodeUnauthenticated, out.Code)
		require.Equal(t, 401, out.Status)
	}
	require.EqualValues(t, 2, g.tokens.Load())
	require.EqualValues(t, 6, g.sends.Load())
}

// TestCodesAreDistinct guards the list that metrics and documents are made of.
func TestCodesAreDistinct(t *testing.T) {
	t.Parallel()
	codes := fcm.Codes()
	slices.Sort(codes)
	require.Len(t, slices.Compact(slices.Clone(codes)), len(codes))
	for _, c := range codes {
		require.Regexp(t, `^[a-z][a-z_]+$`, c)
	}
}
