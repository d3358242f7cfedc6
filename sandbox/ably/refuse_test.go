package ably_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// sign makes a JWT of any shape.
func sign(t *testing.T, method jwt.SigningMethod, kid string, claims jwt.MapClaims, secret any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(secret)
	require.NoError(t, err)
	return text
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{Now: clock.now, Keys: []ably.Key{
		{ID: "root", Secret: "s3cret"},
		{ID: "sub", Capability: map[string][]string{"odds:*": {"subscribe", "history"}}},
	}})
	other := start(t, ably.Config{Seed: 8, Now: clock.now})
	now := clock.now()
	claims := func(more jwt.MapClaims) jwt.MapClaims {
		m := jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		maps.Copy(m, more)
		return m
	}
	secret := []byte("s3cret")
	good := sign(t, jwt.SigningMethodHS256, "bugle0.root", claims(nil), secret)
	for _, tc := range []struct {
		name, auth   string
		status, code int
	}{
		{"a key", basic(srv.Key()), 200, 0},
		{"a JWT", "Bearer " + good, 200, 0},
		{"a JWT in base64", "Bearer " + base64.StdEncoding.EncodeToString([]byte(good)), 200, 0},
		{"nothing", "", 401, 40101},
		{"another scheme", "Digest x", 401, 40101},
		{"no base64", "Basic !", 400, 40005},
		{"no key", basic("root:x"), 400, 40005},
		{"another app", basic("other0.root:s3cret"), 404, 40400},
		{"an unknown key", basic("bugle0.none:s3cret"), 404, 40400},
		{"a wrong secret", basic("bugle0.root:wrong"), 401, 40101},
		{"garbage", "Bearer garbage", 401, 40143},
		{"a forged token", "Bearer bugle0.AAAA", 401, 40143},
		{"a JWT of another seed", "Bearer " + other.MintJWT("", nil, time.Hour), 401, 40144},
		{"none", "Bearer " + sign(t, jwt.SigningMethodNone, "bugle0.root", claims(nil), jwt.UnsafeAllowNoneSignatureType), 401, 40144},
		{"HS512", "Bearer " + sign(t, jwt.SigningMethodHS512, "bugle0.root", claims(nil), secret), 401, 40144},
		{"an unknown kid", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.nope", claims(nil), secret), 404, 40400},
		{"expired", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", claims(jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), secret), 401, 40142},
		{"not yet", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", claims(jwt.MapClaims{"iat": now.Add(time.Minute).Unix()}), secret), 401, 40144},
		{"without iat", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", jwt.MapClaims{"exp": now.Add(time.Hour).Unix()}, secret), 401, 40144},
		{"without exp", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", jwt.MapClaims{"iat": now.Unix()}, secret), 401, 40144},
		{"too long", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", claims(jwt.MapClaims{"exp": now.Add(25 * time.Hour).Unix()}), secret), 401, 40144},
		{"no capability", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.root", claims(jwt.MapClaims{"x-ably-capability": "none"}), secret), 401, 40144},
		{"a key without the right", basic(srv.KeyOf("sub")), 401, 40160},
		{"a token of such a key", "Bearer " + sign(t, jwt.SigningMethodHS256, "bugle0.sub", claims(jwt.MapClaims{"x-ably-capability": `{"*":["*"]}`}), []byte(strings.Split(srv.KeyOf("sub"), ":")[1])), 401, 40160},
	} {
		r := raw(t, srv).as(tc.auth).do("GET", "/push/deviceRegistrations", "")
		require.Equal(t, tc.status, r.Status, tc.name)
		require.Equal(t, tc.code, r.Code, tc.name)
		if tc.code != 0 {
			require.Contains(t, r.Body, fmt.Sprintf(`"href":"https://help.ably.io/error/%d"`, tc.code), tc.name)
			require.NotEmpty(t, r.Header.Get("X-Ably-ErrorMessage"), tc.name)
			require.NotContains(t, r.Body, "s3cret", tc.name)
		}
	}
	require.Equal(t, 200, raw(t, srv).as("").do("GET", "/push/deviceRegistrations?key="+srv.Key(), "").Status)
	require.Equal(t, "[1795446000000]", raw(t, srv).as("").do("GET", "/time", "").Body, "the time needs no credentials")
	require.Equal(t, 40017, raw(t, srv).do("GET", "/time?v=99", "").Code)
}

// TestCapabilities holds the matching of resources against the documentation.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	for _, tc := range []struct {
		pattern, channel string
		want             bool
	}{
		{"*", "a", true},
		{"*", "a:b:c", true},
		{"*", ably.PushLog, false},
		{"[*]*", ably.PushLog, true},
		{"[*]*", "a", true},
		{"[meta]*", ably.PushLog, true},
		{"[meta]log", ably.PushLog, false},
		{"[meta]*", "a", false},
		{"a", "a", true},
		{"a", "a:b", false},
		{"a:*", "a", false},
		{"a:*", "a:b", true},
		{"a:*", "a:b:c", true},
		{"a:*:c", "a:b:c", true},
		{"a:*:c", "a:b:b:c", false},
		{"a:*:c", "a:b", false},
		{"a*", "ab", false},
		{"a*", "a*", true},
	} {
		jwt := srv.MintJWT("", map[string][]string{tc.pattern: {"history"}}, time.Hour)
		r := raw(t, srv).as("Bearer "+jwt).do("GET", "/channels/"+tc.channel+"/messages", "")
		require.Equal(t, tc.want, r.Status == 200, "%s on %s: %d", tc.pattern, tc.channel, r.Code)
		if !tc.want {
			require.Equal(t, 40160, r.Code)
		}
	}
}

func TestTokenRequests(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{Now: clock.now, Keys: []ably.Key{
		{ID: "root", Secret: "s3cret-part"},
		{ID: "sub", Secret: "x", Capability: map[string][]string{"odds:*": {"subscribe", "history"}}},
	}})
	request := func(nonce string, at time.Time, secret, caps string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "bugle0.root\n3600000\n%s\nu1\n%d\n%s\n", caps, at.UnixMilli(), nonce)
		return jsonText(t, map[string]any{
			"keyName": "bugle0.root", "ttl": 3600000, "capability": caps, "clientId": "u1", "timestamp": at.UnixMilli(),
			"nonce": nonce, "mac": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		})
	}
	now := clock.now()
	caps := `{"*":["subscribe"]}`
	c := raw(t, srv).as("")
	for _, tc := range []struct {
		name, path, body string
		code             int
	}{
		{"signed", "bugle0.root", request("nonce-0123456789", now, "s3cret-part", caps), 0},
		{"again", "bugle0.root", request("nonce-0123456789", now, "s3cret-part", caps), 40105},
		{"signed by another", "bugle0.root", request("nonce-0123456780", now, "wrong", caps), 40101},
		{"old", "bugle0.root", request("nonce-0123456781", now.Add(-3*time.Minute), "s3cret-part", caps), 40104},
		{"early", "bugle0.root", request("nonce-0123456782", now.Add(3*time.Minute), "s3cret-part", caps), 40104},
		{"short nonce", "bugle0.root", request("nonce", now, "s3cret-part", caps), 40000},
		{"another key", "bugle0.sub", request("nonce-0123456783", now, "s3cret-part", caps), 40102},
		{"unknown key", "bugle0.none", request("nonce-0123456784", now, "s3cret-part", caps), 40400},
		{"unsigned", "bugle0.root", `{"ttl":1000}`, 40101},
		{"no capability", "bugle0.root", request("nonce-0123456785", now, "s3cret-part", "x"), 40000},
	} {
		require.Equal(t, tc.code, c.do("POST", "/keys/"+tc.path+"/requestToken", tc.body).Code, tc.name)
	}
	sub := raw(t, srv).as(basic(srv.KeyOf("sub")))
	require.JSONEq(t, `"{\"odds:*\":[\"history\"]}"`, field(t, sub.do("POST", "/keys/bugle0.sub/requestToken", `{"capability":"{\"*\":[\"history\",\"publish\"]}"}`).Body, "capability"))
	require.Equal(t, 40160, sub.do("POST", "/keys/bugle0.sub/requestToken", `{"capability":"{\"bets\":[\"publish\"]}"}`).Code)
	require.Equal(t, 40102, sub.do("POST", "/keys/bugle0.root/requestToken", `{"ttl":1000}`).Code)

	// The token works until it expires.
	token := strings.Trim(field(t, raw(t, srv).do("POST", "/keys/bugle0.root/requestToken", `{"ttl":60000}`).Body, "token"), `"`)
	bearer := c.as("Bearer " + base64.StdEncoding.EncodeToString([]byte(token)))
	require.Equal(t, 200, bearer.do("GET", "/push/channels", "").Status)
	clock.pass(time.Minute)
	require.Equal(t, 40142, bearer.do("GET", "/push/channels", "").Code)
}

// TestTokenRequestMAC is the vector of the token request specification's form,
// checked with ably-go.
func TestTokenRequestMAC(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{
		AppID: "app1", Keys: []ably.Key{{ID: "key1", Secret: "s3cret-part"}},
		Now: func() time.Time { return time.UnixMilli(1786000000000) },
	})
	r := raw(t, srv).as("").do("POST", "/keys/app1.key1/requestToken", `{"keyName":"app1.key1","ttl":3600000,"capability":"{\"*\":[\"subscribe\"]}",
		"clientId":"u1","timestamp":1786000000000,"nonce":"9a0a62bd87535609d5478c833cd780e5","mac":"1KpRwaS+pf7HmMvs80gtbjNL1wzUI69wFAK6NDX3ogg="}`)
	require.Equal(t, 200, r.Status, r.Body)
}

func TestPushRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	phone := srv.MintDevice("u1", ably.Android)
	c := raw(t, srv)
	for _, tc := range []struct {
		body string
		code int
	}{
		{``, 40001},
		{`{`, 40001},
		{`[]`, 40001},
		{`{} {}`, 40001},
		{`{"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":"x","notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"deviceId":""},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"deviceId":"a","clientId":"b"},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"deviceId":"a","x":1},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"transportType":"pigeon"},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"transportType":"fcm"},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"transportType":"apns","registrationToken":"x"},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"transportType":"web","targetUrl":"x","publicVapidKey":"y"},"notification":{"title":"A"}}`, 40000},
		{`{"recipient":{"clientId":"u1"}}`, 40000},
		{`{"recipient":{"clientId":"u1"},"payload":{"notification":{"title":"A"}}}`, 40000},
		{`{"recipient":{"clientId":"u1"},"notification":"A"}`, 40000},
		{`{"recipient":{"clientId":"u1"},"notification":{"title":1}}`, 40000},
		{`{"recipient":{"clientId":"u1"},"notification":{"ttl":"1"}}`, 40000},
		{`{"recipient":{"clientId":"u1"},"notification":{"colour":"red"}}`, 40000},
		{`{"recipient":{"clientId":"u1"},"apns":{"apns-headers":{"apns-priority":10}}}`, 40000},
		{`{"recipient":{"deviceId":"nobody"},"notification":{"title":"A"}}`, 40400},
		{`{"recipient":{"clientId":"u1"},"data":{"x":"` + strings.Repeat("x", 70<<10) + `"}}`, 40009},
	} {
		r := c.publish(tc.body)
		require.Equal(t, tc.code, r.Code, "%.80s", tc.body)
	}
	require.Empty(t, srv.Accepted())
	for _, body := range []string{
		`{"recipient":{"clientId":"u1"},"notification":{"title":"A","body":"B","icon":"i","sound":"s","collapseKey":"k","ttl":60}}`,
		`{"recipient":{"clientId":"u1"},"data":{"k":"v"},"apns":{"aps":{"content-available":1}},"fcm":{},"web":{}}`,
		`{"recipient":{"transportType":"gcm","registrationToken":"x"},"notification":{"title":"A"}}`,
		`{"recipient":{"transportType":"apns","deviceToken":"x"},"notification":{"title":"A"}}`,
		`{"recipient":{"transportType":"web","targetUrl":"x","publicVapidKey":"y","encryptionKey":{"p256dh":"p","auth":"a"}},"notification":{"title":"A"}}`,
		`{"recipient":{"clientId":"nobody"},"notification":{"title":"A"}}`,
	} {
		require.Equal(t, 204, c.publish(body).Status, body)
	}
	require.Len(t, srv.Accepted(), 5)
	require.Equal(t, uint64(1), srv.Stats().Unaddressed)

	// What the provider refuses shows on the log only.
	for _, body := range []string{
		`{"recipient":{"deviceId":"` + phone + `"},"data":{"n":1}}`,
		`{"recipient":{"deviceId":"` + phone + `"},"data":{"n":{"a":"b"}}}`,
		`{"recipient":{"deviceId":"` + phone + `"},"data":{"n":"` + strings.Repeat("x", ably.MaxPushPayload) + `"}}`,
	} {
		require.Equal(t, 204, c.publish(body).Status)
	}
	require.Equal(t, map[int]uint64{103004: 3}, srv.Stats().LogEvents)
	require.Equal(t, 40001, func() int {
		c := raw(t, srv)
		c.head["Content-Type"] = "text/plain"
		return c.publish(`{}`).Code
	}())
	require.Equal(t, 40400, c.do("GET", "/push/publish", "").Code)
	require.Equal(t, 40400, c.do("POST", "/push/admin/batch/publish", "[]").Code, "the documented example's path is wrong")
}

