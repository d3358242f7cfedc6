package ablypush_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
)

// failure writes an error answer in Ably's form.
func failure(code int) string {
	return fmt.Sprintf(`{"error":{"message":"m","code":%d,"statusCode":%d,"href":"https://help.ably.io/error/%[1]d"}}`, code, code/100)
}

const htmlPage = `<!DOCTYPE html><html><title>502 Bad Gateway</title>`

// TestVerdicts goes through the answers that Ably and the machines before it give.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const (
		sent, retry, gone = notifier.VerdictSent, notifier.VerdictRetry, notifier.VerdictGone
		rejected, blocked = notifier.VerdictRejected, notifier.VerdictBlocked
		unknown           = notifier.VerdictUnknown
	)
	for _, tc := range []struct {
		name    string
		status  int
		header  map[string]string
		body    string
		client  bool
		verdict notifier.Verdict
		code    string
		ably    int
	}{
		{name: "no content", status: 204, verdict: sent, code: ablypush.CodeAccepted},
		{name: "created, empty", status: 201, verdict: sent, code: ablypush.CodeAccepted},
		{name: "an empty object", status: 200, body: "{}", verdict: sent, code: ablypush.CodeAccepted},
		{name: "200 of another server", status: 200, body: htmlPage, verdict: unknown, code: ablypush.CodeUnexpectedAnswer},
		{name: "200 with an error", status: 200, body: failure(50000), verdict: unknown, code: ablypush.CodeUnexpectedAnswer, ably: 50000},

		{name: "bad request", status: 400, body: failure(40000), verdict: rejected, code: ablypush.CodeBadRequest, ably: 40000},
		{name: "bad body", status: 400, body: failure(40001), verdict: rejected, code: ablypush.CodeBadRequest, ably: 40001},
		{name: "bad request without a code", status: 400, verdict: rejected, code: ablypush.CodeBadRequest},
		{name: "no recipient", status: 400, body: failure(103002), verdict: rejected, code: ablypush.CodeBadRequest, ably: 103002},
		{name: "invalid device id", status: 400, body: failure(40015), verdict: rejected, code: ablypush.CodeInvalidDeviceID, ably: 40015},
		{name: "too large", status: 413, body: failure(40009), verdict: rejected, code: ablypush.CodePayloadTooLarge, ably: 40009},
		{name: "too large for a gateway", status: 413, body: htmlPage, verdict: rejected, code: ablypush.CodePayloadTooLarge},
		{name: "a code as text", status: 400, body: `{"error":{"code":"40015"}}`, verdict: rejected, code: ablypush.CodeInvalidDeviceID, ably: 40015},

		{name: "bad credentials", status: 401, body: failure(40101), verdict: blocked, code: ablypush.CodeUnauthenticated, ably: 40101},
		{name: "key revoked", status: 401, body: failure(40131), verdict: blocked, code: ablypush.CodeUnauthenticated, ably: 40131},
		{name: "token expired", status: 401, body: failure(40142), verdict: blocked, code: ablypush.CodeUnauthenticated, ably: 40142},
		{name: "basic over http", status: 401, body: failure(40103), verdict: blocked, code: ablypush.CodeUnauthenticated, ably: 40103},
		{name: "401 page", status: 401, body: htmlPage, verdict: blocked, code: ablypush.CodeUnauthenticated},
		{name: "capability", status: 401, body: failure(40160), verdict: blocked, code: ablypush.CodePermissionDenied, ably: 40160},
		{name: "forbidden", status: 403, body: failure(40300), verdict: blocked, code: ablypush.CodePermissionDenied, ably: 40300},
		{name: "account blocked", status: 403, body: failure(40111), verdict: blocked, code: ablypush.CodeAccountBlocked, ably: 40111},
		{name: "application disabled", status: 401, body: failure(40120), verdict: blocked, code: ablypush.CodeAccountBlocked, ably: 40120},

		{name: "device not found", status: 404, body: failure(40400), verdict: gone, code: ablypush.CodeDeviceNotFound, ably: 40400},
		{name: "client not found", status: 404, body: failure(40400), client: true, verdict: rejected, code: ablypush.CodeClientNotFound, ably: 40400},
		{name: "registration expired", status: 410, body: failure(41001), verdict: gone, code: ablypush.CodeRegistrationExpired, ably: 41001},
		{name: "registration of a client expired", status: 410, body: failure(41001), client: true, verdict: rejected, code: ablypush.CodeClientNotFound, ably: 41001},
		{name: "404 page", status: 404, body: htmlPage, verdict: blocked, code: ablypush.CodeNotFound},
		{name: "404 of another kind", status: 404, body: failure(40499), verdict: blocked, code: ablypush.CodeNotFound, ably: 40499},

		{name: "API requests", status: 429, body: failure(42918), verdict: retry, code: ablypush.CodeRateLimited, ably: 42918},
		{name: "flood, headers only", status: 429, header: map[string]string{"X-Ably-ErrorCode": "42922", "X-Ably-ErrorMessage": "m"}, verdict: retry, code: ablypush.CodeRateLimited, ably: 42922},
		{name: "push rate", status: 429, body: failure(42926), verdict: retry, code: ablypush.CodeRateLimited, ably: 42926},
		{name: "429 page", status: 429, body: htmlPage, verdict: retry, code: ablypush.CodeRateLimited},
		{name: "rate in a 400", status: 400, body: failure(42910), verdict: retry, code: ablypush.CodeRateLimited, ably: 42910},

		{name: "internal", status: 500, body: failure(50000), verdict: unknown, code: ablypush.CodeServerError, ably: 50000},
		{name: "timeout at Ably", status: 504, body: failure(50003), verdict: unknown, code: ablypush.CodeServerError, ably: 50003},
		{name: "routing timeout", status: 504, body: failure(50405), verdict: unknown, code: ablypush.CodeServerError, ably: 50405},
		{name: "bad gateway", status: 502, body: htmlPage, verdict: unknown, code: ablypush.CodeServerError},
		{name: "unavailable", status: 503, header: map[string]string{"Retry-After": "1"}, verdict: unknown, code: ablypush.CodeServerError},
		{name: "a 5xx that blames us", status: 500, body: failure(40000), verdict: unknown, code: ablypush.CodeServerError, ably: 40000},
		{name: "a 5xx that names the device", status: 503, body: failure(40400), verdict: unknown, code: ablypush.CodeServerError, ably: 40400},
		{name: "request timeout", status: 408, verdict: unknown, code: ablypush.CodeServerError},

		{name: "redirect", status: 307, header: map[string]string{"Location": "/push/publish"}, verdict: blocked, code: ablypush.CodeUnexpectedAnswer},
		{name: "method not allowed", status: 405, verdict: blocked, code: ablypush.CodeUnexpectedAnswer},
		{name: "nonsense for a code", status: 400, body: `{"error":{"code":{"a":1}}}`, verdict: rejected, code: ablypush.CodeBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, answerWith(tc.status, tc.header, tc.body))
			p := push()
			if tc.client {
				p.Target = devices.Target{Kind: devices.AblyClient, Value: testClient}
			}
			out := newSender(t, g.URL, nil).Send(t.Context(), p)

			require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
			require.Equal(t, tc.code, out.Code)
			require.Contains(t, ablypush.Codes(), out.Code)
			require.Equal(t, tc.status, out.Status)
			require.Zero(t, out.After)
			require.Equal(t, tc.verdict == retry, out.Throttled)
			require.EqualValues(t, 1, g.publishes.Load(), "requests of one Send")
			if tc.verdict == sent {
				require.NoError(t, out.Err)
				return
			}
			var e *ablypush.Error
			require.ErrorAs(t, out.Err, &e)
			require.Equal(t, tc.code, e.Code)
			require.Equal(t, tc.ably, e.Ably)
		})
	}
}

