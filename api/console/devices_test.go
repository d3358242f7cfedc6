package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADeviceIsDeactivated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	state := func() (state string) {
		w.scan(t, &state, `SELECT state FROM devices WHERE id = 'phone-1'`)
		return state
	}
	user := page(t, b, "/users?id=ann")
	require.Contains(t, user, `name="device" value="phone-1"`)
	require.NotContains(t, user, `name="device" value="phone-2"`, "it is inactive already")
	form := url.Values{"user": {"ann"}, "device": {"phone-1"}, "reason": {strings.Repeat("x", 501)}}
	res, _ := b.post(t, "/users/deactivate", form)
	require.Contains(t, text(page(t, b, res.Header.Get("Location"))), "Not done.")
	require.Equal(t, "active", state())

	form.Set("reason", "request 4711")
	res, _ = b.post(t, "/users/deactivate", form)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Equal(t, "/users?id=ann", res.Header.Get("Location"))
	told := page(t, b, "/users?id=ann")
	require.Contains(t, text(told), "Done. phone-1 is deactivated until its app activates it again.")
	require.NotContains(t, told, `name="device" value="phone-1"`)
	require.Equal(t, "inactive", state())
	var entries int
	w.scan(t, &entries, `SELECT COUNT(*) FROM audit WHERE action = 'deactivate' AND actor = 'alice' AND subject = 'device/phone-1' AND after_state LIKE '%4711%'`)
	require.Equal(t, 1, entries)

	form.Set("device", "nothing")
	res, _ = b.post(t, "/users/deactivate", form)
	require.Contains(t, text(page(t, b, res.Header.Get("Location"))), "Not done.")
}