func TestBatch(t *testing.T) {
	t.Parallel()
	const path = "/push/batch/publish"
	one := func(to string) string {
		return `{"recipient":` + to + `,"payload":{"notification":{"title":"A"},"data":{"nid":"n"}}}`
	}
	items := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(one(`{"clientId":"u1"}`)+",", n), ",") + "]"
	}
	srv := start(t, ably.Config{})
	srv.MintDevice("u1", ably.Android)
	c := raw(t, srv)
	require.Equal(t, 40001, c.do("POST", path, ``).Code)
	require.Equal(t, 40000, c.do("POST", path, `[]`).Code)
	require.Equal(t, 40001, c.do("POST", path, `["x"]`).Code)
	require.Equal(t, 40034, c.do("POST", path, items(ably.MaxBatchNotifications+1)).Code)
	many := `[{"recipient":[` + strings.TrimSuffix(strings.Repeat(`{"clientId":"x"},`, ably.MaxBatchNotifications+1), ",") + `],"payload":{"data":{"a":"b"}}}]`
	require.Equal(t, 40034, c.do("POST", path, many).Code, "every recipient counts")
	big := `[{"recipient":{"clientId":"u1"},"payload":{"data":{"x":"` + strings.Repeat("x", ably.MaxBatchBytes) + `"}}}]`
	require.Equal(t, 413, c.do("POST", path, big).Status)
	require.Empty(t, srv.Accepted())

	r := c.do("POST", path, items(ably.MaxBatchNotifications))
	require.Equal(t, 200, r.Status)
	require.Equal(t, ably.MaxBatchNotifications, strings.Count(r.Body, "{}"))
	require.Len(t, srv.Accepted(), ably.MaxBatchNotifications)

	flat := `[{"recipient":{"clientId":"u1"},"notification":{"title":"A"}},` + one(`[]`) + "," + one(`{"clientId":"u1"}`) + "," + one(`{"deviceId":"x"}`) + "]"
	for shape, want := range map[ably.BatchReply]string{
		ably.BatchArray:   `\[{"error":.*"code":40000.*},{"error":.*"code":40000.*},{},{"error":.*"code":40400.*}\]`,
		ably.BatchSummary: `{"successCount":1,"failureCount":3,"results":\[{"error".*},{},{"error".*}\]}`,
		ably.BatchEmpty:   `^$`,
	} {
		srv := start(t, ably.Config{BatchReply: shape})
		srv.MintDevice("u1", ably.Android)
		r := raw(t, srv).do("POST", path, flat)
		require.Regexp(t, want, r.Body)
		require.Equal(t, shape == ably.BatchEmpty, r.Status == http.StatusNoContent)
		require.Len(t, srv.Accepted(), 1)
	}
}

// field returns a field of a JSON object as it is written.
func field(t *testing.T, body, name string) string {
	t.Helper()
	var m map[string]any
	decode(t, body, &m)
	require.Contains(t, m, name)
	return jsonText(t, m[name])
}
