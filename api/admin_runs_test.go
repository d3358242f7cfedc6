package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestTheNotificationsOfARunAreListed(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	for i := range 5 {
		a.exec(t, `INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at)
			VALUES ($1, 'bet-settled', 'listed-' || $1, 1, 'h', 1, TRUE, 'listed-' || $1, FALSE, 'user', 'ann', 'win', 'transactional', 'high', 'passed', 77, '{}', $2, $2)`,
			700+i, time.Now().UnixMicro())
	}
	var got []int64
	for path := "/admin/v1/runs/77/notifications?limit=2"; ; {
		list := decode[api.AdminRunNotificationList](t, a.as(t, "GET", path, ""))
		for _, n := range list.Notifications {
			require.Equal(t, "passed", n.State)
			require.Equal(t, "ann", n.User)
			require.Nil(t, n.ReleasedAt)
			got = append(got, n.ID)
		}
		if list.Next == nil {
			break
		}
		path = fmt.Sprintf("/admin/v1/runs/77/notifications?limit=2&after=%d", *list.Next)
	}
	require.Equal(t, []int64{700, 701, 702, 703, 704}, got)
	require.Empty(t, decode[api.AdminRunNotificationList](t, a.as(t, "GET", "/admin/v1/runs/99/notifications", "")).Notifications)
}
