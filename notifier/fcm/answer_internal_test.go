package fcm

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// FuzzClassify: no answer, however odd, panics, retires a target without a
// definite word about it, or gets out of the closed sets.
func FuzzClassify(f *testing.F) {
	for _, seed := range []struct {
		status int
		after  string
		body   string
	}{
		{200, "", `{"name":"projects/p/messages/1"}`},
		{404, "", `{"error":{"code":404,"status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}`},
		{400, "", `{"error":{"status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token"}]},{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}`},
		{400, "", `{"error":{"details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.ApnsError","statusCode":400,"reason":"BadDeviceToken"}]}}`},
		{429, "-1", `{"error":{"details":[null,1,[],{}]}}`},
		{503, "99999999999999", `<!DOCTYPE html>`},
		{403, "Wed, 21 Oct 2115 07:28:00 GMT", `[]`},
	} {
		f.Add(seed.status, seed.after, []byte(seed.body))
	}
	verdicts := []notifier.Verdict{
		notifier.VerdictSent, notifier.VerdictRetry, notifier.VerdictGone,
		notifier.VerdictRejected, notifier.VerdictBlocked, notifier.VerdictUnknown,
	}
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		a := answer{status: status, header: http.Header{"Retry-After": {after}}, body: body}
		out := classify(a, noon)
		if !slices.Contains(verdicts, out.Verdict) || !slices.Contains(Codes(), out.Code) {
			t.Fatalf("verdict %q, code %q", out.Verdict, out.Code)
		}
		if out.After < 0 || out.After > time.Hour {
			t.Fatalf("after %s", out.After)
		}
		switch out.Verdict { //nolint:exhaustive // the others promise nothing more
		case notifier.VerdictGone:
			if d := a.details(); status != 400 && status != 404 || d.fcm == "" && !d.apns {
				t.Fatalf("gone by status %d and %+v", status, d)
			}
		case notifier.VerdictSent:
			if status < 200 || status > 299 || out.ProviderID == "" {
				t.Fatalf("sent by status %d", status)
			}
		}
		if (out.Err == nil) != (out.Verdict == notifier.VerdictSent) {
			t.Fatalf("verdict %q with error %v", out.Verdict, out.Err)
		}
	})
}
