package api_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/notifier"
)

// route is one operation for apps and what it answers to whom.
type route struct {
	method, pattern, path, body string
	// owner is the status for the user whose device d1 is, other for anybody else.
	owner, other int
}

func routes() []route {
	return []route{
		{method: "POST", pattern: "/v1/devices/{id}/activate", path: "/v1/devices/d1/activate", body: activation(fcmToken("other")), owner: 200, other: 409},
		{method: "POST", pattern: "/v1/devices/{id}/deactivate", path: "/v1/devices/d1/deactivate", owner: 204, other: 404},
		{method: "GET", pattern: "/v1/devices/{id}", path: "/v1/devices/d1", owner: 200, other: 404},
		{method: "GET", pattern: "/v1/devices", path: "/v1/devices", owner: 200, other: 200},
		{method: "GET", pattern: "/v1/preferences", path: "/v1/preferences", owner: 200, other: 200},
		{method: "PUT", pattern: "/v1/preferences", path: "/v1/preferences", body: `{"muted":["loss"],"opted_in":[]}`, owner: 200, other: 200},
		{method: "GET", pattern: "/v1/notifications", path: "/v1/notifications?unread=true", owner: 200, other: 200},
		{method: "POST", pattern: "/v1/notifications/{id}/read", path: "/v1/notifications/4711/read", owner: 204, other: 404},
		{method: "POST", pattern: "/v1/notifications/read", path: "/v1/notifications/read", body: `{"up_to":"4711"}`, owner: 204, other: 204},
		{method: "POST", pattern: "/v1/ably/token", path: "/v1/ably/token", owner: 200, other: 200},
		{method: "GET", pattern: "/v1/odds/{event}", path: "/v1/odds/ascot-1505", owner: 200, other: 200},
		{method: "GET", pattern: "/v1/odds/{event}/stream", path: "/v1/odds/ascot-1505/stream", owner: 200, other: 200},
	}
}

// publicRoutes are those that ask nobody who they are.
func publicRoutes() []string {
	return []string{"GET /healthz", "HEAD /healthz", "GET /readyz", "HEAD /readyz", "GET /openapi.json", "GET /docs"}
}

// adasInbox holds one notification, and it is ada's.
type adasInbox struct{ exampleInbox }

func (i adasInbox) MarkRead(ctx context.Context, user devices.UserID, id notifier.NotificationID) error {
	if user != "ada" {
		return notifier.ErrNoSuchItem
	}
	return i.exampleInbox.MarkRead(ctx, user, id)
}

// badCredentials are all that must not open any route.
func badCredentials(t *testing.T) map[string]http.Header {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	spoilt := func(change func(jwt.MapClaims)) http.Header {
		c := claims("ada")
		change(c)
		return bearer(sign(t, c))
	}
	with := func(m jwt.SigningMethod, key any, header ...string) http.Header {
		token := jwt.NewWithClaims(m, claims("ada"))
		for _, h := range header {
			token.Header[h] = []string{"x"}
		}
		s, err := token.SignedString(key)
		require.NoError(t, err)
		return bearer(s)
	}
	good := tokenFor(t, "ada")
	operators, _, err := api.NewAdminToken("ops", time.Now(), time.Hour)
	require.NoError(t, err)
	return map[string]http.Header{
		"no header":          {},
		"empty":              {"Authorization": {""}},
		"no token":           {"Authorization": {"Bearer "}},
		"basic":              {"Authorization": {"Basic " + good}},
		"two headers":        {"Authorization": {"Bearer " + good, "Bearer " + good}},
		"garbage":            bearer("garbage"),
		"an operator's":      bearer(operators.Reveal()),
		"three parts":        bearer("a.b.c"),
		"too long":           bearer(good + strings.Repeat("A", 9<<10)),
		"cut signature":      bearer(good[:len(good)-4]),
		"no signature":       bearer(good[:strings.LastIndexByte(good, '.')+1]),
		"expired":            spoilt(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"no exp":             spoilt(func(c jwt.MapClaims) { delete(c, "exp") }),
		"exp not a number":   spoilt(func(c jwt.MapClaims) { c["exp"] = "tomorrow" }),
		"not yet":            spoilt(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"issued later":       spoilt(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(time.Hour).Unix() }),
		"wrong issuer":       spoilt(func(c jwt.MapClaims) { c["iss"] = "https://elsewhere.example" }),
		"no issuer":          spoilt(func(c jwt.MapClaims) { delete(c, "iss") }),
		"wrong audience":     spoilt(func(c jwt.MapClaims) { c["aud"] = []string{"bets"} }),
		"no audience":        spoilt(func(c jwt.MapClaims) { delete(c, "aud") }),
		"no subject":         spoilt(func(c jwt.MapClaims) { delete(c, "sub") }),
		"empty subject":      spoilt(func(c jwt.MapClaims) { c["sub"] = "" }),
		"subject is control": spoilt(func(c jwt.MapClaims) { c["sub"] = "ada\x00" }),
		"subject too long":   spoilt(func(c jwt.MapClaims) { c["sub"] = strings.Repeat("a", 129) }),
		"alg none":           with(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"RS256":              with(jwt.SigningMethodRS256, key),
		"HS512":              with(jwt.SigningMethodHS512, []byte(secret)),
		"another secret":     with(jwt.SigningMethodHS256, []byte("another secret of 32 bytes or more")),
		"critical extension": with(jwt.SigningMethodHS256, []byte(secret), "crit"),
	}
}

// With either authenticator: tokens of one are no tokens of the other.
func TestNoRouteOpensToBadCredentials(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	publicKeys(t, i)
	published := newJWKS(t, i, &logtest.Buffer{})
	_, err := published.Authenticate(t.Context(), signer{"ec", jwt.SigningMethodES256, keys()["ec"]}.token(t, claims("ada"), nil))
	require.NoError(t, err)
	withKeys := badCredentials(t)
	withKeys["the shared secret's"] = http.Header{"Authorization": {"Bearer " + tokenFor(t, "ada")}}
	for _, kind := range []struct {
		name        string
		world       *world
		credentials map[string]http.Header
	}{
		{"HS256", newWorld(t), badCredentials(t)},
		{"JWKS", newWorld(t, func(c *api.Config) { c.Auth = published }), withKeys},
	} {
		for name, header := range kind.credentials {
			for _, rt := range routes() {
				t.Run(kind.name+" "+name+" "+rt.method+" "+rt.pattern, func(t *testing.T) {
					t.Parallel()
					w := kind.world
					rec := w.do(t, call{method: rt.method, path: rt.path, body: rt.body, header: header})
					p := requireProblem(t, rec, http.StatusUnauthorized)
					require.Equal(t, "urn:bugle:problem:unauthorized", p.Type)
					require.Contains(t, rec.Header().Get("WWW-Authenticate"), `Bearer realm="bugle"`)
					found, err := w.registry.Devices(t.Context(), "ada")
					require.NoError(t, err)
					require.Empty(t, found, "a refused request must change nothing")
				})
			}
		}
	}
}

func TestAnExpiredTokenSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := claims("ada")
	c["exp"] = time.Now().Add(-time.Minute).Unix()
	rec := w.do(t, call{method: "GET", path: "/v1/devices", token: sign(t, c)})
	require.Equal(t, "the token has expired", requireProblem(t, rec, 401).Detail)
	require.Equal(t, `Bearer realm="bugle", error="invalid_token", error_description="the token has expired"`,
		rec.Header().Get("WWW-Authenticate"))
}

func TestALittleClockSkewIsForgiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := claims("ada")
	c["exp"], c["iat"] = time.Now().Add(-10*time.Second).Unix(), time.Now().Add(10*time.Second).Unix()
	require.Equal(t, 200, w.do(t, call{method: "GET", path: "/v1/devices", token: sign(t, c)}).Code)
}

