package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/relay/ablytoken"
)

const ablySecret = "the-secret-of-the-ably-key"

func ablyTokens(t testing.TB) api.AblyTokens {
	t.Helper()
	i, err := ablytoken.New(ablytoken.Config{Key: "app.key:" + ablySecret})
	require.NoError(t, err)
	return i
}

func TestAnAblyTokenIsTheUsersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.do(t, call{method: "POST", path: "/v1/ably/token", token: tokenFor(t, "ada")})
	require.Equal(t, 200, rec.Code, rec.Body.String())
	require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
	details := decode[api.AblyToken](t, rec)
	require.Equal(t, "ada", details.ClientID)
	require.EqualValues(t, 3600_000, details.Expires-details.Issued)
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(details.Token, claims, func(*jwt.Token) (any, error) { return []byte(ablySecret), nil })
	require.NoError(t, err)
	require.Equal(t, "ada", claims["x-ably-clientId"])
	require.Equal(t, details.Capability, claims["x-ably-capability"])
	require.NotContains(t, w.log.String(), details.Token)
	require.NotContains(t, rec.Body.String()+w.log.String(), ablySecret)
}

// Ably's SDKs send a form and take JSON or a bare token from an authUrl.
func TestAnAblyTokenComesAsItIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json, application/jwt": "application/json",
		"application/json, text/plain": "application/json",
		"application/jwt":              "application/jwt", "application/jwt, */*;q=0.1": "application/jwt",
	} {
		rec := w.do(t, call{
			method: "POST", path: "/v1/ably/token", token: tokenFor(t, "ada"), body: "clientId=bob",
			header: http.Header{"Accept": {accept}, "Content-Type": {"application/x-www-form-urlencoded"}},
		})
		require.Equal(t, 200, rec.Code, accept)
		require.Equal(t, want, rec.Header().Get("Content-Type"), accept)
		require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
		if want == "application/jwt" {
			require.Equal(t, 2, strings.Count(rec.Body.String(), "."))
		}
	}
	for _, accept := range []string{"application/json", "application/jwt"} {
		rec := w.do(t, call{method: "POST", path: "/v1/ably/token", token: tokenFor(t, "a:b"), header: http.Header{"Accept": {accept}}})
		require.Contains(t, requireProblem(t, rec, 403).Detail, "Ably channel")
	}
}

func TestWithoutAKeyThereAreNoAblyTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Tokens = nil })
	requireProblem(t, w.do(t, call{method: "POST", path: "/v1/ably/token", token: tokenFor(t, "ada")}), 404)
}

func TestOnlyNamedOriginsMayUseTheAPI(t *testing.T) {
	t.Parallel()
	const page = "https://bets.example.com"
	w := newWorld(t, func(c *api.Config) { c.Origins = []string{page}; c.Hook = &hook{} })
	preflight := func(origin, path string) http.Header {
		return w.do(t, call{method: "OPTIONS", path: path, header: http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization"},
		}}).Header()
	}
	allowed := preflight(page, "/v1/ably/token")
	require.Equal(t, page, allowed.Get("Access-Control-Allow-Origin"))
	require.Contains(t, allowed.Get("Access-Control-Allow-Headers"), "Authorization")
	require.Contains(t, allowed.Get("Access-Control-Allow-Methods"), "POST")
	require.Empty(t, allowed.Get("Access-Control-Allow-Credentials"))
	require.Contains(t, allowed.Values("Vary"), "Origin")
	for _, origin := range []string{"https://evil.example", "null", page + ".evil.example", "http://bets.example.com", ""} {
		require.Empty(t, preflight(origin, "/v1/ably/token").Get("Access-Control-Allow-Origin"), origin)
	}
	require.Empty(t, preflight(page, "/v1/hooks/ably").Get("Access-Control-Allow-Origin"), "no page has anything to do there")

	// A page can read refusals too.
	rec := w.do(t, call{method: "POST", path: "/v1/ably/token", header: http.Header{"Origin": {page}}})
	requireProblem(t, rec, 401)
	require.Equal(t, page, rec.Header().Get("Access-Control-Allow-Origin"))

	closed := newWorld(t)
	rec = closed.do(t, call{method: "POST", path: "/v1/ably/token", token: tokenFor(t, "ada"), header: http.Header{"Origin": {page}}})
	require.Equal(t, 200, rec.Code)
	require.Empty(t, rec.Header().Get("Access-Control-Allow-Origin"))
}
