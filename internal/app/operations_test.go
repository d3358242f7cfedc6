package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/sandbox/fcm"
)

func TestOperatorsComeInWithATokenOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	service, stop := w.start(t)
	base, admin := "http://"+service.Addr(), "http://"+service.AdminAddr()
	status, body := call(t, http.MethodGet, admin+"/admin/v1/rules", "", "")
	require.Equal(t, http.StatusForbidden, status, body)
	require.Contains(t, body, "bugle admin-token")
	status, _ = call(t, http.MethodGet, admin+"/debug/pprof/heap", "", "")
	require.Equal(t, http.StatusForbidden, status)
	status, _ = call(t, http.MethodGet, admin+"/metrics", "", "")
	require.Equal(t, http.StatusOK, status)

	plain, line, err := api.NewAdminToken("alice", time.Now(), time.Hour)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.cfg.Admin.TokensFile, []byte(line.Line()), 0o600))
	require.Eventually(t, func() bool {
		status, _ = call(t, http.MethodGet, admin+"/admin/v1/rules", plain.Reveal(), "")
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond, "a new token needs no restart")
	status, _ = call(t, http.MethodGet, admin+"/admin/v1/rules", token(t, "alice"), "")
	require.Equal(t, http.StatusUnauthorized, status, "an app's token is none of an operator's")
	status, _ = call(t, http.MethodGet, base+"/v1/devices", plain.Reveal(), "")
	require.Equal(t, http.StatusUnauthorized, status, "nor the other way round")

	// A test push takes the configured sender.
	target := w.fcm.MintToken(fcm.Android)
	status, body = call(t, http.MethodPost, base+"/v1/devices/phone-1/activate", token(t, "ann"), activation(target))
	require.Equal(t, http.StatusOK, status, body)
	status, body = call(t, http.MethodPost, admin+"/admin/v1/devices/phone-1/test", plain.Reveal(), `{"title":"Hello","body":"you"}`)
	require.Equal(t, http.StatusOK, status, body)
	var result api.AdminTestResult
	require.NoError(t, json.Unmarshal([]byte(body), &result))
	require.Equal(t, "sent", result.Verdict)
	require.NotEmpty(t, result.ProviderID)
	require.Equal(t, "Hello", w.fcm.Accepted()[0].Title)
	w.fcm.Unregister(target)
	_, body = call(t, http.MethodPost, admin+"/admin/v1/devices/phone-1/test", plain.Reveal(), `{"title":"Hello","body":"you"}`)
	require.NoError(t, json.Unmarshal([]byte(body), &result))
	require.Equal(t, "gone", result.Verdict)

	// A pause survives a restart, and holds the rule back.
	status, body = call(t, http.MethodPost, admin+"/admin/v1/rules/settled/pause", plain.Reveal(), `{"reason":"test"}`)
	require.Equal(t, http.StatusOK, status, body)
	require.NoError(t, stop())
	service, _ = w.start(t)
	admin = "http://" + service.AdminAddr()
	_, body = call(t, http.MethodGet, admin+"/admin/v1/rules/settled", plain.Reveal(), "")
	var rule api.AdminRule
	require.NoError(t, json.Unmarshal([]byte(body), &rule))
	require.Equal(t, "alice", rule.PausedBy.Actor)
	require.Eventually(t, func() bool {
		_, body = call(t, http.MethodGet, admin+"/metrics", "", "")
		return strings.Contains(body, `bugle_rule_paused{rule="settled"} 1`)
	}, time.Minute, 50*time.Millisecond)
}
