package api_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
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
	}
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
	return map[string]http.Header{
		"no header":          {},
		"empty":              {"Authorization": {""}},
		"no token":           {"Authorization": {"Bearer "}},
		"basic":              {"Authorization": {"Basic " + good}},
		"two headers":        {"Authorization": {"Bearer " + good, "Bearer " + good}},
		"garbage":            bearer("garbage"),
		"three parts":        bearer("a.b.c"),
		"too long":           bearer(good + strings.Repeat("A", 9<<10)),
		"cut signature":      bearer(good[:len(good)-4]),
		"no signature":       bearer(good[:strings.LastIndexByte(good, '.')+1]),
		"expired":            spoilt(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"no exp":             spoilt(func(c jwt.MapClaims) { delete(c, "exp") }),
		"exp not a number":   spoilt(func(c jwt.MapClaims) { c["exp"] = "tomorrow" }),
		"not yet":            spoilt(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Minute).Unix() }),
		"issued later":       spoilt(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(time.Minute).Unix() }),
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

func TestNoRouteOpensToBadCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, header := range badCredentials(t) {
		for _, rt := range routes() {
			t.Run(name+" "+rt.method+" "+rt.pattern, func(t *testing.T) {
				t.Parallel()
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
			w := newWorld(t)
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

// The table above must hold every route that the OpenAPI document tells of.
func TestTheTableOfRoutesIsWhole(t *testing.T) {
	t.Parallel()
	rec := newWorld(t).do(t, call{method: "GET", path: "/openapi.json"})
	require.Equal(t, 200, rec.Code)
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	var documented, tested []string
	for path, item := range doc.Paths {
		for method := range item {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, rt := range routes() {
		tested = append(tested, rt.method+" "+rt.pattern)
	}
	require.ElementsMatch(t, documented, tested)
	require.NotNil(t, doc.Components.Schemas["Problem"])
	require.NotContains(t, rec.Body.String(), "ErrorModel")
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
