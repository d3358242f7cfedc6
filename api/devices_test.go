package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func (w *world) activate(t *testing.T, user, id, body string) api.Device {
	t.Helper()
	rec := w.do(t, call{method: "POST", path: "/v1/devices/" + id + "/activate", body: body, token: tokenFor(t, user)})
	require.Equal(t, 200, rec.Code, rec.Body.String())
	require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
	return decode[api.Device](t, rec)
}

func TestADeviceLivesThroughTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.activate(t, "ada", "d1", activation(fcmToken("one")))
	require.Equal(t, "d1", first.ID)
	require.Equal(t, "android", first.Platform)
	require.Equal(t, "active", first.State)
	require.EqualValues(t, 1, first.Generation)
	require.Equal(t, "en-GB", first.Locale)
	require.Equal(t, "Europe/London", first.TimeZone)
	require.Equal(t, "4.2.0", first.AppVersion)
	require.WithinDuration(t, time.Now(), first.ActivatedAt, time.Minute)
	require.Equal(t, "fcm_token", first.Target.Kind)
	require.Regexp(t, `^sha256:[0-9a-f]{12}$`, first.Target.Hash)

	require.Equal(t, first, w.activate(t, "ada", "d1", activation(fcmToken("one"))), "saying it again changes nothing")

	rotated := w.activate(t, "ada", "d1", activation(fcmToken("two")))
	require.EqualValues(t, 2, rotated.Generation)
	require.NotEqual(t, first.Target.Hash, rotated.Target.Hash)

	w.activate(t, "ada", "d2", activation(fcmToken("two")))
	rec := w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")})
	list := decode[api.DeviceList](t, rec)
	require.Len(t, list.Devices, 2)
	states := map[string]string{}
	for _, d := range list.Devices {
		states[d.ID] = d.State
	}
	require.Equal(t, map[string]string{"d1": "inactive", "d2": "active"}, states, "the target has moved")

	for range 2 {
		rec = w.do(t, call{method: "POST", path: "/v1/devices/d2/deactivate", token: tokenFor(t, "ada")})
		require.Equal(t, 204, rec.Code)
		require.Empty(t, rec.Body.String())
	}
	require.Equal(t, "inactive", decode[api.Device](t, w.do(t, call{method: "GET", path: "/v1/devices/d2", token: tokenFor(t, "ada")})).State)
}

func TestAnotherUserTakesADeviceOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.activate(t, "ada", "d1", activation(fcmToken("one")))
	rec := w.do(t, call{method: "POST", path: "/v1/devices/d1/activate", body: activation(fcmToken("two")), token: tokenFor(t, "bob")})
	require.Equal(t, "urn:bugle:problem:conflict", requireProblem(t, rec, 409).Type)

	require.EqualValues(t, 2, w.activate(t, "bob", "d1", activation(fcmToken("one"))).Generation)
	require.Equal(t, 404, w.do(t, call{method: "GET", path: "/v1/devices/d1", token: tokenFor(t, "ada")}).Code)
}

func TestNobodyActivatesAnothersClientID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"platform":"web","target":{"kind":"ably_client","value":"ada"}}`
	rec := w.do(t, call{method: "POST", path: "/v1/devices/d1/activate", body: body, token: tokenFor(t, "bob")})
	require.Equal(t, "urn:bugle:problem:forbidden", requireProblem(t, rec, 403).Type)
	w.activate(t, "ada", "d2", body)
}

func TestNothingTellsATarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	value := fcmToken("tell-tale")
	token := tokenFor(t, "ada")
	var told strings.Builder
	for _, c := range []call{
		{method: "POST", path: "/v1/devices/d1/activate", body: activation(value)},
		{method: "GET", path: "/v1/devices/d1"},
		{method: "GET", path: "/v1/devices"},
		// Requests that fail must not echo it either.
		{method: "POST", path: "/v1/devices/d1/activate", body: activation(value + " ")},
		{method: "POST", path: "/v1/devices/d1/activate", body: `{"platform":"android","target":{"kind":"x","value":"` + value + `"}}`},
		{method: "POST", path: "/v1/devices/d1/activate", body: `{"platform":"android","target":"` + value + `"}`},
		{method: "POST", path: "/v1/devices/d1/activate", body: `{"platform":"` + value + `"}`},
		{method: "POST", path: "/v1/devices/d1/activate", body: `{"platform":"android","target":{"kind":"fcm_token","value":"` + value},
		{method: "POST", path: "/v1/devices/d1/activate", body: `"` + value + `"`},
	} {
		c.token = token
		told.WriteString(w.do(t, c).Body.String())
	}
	told.WriteString(w.log.String())
	require.NotContains(t, told.String(), "tell-tale")
	require.NotContains(t, told.String(), token)
	require.NotContains(t, w.log.String(), "d1")
	require.NotContains(t, w.log.String(), "ada")
}

func TestAnEmptyListIsAList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.JSONEq(t, `{"devices":[]}`, w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")}).Body.String())
	require.JSONEq(t, `{"muted":[],"opted_in":[]}`, w.do(t, call{method: "GET", path: "/v1/preferences", token: tokenFor(t, "ada")}).Body.String())
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := call{method: "PUT", path: "/v1/preferences", body: `{"muted":["win","loss","win"],"opted_in":["tips"]}`, token: tokenFor(t, "ada")}
	want := `{"muted":["loss","win"],"opted_in":["tips"]}`
	rec := w.do(t, put)
	require.Equal(t, 200, rec.Code)
	require.JSONEq(t, want, rec.Body.String())
	require.JSONEq(t, want, w.do(t, call{method: "GET", path: "/v1/preferences", token: tokenFor(t, "ada")}).Body.String())
	require.JSONEq(t, `{"muted":[],"opted_in":[]}`, w.do(t, call{method: "GET", path: "/v1/preferences", token: tokenFor(t, "bob")}).Body.String())
}

// FuzzActivate sends any body: the answer is a device of the user's, or a
// problem of the caller's making that tells nothing of a valid target.
func FuzzActivate(f *testing.F) {
	for _, seed := range []string{
		activation(fcmToken("seed")),
		`{"platform":"web","target":{"kind":"ably_client","value":"ada"}}`,
		`{"platform":"ios","target":{"kind":"fcm_fid","value":"cAbcdefghij_klmnopq-12"},"locale":"","time_zone":"Local"}`,
		`{"platform":"ios","target":{"kind":"ably_device","value":"\u0000"}}`,
		`{"Platform":"ios","target":null}`, `{"target":{"target":{}}}`, `{"platform":1e999}`,
		`null`, `[]`, `{`, ``, `{}{}`, "\xff", `{"platform":"ios","platform":"web"}`, strings.Repeat("[", 10_000),
	} {
		f.Add([]byte(seed))
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := call{method: "POST", path: "/v1/devices/d1/activate", body: string(body), token: tokenFor(t, "ada")}
		rec := w.do(t, r)
		switch rec.Code {
		case 200:
			d := decode[api.Device](t, rec)
			require.Equal(t, "d1", d.ID)
			require.Equal(t, "active", d.State)
			var said api.ActivateRequest
			require.NoError(t, json.Unmarshal(body, &said))
			require.NotEmpty(t, said.Target.Value.Reveal())
		case 400, 403, 413, 415:
			requireProblem(t, rec, rec.Code)
		default:
			t.Fatalf("status %d: %s\n%s", rec.Code, rec.Body, w.log)
		}
	})
}
