package fcm_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier/fcm"
)

const googleError = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

func probeAnswer(status int, canonical, code string) http.HandlerFunc {
	return answerWith(status, map[string]string{"Content-Type": "application/json"},
		`{"error":{"code":400,"status":"`+canonical+`","details":[{"@type":"`+googleError+`","errorCode":"`+code+`"}]}}`)
}

func TestAProbeIsFineWhenOnlyItsTokenIsRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"invalid argument": probeAnswer(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
		"unregistered":     probeAnswer(404, "NOT_FOUND", "UNREGISTERED"),
		"another sender":   probeAnswer(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
		"taken":            accept,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGoogle(t, answer)
			require.NoError(t, newSender(t, g, nil).Probe(t.Context()))
			require.EqualValues(t, 1, g.sends.Load())
			var body struct {
				ValidateOnly bool `json:"validate_only"`
				Message      struct {
					Token string `json:"token"`
				} `json:"message"`
			}
			require.NoError(t, json.Unmarshal(g.bodies[0], &body))
			require.True(t, body.ValidateOnly, "a probe sends nothing")
			require.NotEmpty(t, body.Message.Token)
		})
	}
}

func TestAProbeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for code, answer := range map[string]http.HandlerFunc{
		fcm.CodePermissionDenied: answerWith(403, nil, `{"error":{"status":"PERMISSION_DENIED"}}`),
		fcm.CodeServiceDisabled: answerWith(403, nil, `{"error":{"status":"PERMISSION_DENIED","details":[
			{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}`),
		fcm.CodeNotFound:    answerWith(404, nil, `{"error":{"status":"NOT_FOUND"}}`),
		fcm.CodeUnavailable: answerWith(503, nil, ``),
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			var e *fcm.Error
			require.ErrorAs(t, newSender(t, newGoogle(t, answer), nil).Probe(t.Context()), &e)
			require.Equal(t, code, e.Code)
		})
	}
	t.Run(fcm.CodeCredentialsRefused, func(t *testing.T) {
		t.Parallel()
		g := newGoogle(t, accept)
		g.token = answerWith(400, map[string]string{"Content-Type": "application/json"}, `{"error":"invalid_grant","error_description":"secret"}`)
		err := newSender(t, g, nil).Probe(t.Context())
		var e *fcm.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fcm.CodeCredentialsRefused, e.Code)
		require.Equal(t, "invalid_grant", e.Reason)
		require.NotContains(t, err.Error(), "secret")
		require.Zero(t, g.sends.Load())
	})
}
