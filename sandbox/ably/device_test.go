package ably_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

func decode(t *testing.T, body string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), into), body)
}

// registration is the body of a device registration.
func registration(id, clientID, token string) string {
	return `{"id":"` + id + `","clientId":"` + clientID + `","platform":"android","formFactor":"phone","deviceSecret":"secret","metadata":{"tier":"gold"},
		"push":{"recipient":{"transportType":"fcm","registrationToken":"` + token + `"}}}`
}

func TestDeviceRegistrations(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	const path = "/push/deviceRegistrations"

	r := c.do("PUT", path+"/d1", registration("d1", "u1", "t1"))
	require.Equal(t, 200, r.Status)
	require.JSONEq(t, `{"id":"d1","clientId":"u1","platform":"android","formFactor":"phone","metadata":{"tier":"gold"},
		"push":{"recipient":{"transportType":"fcm","registrationToken":"t1"},"state":"ACTIVE"}}`, r.Body, "the secret is never returned")
	require.Equal(t, r.Body, c.do("GET", path+"/d1", "").Body)

	for _, tc := range []struct {
		method, path, body string
		status, code       int
	}{
		{"GET", path + "/nobody", "", 404, 40400},
		{"PUT", path + "/d2", registration("d1", "u1", "t1"), 400, 40015},
		{"POST", path, `{"platform":"android","formFactor":"phone"}`, 400, 40015},
		{"PUT", path + "/d2", `{"platform":"fridge","formFactor":"phone"}`, 400, 40000},
		{"PUT", path + "/d2", `{"platform":"ios","formFactor":"fridge"}`, 400, 40000},
		{"PUT", path + "/d2", `{"platform":"ios","formFactor":"phone"}`, 400, 40000},
		{"PUT", path + "/d1", `{"platform":"ios","formFactor":"phone","push":{"recipient":{"transportType":"apns","deviceToken":"x"}}}`, 400, 40000},
		{"PATCH", path + "/d1", `{"platform":"ios"}`, 400, 40000},
		{"PATCH", path + "/d1", `{"push":{"recipient":{"transportType":"fcm"}}}`, 400, 40000},
		{"PATCH", path + "/nobody", `{"clientId":"u2"}`, 404, 40400},
		{"GET", path + "?limit=1001", "", 400, 40003},
		{"GET", path + "?limit=x", "", 400, 40003},
		{"GET", path + "?cursor=x", "", 400, 40003},
		{"DELETE", path, "", 400, 40003},
		{"DELETE", path + "?deviceId=a&clientId=b", "", 400, 40003},
		{"DELETE", path + "/nobody", "", 204, 0},
		{"DELETE", path + "?clientId=nobody", "", 204, 0},
		{"PATCH", path, "{}", 405, 40500},
		{"POST", path + "/d1", "{}", 405, 40500},
		{"POST", path + "/d1/resetUpdateToken", "", 200, 0},
		{"POST", path + "/nobody/resetUpdateToken", "", 404, 40400},
	} {
		r := c.do(tc.method, tc.path, tc.body)
		require.Equal(t, tc.status, r.Status, "%s %s", tc.method, tc.path)
		require.Equal(t, tc.code, r.Code, "%s %s", tc.method, tc.path)
	}

	// A change of client moves the device.
	require.Equal(t, 200, c.do("PATCH", path+"/d1", `{"clientId":"u2","metadata":{}}`).Status)
	require.Equal(t, "[]", c.do("GET", path+"?clientId=u1", "").Body)
	require.Contains(t, c.do("GET", path+"?clientId=u2&deviceId=d1&state=ACTIVE", "").Body, `"id":"d1"`)
	require.Equal(t, "[]", c.do("GET", path+"?state=FAILED", "").Body)

	require.Equal(t, 204, c.do("DELETE", path+"/d1", "").Status)
	require.Equal(t, 404, c.do("GET", path+"/d1", "").Status)
	require.ErrorIs(t, srv.KillDevice("d1"), ably.ErrUnknownDevice)
	_, err := srv.DeviceState("d1")
	require.ErrorIs(t, err, ably.ErrUnknownDevice)
	require.ErrorIs(t, srv.LogPush("d1", 103005), ably.ErrUnknownDevice)
}

