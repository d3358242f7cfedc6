package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestAnOperatorStopsAndStartsSending(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	sending := func() api.AdminSending {
		return decode[api.AdminSending](t, a.as(t, "GET", "/admin/v1/sending", ""))
	}
	require.Equal(t, api.AdminSending{Rules: map[string]api.AdminPause{}}, sending())
	got := decode[api.AdminSending](t, a.as(t, "POST", "/admin/v1/sending/stop", `{"reason":"wrong texts"}`))
	require.True(t, got.Stopped)
	require.Equal(t, "alice", got.StoppedBy.Actor)
	require.Equal(t, "wrong texts", got.StoppedBy.Reason)
	require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-1/test", `{"title":"a","body":"b"}`), 409).Detail, "all sending is stopped")

	rule := decode[api.AdminRule](t, a.as(t, "POST", "/admin/v1/rules/bet-settled/stop", `{"reason":"worse"}`))
	require.Equal(t, "worse", rule.StoppedBy.Reason)
	require.False(t, rule.Paused, "its ticks go on")
	require.Equal(t, "worse", sending().Rules["bet-settled"].Reason)
	requireProblem(t, a.as(t, "POST", "/admin/v1/rules/nothing/stop", `{}`), 404)

	require.Equal(t, map[string]api.AdminPause{"bet-settled": *rule.StoppedBy},
		decode[api.AdminSending](t, a.as(t, "POST", "/admin/v1/sending/start", `{}`)).Rules)
	require.Nil(t, decode[api.AdminRule](t, a.as(t, "POST", "/admin/v1/rules/bet-settled/start", `{}`)).StoppedBy)
	require.Equal(t, api.AdminSending{Rules: map[string]api.AdminPause{}}, sending())
	require.Len(t, a.audit(t), 4)
}
