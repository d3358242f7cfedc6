package fcm_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// without returns a key that lacks one field.
func without(t *testing.T, field string) []byte {
	t.Helper()
	var key map[string]string
	require.NoError(t, json.Unmarshal(serviceAccount(t, "http://127.0.0.1:1/token"), &key))
	delete(key, field)
	b, err := json.Marshal(key)
	require.NoError(t, err)
	return b
}

// TestConfigFaults: errors name what is wrong and show nothing of a key.
func TestConfigFaults(t *testing.T) {
	t.Parallel()
	key := serviceAccount(t, "http://127.0.0.1:1/token")
	missing := filepath.Join(t.TempDir(), "none.json")
	for name, tc := range map[string]struct {
		cfg  fcm.Config
		want string
	}{
		"no file":         {fcm.Config{CredentialsFile: missing}, missing},
		"both":            {fcm.Config{CredentialsFile: missing, CredentialsJSON: key}, "both set"},
		"no JSON":         {fcm.Config{CredentialsJSON: []byte("hunter2-secret")}, "not valid JSON"},
		"another type":    {fcm.Config{CredentialsJSON: []byte(`{"type":"authorized_user","refresh_token":"hunter2"}`)}, `"type" is not "service_account"`},
		"no private key":  {fcm.Config{CredentialsJSON: without(t, "private_key")}, `no "private_key"`},
		"no client email": {fcm.Config{CredentialsJSON: without(t, "client_email")}, `no "client_email"`},
		"no PEM":          {fcm.Config{CredentialsJSON: []byte(`{"type":"service_account","client_email":"a@b","private_key":"hunter2"}`)}, "not PEM"},
		"no project":      {fcm.Config{CredentialsJSON: without(t, "project_id")}, "project id is missing"},
		"short timeout":   {fcm.Config{CredentialsJSON: key, Timeout: time.Second}, "timeout 1s is less than 10s"},
		"negative":        {fcm.Config{CredentialsJSON: key, MaxInFlight: -1}, "max in flight"},
		"ftp":             {fcm.Config{CredentialsJSON: key, URL: "ftp://hunter2@h"}, "url is not of the form"},
		"no host":         {fcm.Config{CredentialsJSON: key, URL: "localhost:9099"}, "url is not of the form"},
		"password in url": {fcm.Config{CredentialsJSON: key, URL: "http://u:hunter2@h"}, "url is not of the form"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := fcm.New(t.Context(), tc.cfg)
			require.Nil(t, s)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "PRIVATE KEY")
		})
	}
}

// TestURLForms: with and without the API's version, with and without a slash.
func TestURLForms(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "/", "/v1", "/v1/"} {
		g := newGoogle(t, accept)
		s := newSender(t, g, func(c *fcm.Config) { c.URL += suffix })
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), push()).Verdict, suffix)
	}
}

// TestProjectOfCredentials: the key names the project when nothing else does.
func TestProjectOfCredentials(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, accept)
	s := newSender(t, g, func(c *fcm.Config) { c.ProjectID = "" })
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), push()).Verdict)
}

// TestApplicationDefault uses the key that the environment names.
func TestApplicationDefault(t *testing.T) {
	g := newGoogle(t, accept)
	file := filepath.Join(t.TempDir(), "adc.json")
	require.NoError(t, os.WriteFile(file, serviceAccount(t, g.URL+"/token"), 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	s := newSender(t, g, func(c *fcm.Config) { c.CredentialsJSON = nil })
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), push()).Verdict)
}

// TestNoCredentials says where credentials were looked for.
func TestNoCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err := fcm.New(t.Context(), fcm.Config{ProjectID: testProject})
	require.ErrorContains(t, err, "GOOGLE_APPLICATION_CREDENTIALS")
}

// TestCredentials: what the token server says becomes a verdict, and no send
// is made without a token.
func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		token   http.HandlerFunc
		verdict notifier.Verdict
		code    string
	}{
		{"key deleted", answerWith(400, nil, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`), notifier.VerdictBlocked, fcm.CodeCredentialsRefused},
		{"account disabled", answerWith(401, nil, `{"error":"unauthorized_client"}`), notifier.VerdictBlocked, fcm.CodeCredentialsRefused},
		{"token server down", answerWith(503, nil, htmlPage), notifier.VerdictRetry, fcm.CodeTokenUnavailable},
		{"token server resets", reset, notifier.VerdictRetry, fcm.CodeTokenUnavailable},
		{"no token in the answer", answerWith(200, nil, `{}`), notifier.VerdictRetry, fcm.CodeTokenUnavailable},
		{"nonsense", answerWith(200, nil, htmlPage), notifier.VerdictRetry, fcm.CodeTokenUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGoogle(t, accept)
			g.token = tc.token
			reg := prometheus.NewPedanticRegistry()
			s := newSender(t, g, func(c *fcm.Config) { c.Registerer = reg })
			for range 3 {
				out := s.Send(t.Context(), push())
				require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
				require.Equal(t, tc.code, out.Code)
				require.Zero(t, out.Status)
			}
			require.Zero(t, g.sends.Load())
			require.EqualValues(t, 1, g.tokens.Load(), "a failure is remembered for a while")
			require.Equal(t, 3, testutil.CollectAndCount(reg, "bugle_fcm_token_fetches_total"))
		})
	}
}

// TestRotatedKey: the credentials file is read again for each token.
func TestRotatedKey(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, accept)
	file := filepath.Join(t.TempDir(), "key.json")
	require.NoError(t, os.WriteFile(file, serviceAccount(t, g.URL+"/token"), 0o600))
	s := newSender(t, g, func(c *fcm.Config) { c.CredentialsJSON, c.CredentialsFile = nil, file })
	require.NoError(t, os.Remove(file))
	out := s.Send(t.Context(), push())
	require.Equal(t, notifier.VerdictBlocked, out.Verdict)
	require.Equal(t, fcm.CodeCredentialsRefused, out.Code)
	require.ErrorIs(t, out.Err, os.ErrNotExist)
}

// TestMetricsOnce: two senders cannot share a registry unnoticed.
func TestMetricsOnce(t *testing.T) {
	t.Parallel()
	g := newGoogle(t, accept)
	reg := prometheus.NewRegistry()
	newSender(t, g, func(c *fcm.Config) { c.Registerer = reg })
	_, err := fcm.New(t.Context(), fcm.Config{CredentialsJSON: serviceAccount(t, g.URL+"/token"), Registerer: reg})
	require.ErrorContains(t, err, "register metrics")
}