// TestDeviceActivation is the way of a phone that has a token of its user's
// and no right to administer.
func TestDeviceActivation(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	caps := map[string][]string{"push:*": {"subscribe", "push-subscribe"}}
	phone := raw(t, srv).as("Bearer " + srv.MintJWT("u1", caps, time.Hour))
	const path = "/push/deviceRegistrations"
	require.Equal(t, 61002, phone.do("POST", path, registration("d1", "u2", "t")).Code)
	r := phone.do("POST", path, registration("d1", "u1", "t"))
	require.Equal(t, 201, r.Status)
	var got struct{ DeviceIdentityToken struct{ Token string } }
	decode(t, r.Body, &got)
	require.NotEmpty(t, got.DeviceIdentityToken.Token)

	// Without proof of being the device nothing goes, with it its own things.
	require.Equal(t, 40160, phone.do("GET", path+"/d1", "").Code)
	require.Equal(t, 40160, phone.do("PUT", path+"/d1", registration("d1", "u1", "t")).Code)
	for name, value := range map[string]string{"X-Ably-DeviceToken": got.DeviceIdentityToken.Token, "X-Ably-DeviceSecret": "secret"} {
		own := raw(t, srv).as(phone.auth)
		own.head[name] = value
		require.Equal(t, 200, own.do("GET", path+"/d1", "").Status, name)
		require.Equal(t, 200, own.do("PATCH", path+"/d1", `{"push":{"recipient":{"transportType":"fcm","registrationToken":"t2"}}}`).Status, name)
		require.Equal(t, 40160, own.do("PATCH", path+"/d1", `{"clientId":"u2"}`).Code, name)
		require.Equal(t, 40160, own.do("GET", path+"/other", "").Code, name)
		require.Equal(t, 40160, own.do("GET", path, "").Code, name)
		require.Equal(t, 40160, own.do("DELETE", path+"?clientId=u1", "").Code, name)
	}

	// Subscriptions: its own client, on channels that the token covers.
	const subs = "/push/channelSubscriptions"
	require.Equal(t, 201, phone.do("POST", subs, `{"channel":"push:a","clientId":"u1"}`).Status)
	require.Equal(t, 201, phone.do("POST", subs, `{"channel":"push:a","deviceId":"d1"}`).Status, "the device is its client's")
	require.Equal(t, 40160, phone.do("POST", subs, `{"channel":"push:a","clientId":"u2"}`).Code)
	require.Equal(t, 40160, phone.do("POST", subs, `{"channel":"pushenabled:a","clientId":"u1"}`).Code)
	require.Equal(t, 40160, phone.do("GET", subs, "").Code)
	require.Equal(t, 40160, phone.do("GET", "/push/channels", "").Code)
	require.Equal(t, 204, phone.do("DELETE", subs+"?clientId=u1", "").Status)
	require.JSONEq(t, `[{"channel":"push:a","deviceId":"d1"}]`, raw(t, srv).do("GET", subs, "").Body)
}

func TestChannelSubscriptions(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	id := srv.MintDevice("u1", ably.IOS)
	const path = "/push/channelSubscriptions"
	for _, body := range []string{
		`{"channel":"push:a","deviceId":"` + id + `"}`, `{"channel":"push:a","clientId":"u1"}`, `{"channel":"push:b","clientId":"u1"}`,
	} {
		r := c.do("POST", path, body)
		require.Equal(t, 201, r.Status)
		require.JSONEq(t, body, r.Body)
	}
	for _, tc := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", path, `{"channel":"push:a"}`, 40000},
		{"POST", path, `{"channel":"push:a","clientId":"u1","deviceId":"x"}`, 40000},
		{"POST", path, `{"clientId":"u1"}`, 40010},
		{"POST", path, `{"channel":"other:a","clientId":"u1"}`, 40000},
		{"POST", path, `{"channel":"push:a","deviceId":"nobody"}`, 40400},
		{"DELETE", path, "", 40003},
		{"DELETE", path + "?clientId=nobody&channel=x", "", 0},
		{"PUT", path, "{}", 40500},
	} {
		require.Equal(t, tc.code, c.do(tc.method, tc.path, tc.body).Code, "%s %s %s", tc.method, tc.path, tc.body)
	}
	count := func(query string) int {
		var got []map[string]string
		decode(t, c.do("GET", path+query, "").Body, &got)
		return len(got)
	}
	require.Equal(t, 3, count(""))
	require.Equal(t, 2, count("?clientId=u1"))
	require.Equal(t, 0, count("?clientId=u1&deviceId="+id))
	require.Equal(t, 3, count("?concatFilters=true&clientId=u1&deviceId="+id))
	require.Equal(t, `["push:a","push:b"]`, c.do("GET", "/push/channels", "").Body)
	require.Equal(t, 204, c.do("DELETE", path+"?channel=push:b&clientId=u1", "").Status)
	require.Equal(t, 2, count(""))
	srv.RemoveDevice(id) // takes its subscriptions with it
	require.Equal(t, 1, count(""))
	require.Equal(t, 204, c.do("DELETE", path+"?clientId=u1", "").Status)
	require.Equal(t, `[]`, c.do("GET", "/push/channels", "").Body)
}