func TestEachRouteKnowsItsOwner(t *testing.T) {
	t.Parallel()
	for _, rt := range routes() {
		t.Run(rt.method+" "+rt.pattern, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *api.Config) { c.Inbox = adasInbox{} })
			rec := w.do(t, call{method: "POST", path: "/v1/devices/d1/activate", body: activation(fcmToken("first")), token: tokenFor(t, "ada")})
			require.Equal(t, 200, rec.Code, rec.Body.String())

			rec = w.do(t, call{method: rt.method, path: rt.path, body: rt.body, token: tokenFor(t, "bob")})
			require.Equal(t, rt.other, rec.Code, rec.Body.String())
			require.NotContains(t, rec.Body.String(), "d1")
			kept, err := w.registry.Device(t.Context(), "ada", "d1")
			require.NoError(t, err)
			require.EqualValues(t, "active", kept.State)
			require.EqualValues(t, 1, kept.Generation)

			rec = w.do(t, call{method: rt.method, path: rt.path, body: rt.body, token: tokenFor(t, "ada")})
			require.Equal(t, rt.owner, rec.Code, rec.Body.String())
		})
	}
}

func TestSomebodyElsesDeviceAnswersAsIfItWereNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(t, call{method: "POST", path: "/v1/devices/d1/activate", body: activation(fcmToken("first")), token: tokenFor(t, "ada")})
	for _, c := range []call{{method: "GET", path: "/v1/devices/"}, {method: "POST", path: "/v1/devices/"}} {
		suffix := ""
		if c.method == "POST" {
			suffix = "/deactivate"
		}
		theirs := w.do(t, call{method: c.method, path: c.path + "d1" + suffix, token: tokenFor(t, "bob")})
		nobodys := w.do(t, call{method: c.method, path: c.path + "d2" + suffix, token: tokenFor(t, "bob")})
		require.Equal(t, 404, theirs.Code)
		require.Equal(t, nobodys.Code, theirs.Code)
		require.JSONEq(t, nobodys.Body.String(), theirs.Body.String())
	}
}

// The table above must hold every route that the handler serves, and the
// document must tell of each.
func TestTheTableOfRoutesIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.do(t, call{method: "GET", path: "/openapi.json"})
	require.Equal(t, 200, rec.Code)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	var documented, tested, served []string
	for path, item := range doc.Paths {
		for method := range item {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, rt := range routes() {
		tested = append(tested, rt.method+" "+rt.pattern)
	}
	require.ElementsMatch(t, documented, tested)
	require.NoError(t, chi.Walk(w.handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served = append(served, method+" "+route)
		return nil
	}))
	require.ElementsMatch(t, served, append(tested, publicRoutes()...))
	require.NotNil(t, doc.Components.Schemas["Problem"])
	require.NotContains(t, rec.Body.String(), "ErrorModel")
	for _, route := range publicRoutes() {
		method, path, _ := strings.Cut(route, " ")
		require.Equal(t, 200, w.do(t, call{method: method, path: path}).Code, route)
	}
}

func TestAWeakSecretIsRefused(t *testing.T) {
	t.Parallel()
	_, err := api.NewHS256(api.HS256Config{Secret: []byte("short")})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "short\"")
}

func TestIssuerAndAudienceAreOptional(t *testing.T) {
	t.Parallel()
	auth, err := api.NewHS256(api.HS256Config{Secret: []byte(secret)})
	require.NoError(t, err)
	user, err := auth.Authenticate(t.Context(), sign(t, jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(time.Minute).Unix()}))
	require.NoError(t, err)
	require.EqualValues(t, "ada", user)
}
