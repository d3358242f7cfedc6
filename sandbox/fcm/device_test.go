package fcm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

func nids(as []fcm.Accepted) []string {
	out := []string{}
	for _, a := range as {
		out = append(out, a.NID)
	}
	return out
}

func TestUnregisterSoon(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	token := srv.MintToken(fcm.Android)
	srv.UnregisterSoon(token)
	require.Equal(t, 200, c.send(message(token, "")).Status)
	c.send(message(token, "")).is(t, goneBody)
}

func TestAPNsAnswers(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	ios, android := srv.MintToken(fcm.IOS), srv.MintToken(fcm.Android)
	for _, tc := range []struct {
		failure    fcm.APNsFailure
		status     int
		code       string
		apnsStatus float64
		reason     string
	}{
		{fcm.APNsUnregistered, 404, "UNREGISTERED", 410, "Unregistered"},
		{fcm.APNsDisabled, 400, "INVALID_ARGUMENT", 410, "Unregistered"},
		{fcm.APNsBadDeviceToken, 400, "INVALID_ARGUMENT", 400, "BadDeviceToken"},
		{fcm.APNsInvalidProviderToken, 401, "THIRD_PARTY_AUTH_ERROR", 403, "InvalidProviderToken"},
		{fcm.APNsBadEnvironment, 401, "THIRD_PARTY_AUTH_ERROR", 403, "BadEnvironmentKeyInToken"},
	} {
		srv.SetAPNs(ios, tc.failure)
		srv.SetAPNs(android, tc.failure)
		r := c.send(message(ios, ""))
		require.Equal(t, tc.status, r.Status)
		require.Equal(t, []string{"FcmError", "ApnsError"}, r.types())
		require.Equal(t, tc.code, r.Error.Details[0]["errorCode"])
		require.InDelta(t, tc.apnsStatus, r.Error.Details[1]["statusCode"], 0)
		require.Equal(t, tc.reason, r.Error.Details[1]["reason"])
		require.Equal(t, 200, c.send(message(android, "")).Status, "APNs knows no Android device")
	}
	srv.SetAPNs(ios, fcm.APNsOK)
	require.Equal(t, 200, c.send(message(ios, "")).Status)
}

func TestOfflineStorage(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, fcm.Config{Now: clock.now})
	c := raw(t, srv)
	send := func(token, nid, key, ttl string) {
		t.Helper()
		body := `"data":{"nid":"` + nid + `"},"android":{"ttl":"` + ttl + `s","collapse_key":"` + key + `"}`
		require.Equal(t, 200, c.send(message(token, body)).Status)
	}
	token := srv.MintToken(fcm.Android)
	srv.SetOffline(token)
	send(token, "now-or-never", "", "0")
	send(token, "short", "", "60")
	send(token, "a1", "a", "3600")
	send(token, "b1", "b", "3600")
	send(token, "a2", "a", "3600")
	send(token, "c1", "c", "3600")
	send(token, "d1", "d", "3600")
	send(token, "plain", "", "3600")
	send(token, "e1", "e", "3600") // a fifth key evicts one
	clock.pass(time.Minute)
	got, deleted := srv.SetOnline(token)
	require.Equal(t, []string{"a2", "c1", "d1", "plain", "e1"}, nids(got))
	require.False(t, deleted)
	send(token, "online", "", "3600")
	got, _ = srv.SetOnline(token)
	require.Empty(t, got, "what an online device gets is not stored")

	srv.SetOffline(token)
	for i := range 101 {
		send(token, fmt.Sprint(i), "", "3600")
	}
	send(token, "keyed", "k", "3600")
	got, deleted = srv.SetOnline(token)
	require.Equal(t, []string{"keyed"}, nids(got))
	require.True(t, deleted)
}

func TestOfflineStorageOfOtherPlatforms(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, fcm.Config{Now: clock.now})
	c := raw(t, srv)
	off := clock.now().Add(time.Minute).Unix()
	ios, web := srv.MintToken(fcm.IOS), srv.MintToken(fcm.Web)
	srv.SetOffline(ios)
	srv.SetOffline(web)
	for i, body := range []string{
		fmt.Sprintf(`"data":{"nid":"i1"},"apns":{"headers":{"apns-expiration":"%d","apns-collapse-id":"x"}}`, off),
		fmt.Sprintf(`"data":{"nid":"i2"},"apns":{"headers":{"apns-expiration":"%d","apns-collapse-id":"x"}}`, off+60),
		`"data":{"nid":"i3"},"apns":{"headers":{"apns-expiration":"0"}}`,
		`"data":{"nid":"i4"},"apns":{"headers":{"apns-expiration":"300"}}`, // 1970
		`"data":{"nid":"w1"},"webpush":{"headers":{"TTL":"60","Topic":"x"}}`,
		`"data":{"nid":"w2"},"webpush":{"headers":{"TTL":"120","Topic":"x"}}`,
		`"data":{"nid":"w3"},"webpush":{"headers":{"TTL":"60"}}`,
	} {
		token := ios
		if i >= 4 {
			token = web
		}
		require.Equal(t, 200, c.send(message(token, body)).Status)
	}
	clock.pass(time.Minute)
	got, _ := srv.SetOnline(ios)
	require.Equal(t, []string{"i2"}, nids(got))
	got, _ = srv.SetOnline(web)
	require.Equal(t, []string{"w2"}, nids(got))
}