// TestAblyChannelTransport pushes by the test transport, which shows the push
// on a channel.
func TestAblyChannelTransport(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	to := func(key string) string {
		return fmt.Sprintf(`{"transportType":"ablyChannel","channel":"pushed","ablyKey":%q,"ablyUrl":%q}`, key, srv.URL())
	}
	require.Equal(t, 204, c.publish(`{"recipient":`+to(srv.Key())+`,"notification":{"title":"A"},"data":{"nid":"n"}}`).Status)
	var got []struct{ Name, Data string }
	decode(t, c.do("GET", "/channels/pushed/messages", "").Body, &got)
	require.Len(t, got, 1)
	require.Equal(t, "__ably_push__", got[0].Name)
	require.JSONEq(t, `{"notification":{"title":"A"},"data":{"nid":"n"}}`, got[0].Data)
	require.Equal(t, 204, c.publish(`{"recipient":`+to("bugle0.root:wrong")+`,"notification":{"title":"A"}}`).Status)
	require.Equal(t, map[int]uint64{103008: 1}, srv.Stats().LogEvents)
	require.Equal(t, "pushed", srv.Accepted()[0].Target())
}

func TestMintDevice(t *testing.T) {
	t.Parallel()
	a, b := start(t, ably.Config{Seed: 5}), start(t, ably.Config{Seed: 5})
	for _, platform := range []string{ably.Android, ably.IOS, ably.Browser, "web"} {
		require.Equal(t, a.MintDevice("u", platform), b.MintDevice("u", platform))
	}
	require.Equal(t, a.Key(), b.Key())
	require.Panics(t, func() { a.MintDevice("u", "fridge") })
	require.Equal(t, 200, raw(t, b).as("Bearer "+a.MintJWT("u", nil, time.Hour)).do("GET", "/push/channels", "").Status)
}

func TestChannelPush(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	phone, page := srv.MintDevice("u1", ably.Android), srv.MintDevice("u2", ably.Browser)
	for _, sub := range []string{`"deviceId":"` + phone + `"`, `"clientId":"u1"`, `"clientId":"u2"`, `"clientId":"nobody"`} {
		require.Equal(t, 201, c.do("POST", "/push/channelSubscriptions", `{"channel":"push:a",`+sub+`}`).Status)
	}
	message := `{"id":"once","data":"d","extras":{"push":{"notification":{"title":"A"},"data":{"nid":"n"}}}}`
	require.Equal(t, 201, c.do("POST", "/channels/push:a/messages", message).Status)
	require.Equal(t, 201, c.do("POST", "/channels/push:a/messages", message).Status, "recognised by its id")
	require.Equal(t, 201, c.do("POST", "/channels/push:b/messages", message).Status, "nobody subscribed")
	require.Equal(t, 201, c.do("POST", "/channels/other:a/messages", message).Status, "not enabled")
	got := srv.Accepted()
	require.Len(t, got, 3)
	devices := map[string]int{}
	for _, a := range got {
		require.Equal(t, "push:a", a.Channel)
		require.Equal(t, "A", a.Title)
		devices[a.DeviceID]++
	}
	require.Equal(t, map[string]int{phone: 2, page: 1}, devices, "subscribed twice, pushed twice")

	s := dial(t, srv, key(srv))
	s.is(4)
	s.send(`{"action":15,"channel":"push:a","msgSerial":0,"messages":[{"extras":{"push":{"data":{"nid":"m"}}}}]}`)
	s.is(1)
	s.send(`{"action":15,"channel":"push:a","msgSerial":1,"messages":[{"extras":{"push":{"notification":"x"}}}]}`)
	require.Equal(t, 40000, s.is(2).Error.Code)
	s.send(`{"action":7}`)
	s.is(8)
	require.Eventually(t, func() bool { return len(srv.Accepted()) == 6 }, time.Minute, time.Millisecond)
}
