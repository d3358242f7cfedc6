package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestAUserIsExportedAndErased(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	a.exec(t, `INSERT INTO suppressions (user_id, reason, class, set_by, set_at) VALUES ('ann', 'self_exclusion', 'all', 'bob', 1)`)
	a.exec(t, `INSERT INTO presence (client_id, channel, connection_id, page, here, since, seen_at, serial, expires_at) VALUES ('ann', 'inbound:betting:cars:ann', 'c', 'home', TRUE, 1, 1, 1, 9)`)
	a.exec(t, `INSERT INTO bets (message_id, channel, kind, value, size, state, received_at) VALUES ('m1', 'inbound:betting:cars:ann', 'bet', '', 3, 'produced', 1),
		('m2', 'inbound:betting:cars:ann', 'bet', 'eyJiZXRfaWQiOiJtMiJ9', 3, 'produced', 1)`)
	rec := a.as(t, "GET", "/admin/v1/users/ann/export", "")
	require.Equal(t, 200, rec.Code)
	require.NotContains(t, rec.Body.String(), deadTarget)
	kinds := map[string]int{}
	for line := range strings.Lines(rec.Body.String()) {
		var r struct{ Kind string }
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		kinds[r.Kind]++
	}
	require.Equal(t, map[string]int{"suppression": 1, "notification": 3, "delivery": 2, "attempt": 1, "device": 2, "preferences": 1, "audit": 1, "presence": 1, "bet": 2}, kinds)

	e := decode[api.AdminErasure](t, a.as(t, "DELETE", "/admin/v1/users/ann", ""))
	require.Zero(t, e.Waiting)
	require.Equal(t, map[string]int64{
		"notifications": 3, "deliveries": 2, "attempts": 1, "devices": 2, "preferences": 0, "inbox_reads": 0, "frequency": 0, "bad_rows": 0,
		"presence": 1, "bets": 2,
	}, e.Erased)
	rec = a.as(t, "GET", "/admin/v1/users/ann/export", "")
	require.NotContains(t, rec.Body.String(), "payout")
	require.Contains(t, rec.Body.String(), "self_exclusion", "who must not be sent to is still known")
	again := decode[api.AdminErasure](t, a.as(t, "DELETE", "/admin/v1/users/ann", ""))
	require.Zero(t, again.Erased["notifications"]+again.Erased["deliveries"]+again.Erased["devices"])
	list := decode[api.AdminAuditList](t, a.as(t, "GET", "/admin/v1/audit?subject=user/ann", ""))
	require.Len(t, list.Entries, 6)
	for _, entry := range list.Entries {
		require.NotContains(t, string(entry.After)+string(entry.Before), "payout")
		require.Contains(t, string(entry.Before), `"bets":`, "what was there is counted")
	}
}