func TestDefaultLifetimes(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	for i, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
		require.Equal(t, 200, c.send(message(srv.MintToken(platform), "")).Status)
		want := fcm.MaxTTL
		if platform == fcm.IOS {
			want = 30 * 24 * time.Hour
		}
		require.Equal(t, want, srv.Accepted()[i].TTL)
	}
}

func TestTextsByPlatform(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	body := `"notification":{"title":"T","body":"B"},"data":{"nid":"n","x":"1"},` +
		`"android":{"notification":{"title":"AT","tag":"at"},"data":{"nid":"a"}},` +
		`"apns":{"payload":{"aps":{"alert":{"body":"IB"}}}},` +
		`"webpush":{"notification":{"title":"WT","body":"WB","tag":"wt"},"data":{"nid":"w"}}`
	for _, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
		require.Equal(t, 200, c.send(message(srv.MintToken(platform), body)).Status)
	}
	require.Equal(t, 200, c.send(message(srv.MintToken(fcm.IOS), `"apns":{"payload":{"aps":{"alert":"text"}}}`)).Status)
	require.Equal(t, 200, c.send(message(srv.MintToken(fcm.Android),
		`"androidV2":{"ttl":"7s","remoteNotification":{"notification":{"title":"V2","tag":"v2","id":3}}}`)).Status)
	got := srv.Accepted()
	type texts struct{ title, body, nid, tag string }
	var seen []texts
	for _, a := range got {
		seen = append(seen, texts{a.Title, a.Body, a.NID, a.Tag})
	}
	require.Equal(t, []texts{
		{"AT", "B", "a", "at"}, {"T", "IB", "n", "at"}, {"WT", "WB", "w", "wt"}, {"", "text", "", ""}, {"V2", "", "", "v2"},
	}, seen)
	require.Equal(t, map[string]string{"nid": "n", "x": "1"}, got[1].Data)
	require.Equal(t, 7*time.Second, got[4].TTL)
}

func TestDeviceQuota(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, fcm.Config{Now: clock.now, DeviceQuota: 3})
	c := raw(t, srv)
	android, ios := srv.MintToken(fcm.Android), srv.MintToken(fcm.IOS)
	for range 3 {
		require.Equal(t, 200, c.send(message(android, "")).Status)
	}
	r := c.send(message(android, ""))
	require.Equal(t, 429, r.Status)
	require.Equal(t, []string{"FcmError", "QuotaFailure"}, r.types())
	require.Equal(t, 200, c.send(message(srv.MintToken(fcm.Android), "")).Status, "the limit is each device's own")
	for range 4 {
		require.Equal(t, 200, c.send(message(ios, "")).Status)
	}
	clock.pass(time.Minute)
	require.Equal(t, 200, c.send(message(android, "")).Status)
}

func TestProjectQuota(t *testing.T) {
	t.Parallel()
	for _, header := range []bool{false, true} {
		clock := newVirtual()
		clock.pass(23 * time.Second) // windows are not aligned to the clock
		srv := start(t, fcm.Config{Now: clock.now, ProjectQuota: 5, QuotaRetryAfter: header})
		c := raw(t, srv)
		token := srv.MintToken(fcm.IOS)
		require.Equal(t, 200, c.send(message(token, "")).Status)
		// What is refused uses quota as well, but not a 429.
		require.Equal(t, 400, c.send("{").Status)
		require.Equal(t, 404, c.send(message(alter(token), "")).Status)
		require.NoError(t, srv.Inject(fcm.FaultRule{Kind: fcm.QuotaFCM}))
		require.Equal(t, 429, c.send(message(token, "")).Status)
		require.Equal(t, 200, c.send(message(token, "")).Status)
		require.Equal(t, 200, c.send(message(token, "")).Status)

		clock.pass(59*time.Second + 500*time.Millisecond)
		r := c.send(message(token, ""))
		require.Equal(t, 429, r.Status)
		require.Equal(t, []string{"ErrorInfo", "Help"}, r.types(), "the live service gives no FcmError")
		require.Equal(t, "RATE_LIMIT_EXCEEDED", r.Error.Details[0]["reason"])
		require.Equal(t, "SendsPerMinutePerProject", r.Error.Details[0]["metadata"].(map[string]any)["quota_limit"])
		require.Contains(t, r.Error.Message, "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'")
		if header {
			require.Equal(t, "1", r.Header.Get("Retry-After"))
		} else {
			require.Empty(t, r.Header.Get("Retry-After"))
		}

		clock.pass(500 * time.Millisecond) // the window refills whole
		for range 5 {
			require.Equal(t, 200, c.send(message(token, "")).Status)
		}
		require.Equal(t, 429, c.send(message(token, "")).Status)
		require.Equal(t, uint64(2), srv.Stats().Outcomes["quota_project"])
	}
}