// TestNotFoundIsConfirmed: an unknown application and an unknown device have
// the same code, and only one of them is dead.
func TestNotFoundIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		verdict notifier.Verdict
		code    string
	}{
		{"the key works", 200, "[]", notifier.VerdictGone, ablypush.CodeDeviceNotFound},
		{"no application", 404, failure(40400), notifier.VerdictBlocked, ablypush.CodeNotFound},
		{"no such key", 401, failure(40101), notifier.VerdictBlocked, ablypush.CodeNotFound},
		{"server error", 500, failure(50000), notifier.VerdictRetry, ablypush.CodeUnconfirmedNotFound},
		{"too fast", 429, failure(42918), notifier.VerdictRetry, ablypush.CodeUnconfirmedNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, answerWith(404, nil, failure(40400)))
			g.list = answerWith(tc.status, nil, tc.body)
			s := newSender(t, g.URL, nil)
			for range 3 {
				out := s.Send(t.Context(), push())
				require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
				require.Equal(t, tc.code, out.Code)
				require.Equal(t, 404, out.Status)
			}
			require.EqualValues(t, 3, g.publishes.Load())
			if tc.verdict == notifier.VerdictGone {
				require.EqualValues(t, 1, g.lists.Load(), "what was found out is remembered for a while")
			} else {
				require.EqualValues(t, 3, g.lists.Load())
			}
		})
	}
	t.Run("the connection breaks", func(t *testing.T) {
		t.Parallel()
		g := newService(t, answerWith(404, nil, failure(40400)))
		g.list = reset
		out := newSender(t, g.URL, nil).Send(t.Context(), push())
		require.Equal(t, ablypush.CodeUnconfirmedNotFound, out.Code)
		require.Equal(t, notifier.VerdictRetry, out.Verdict)
	})
}

// TestCodesAreDistinct guards the list that metrics and documents are made of.
func TestCodesAreDistinct(t *testing.T) {
	t.Parallel()
	codes := ablypush.Codes()
	slices.Sort(codes)
	require.Len(t, slices.Compact(slices.Clone(codes)), len(codes))
	for _, c := range codes {
		require.Regexp(t, `^[a-z][a-z_]+$`, c)
	}
}
