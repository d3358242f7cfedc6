package api_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
)

// adminRoute is one route of the admin listener and what it answers to an operator.
type adminRoute struct {
	method, pattern, path, body string
	media                       string // of the body, where it is not JSON
	// admin is the status for an operator; open routes answer it to everybody.
	admin int
	open  bool
}

func adminRoutes() []adminRoute {
	const v1 = "/admin/v1"
	rows := []adminRoute{
		{method: "GET", pattern: v1 + "/rules", admin: 200},
		{method: "GET", pattern: v1 + "/rules/{id}", path: v1 + "/rules/bet-settled", admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/pause", path: v1 + "/rules/bet-settled/pause", body: `{"reason":"test"}`, admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/resume", path: v1 + "/rules/bet-settled/resume", body: `{}`, admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/run", path: v1 + "/rules/bet-settled/run", admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/preview", path: v1 + "/rules/bet-settled/preview", body: `{}`, admin: 200},
		{method: "GET", pattern: v1 + "/runs", admin: 200},
		{method: "GET", pattern: v1 + "/runs/{id}", path: v1 + "/runs/12", admin: 200},
		{method: "GET", pattern: v1 + "/runs/{id}/sample", path: v1 + "/runs/12/sample", admin: 200},
		{method: "GET", pattern: v1 + "/runs/{id}/notifications", path: v1 + "/runs/12/notifications", admin: 200},
		{method: "POST", pattern: v1 + "/runs/{id}/release", path: v1 + "/runs/12/release", admin: 200},
		{method: "POST", pattern: v1 + "/runs/{id}/discard", path: v1 + "/runs/13/discard", admin: 200},
		{method: "GET", pattern: v1 + "/deliveries", admin: 200},
		{method: "GET", pattern: v1 + "/deliveries/{id}", path: v1 + "/deliveries/7", admin: 200},
		{method: "POST", pattern: v1 + "/deliveries/{id}/requeue", path: v1 + "/deliveries/7/requeue", admin: 200},
		{method: "GET", pattern: v1 + "/notifications/{id}", path: v1 + "/notifications/41", admin: 200},
		{method: "GET", pattern: v1 + "/bad-rows", admin: 200},
		{method: "GET", pattern: v1 + "/replicas", admin: 200},
		{method: "GET", pattern: v1 + "/devices", path: v1 + "/devices?user=ann", admin: 200},
		{method: "GET", pattern: v1 + "/devices/{id}", path: v1 + "/devices/phone-1", admin: 200},
		{method: "POST", pattern: v1 + "/devices/{id}/deactivate", path: v1 + "/devices/phone-1/deactivate", body: `{}`, admin: 200},
		{method: "POST", pattern: v1 + "/devices/{id}/test", path: v1 + "/devices/phone-1/test", body: `{"title":"a","body":"b"}`, admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/stop", path: v1 + "/rules/bet-settled/stop", body: `{"reason":"test"}`, admin: 200},
		{method: "POST", pattern: v1 + "/rules/{id}/start", path: v1 + "/rules/bet-settled/start", body: `{}`, admin: 200},
		{method: "GET", pattern: v1 + "/sending", admin: 200},
		{method: "POST", pattern: v1 + "/sending/stop", body: `{"reason":"test"}`, admin: 200},
		{method: "POST", pattern: v1 + "/sending/start", body: `{}`, admin: 200},
		{method: "GET", pattern: v1 + "/suppressions", admin: 200},
		{method: "PUT", pattern: v1 + "/suppressions", body: `{"user":"ann","reason":"jurisdiction"}`, admin: 200},
		{method: "DELETE", pattern: v1 + "/suppressions", path: v1 + "/suppressions?user=eve&reason=cool_off", admin: 204},
		{method: "POST", pattern: v1 + "/suppressions/import", body: `{"user":"ann","reason":"cool_off"}`, media: "application/x-ndjson", admin: 200},
		{method: "GET", pattern: v1 + "/suppressions/export", admin: 200},
		{method: "GET", pattern: v1 + "/users/{id}/timeline", path: v1 + "/users/ann/timeline", admin: 200},
		{method: "GET", pattern: v1 + "/users/{id}/export", path: v1 + "/users/ann/export", admin: 200},
		{method: "DELETE", pattern: v1 + "/users/{id}", path: v1 + "/users/ann", admin: 200},
		{method: "POST", pattern: v1 + "/deliveries/requeue", body: `{"rule":"bet-settled","state":"rejected"}`, admin: 200},
		{method: "GET", pattern: v1 + "/audit", admin: 200},
		{method: "GET", pattern: v1 + "/presence", admin: 200},
		{method: "GET", pattern: v1 + "/audit/export", admin: 200},
		{method: "GET", pattern: "/admin/openapi.json", admin: 200},
		{method: "GET", pattern: "/metrics", admin: 200, open: true},
		{method: "GET", pattern: "/debug/pprof/", admin: 200},
		{method: "GET", pattern: "/debug/pprof/cmdline", admin: 200},
		{method: "GET", pattern: "/debug/pprof/profile", path: "/debug/pprof/profile?seconds=1", admin: 200},
		{method: "GET", pattern: "/debug/pprof/symbol", admin: 200},
		{method: "POST", pattern: "/debug/pprof/symbol", admin: 200},
		{method: "GET", pattern: "/debug/pprof/trace", path: "/debug/pprof/trace?seconds=0.1", admin: 200},
		{method: "GET", pattern: "/debug/pprof/{profile}", path: "/debug/pprof/heap", admin: 200},
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, method := range []string{"GET", "HEAD"} {
			rows = append(rows, adminRoute{method: method, pattern: path, admin: 200, open: true})
		}
	}
	for i := range rows {
		if rows[i].path == "" {
			rows[i].path = rows[i].pattern
		}
	}
	return rows
}

// strangers are all who must not come in, by what they show.
func strangers(t *testing.T, a *adminWorld) map[string]http.Header {
	t.Helper()
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	return map[string]http.Header{
		"no token":        {},
		"empty token":     {"Authorization": {"Bearer "}},
		"wrong token":     bearer("bga_" + strings.Repeat("A", 43)),
		"cut token":       bearer(a.token[:len(a.token)-1]),
		"longer token":    bearer(a.token + "A"),
		"other case":      bearer(strings.ToUpper(a.token)),
		"no prefix":       bearer(strings.TrimPrefix(a.token, "bga_")),
		"expired token":   bearer(a.addToken(t, "mallory", -time.Minute)),
		"app user":        bearer(tokenFor(t, "alice")),
		"basic":           {"Authorization": {"Basic " + a.token}},
		"two headers":     {"Authorization": {"Bearer " + a.token, "Bearer " + a.token}},
		"the hash itself": bearer(storedHash(t, a)),
	}
}

func storedHash(t *testing.T, a *adminWorld) string {
	t.Helper()
	text, err := os.ReadFile(a.tokens)
	require.NoError(t, err)
	return strings.TrimPrefix(strings.Fields(string(text))[1], "sha256:")
}

func TestAdminRoutesOpenToOperatorsOnly(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	for name, header := range strangers(t, a) {
		for _, rt := range adminRoutes() {
			rec := a.do(t, call{method: rt.method, path: rt.path, body: rt.body, contentType: rt.media, header: header})
			if rt.open {
				require.Equal(t, rt.admin, rec.Code, "%s %s %s", name, rt.method, rt.pattern)
				continue
			}
			requireProblem(t, rec, http.StatusUnauthorized)
			require.Contains(t, rec.Header().Get("WWW-Authenticate"), `Bearer realm="bugle-admin"`)
		}
	}
	require.Zero(t, a.changes(t), "a refused request must change nothing")
	require.Empty(t, a.stage.sent)
	for _, header := range strangers(t, a) {
		for _, value := range header["Authorization"] {
			if _, token, _ := strings.Cut(value, " "); token != "" {
				require.NotContains(t, a.log.String(), token, "no token in a log")
			}
		}
	}
	for _, rt := range adminRoutes() {
		t.Run(rt.method+" "+rt.pattern, func(t *testing.T) {
			t.Parallel()
			w := newAdminWorld(t)
			rec := w.do(t, call{method: rt.method, path: rt.path, body: rt.body, contentType: rt.media, token: w.token})
			require.Equal(t, rt.admin, rec.Code, rec.Body.String())
			require.NotContains(t, rec.Body.String()+w.log.String(), deadTarget)
			require.NotContains(t, rec.Body.String()+w.log.String(), w.token)
		})
	}
}

// changes counts all that a request could have changed.
func (a *adminWorld) changes(t testing.TB) (n int) {
	t.Helper()
	require.NoError(t, a.db.SQL().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM audit) + (SELECT COUNT(*) FROM rule_controls)
		+ (SELECT COUNT(*) FROM runs WHERE id > 15) + (SELECT COUNT(*) FROM runs WHERE id IN (12, 13) AND state <> 'held')
		+ (SELECT COUNT(*) FROM deliveries WHERE state = 'queued') + (SELECT COUNT(*) FROM suppressions WHERE user_id <> 'eve') + (SELECT COUNT(*) FROM stops)`).Scan(&n))
	return n
}

// The table above must hold every route that the router knows.
func TestTheTableOfAdminRoutesIsWhole(t *testing.T) {
	t.Parallel()
	var known, tested []string
	require.NoError(t, chi.Walk(newAdminWorld(t).handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		known = append(known, method+" "+route)
		return nil
	}))
	for _, rt := range adminRoutes() {
		tested = append(tested, rt.method+" "+rt.pattern)
	}
	require.ElementsMatch(t, known, tested)
}

func TestAdminTokensOpenNoRouteOfApps(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	for _, rt := range routes() {
		rec := a.apps.do(t, call{method: rt.method, path: rt.path, body: rt.body, token: a.token})
		requireProblem(t, rec, http.StatusUnauthorized)
	}
	require.NotContains(t, a.apps.log.String(), a.token)
}

func TestWithoutTokensOnlyHealthAndMetricsAreOpen(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	require.NoError(t, os.Remove(a.tokens))
	time.Sleep(1100 * time.Millisecond) // the file is looked at once a second, by the real clock
	for _, rt := range adminRoutes() {
		for _, token := range []string{"", a.token, "x"} {
			rec := a.do(t, call{method: rt.method, path: rt.path, body: rt.body, token: token})
			if rt.open {
				require.Equal(t, rt.admin, rec.Code)
				continue
			}
			p := requireProblem(t, rec, http.StatusForbidden)
			require.Contains(t, p.Detail, "bugle admin-token")
			require.Contains(t, p.Detail, "admin.tokens_file")
		}
	}
}
