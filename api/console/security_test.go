package console_test

import (
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// route is a route of the console with a path that leads to it.
type route struct{ method, pattern, path string }

// consoleRoutes walks the router: what is mounted is tested, without a list that
// could miss one.
func consoleRoutes(t testing.TB, w *world) (out []route) {
	t.Helper()
	require.NoError(t, chi.Walk(w.routes.(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		for _, other := range []string{"/admin/", "/debug/", "/healthz", "/readyz", "/metrics"} {
			if strings.HasPrefix(pattern, other) {
				return nil
			}
		}
		id := "bet-settled"
		for prefix, number := range map[string]string{"/runs/": "12", "/notifications/": "41", "/deliveries/": "7"} {
			if strings.HasPrefix(pattern, prefix) {
				id = number
			}
		}
		out = append(out, route{method, pattern, strings.ReplaceAll(pattern, "{id}", id)})
		return nil
	}))
	require.Greater(t, len(out), 20)
	return out
}

// withFilter adds what a page cannot do without.
func withFilter(path string) string {
	if path == "/deliveries/requeue" {
		return path + "?state=rejected"
	}
	return path
}

func isOpen(pattern string) bool { return pattern == "/sign-in" || pattern == "/assets/{name}" }

func TestNoRouteOpensWithoutASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signedOut := w.signedIn(t)
	stolen := signedOut.client.Jar.Cookies(mustURL(t, w.server.URL))
	require.Len(t, stolen, 1)
	res, _ := signedOut.post(t, "/sign-out", nil)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Empty(t, signedOut.client.Jar.Cookies(mustURL(t, w.server.URL)), "the cookie is taken back")

	for name, cookies := range map[string][]*http.Cookie{
		"nothing": nil, "a cookie after sign-out": stolen, "nonsense": {{Name: stolen[0].Name, Value: "x"}},
		"the token itself": {{Name: stolen[0].Name, Value: w.token}},
	} {
		for _, rt := range consoleRoutes(t, w) {
			if isOpen(rt.pattern) {
				continue
			}
			b := w.browser(t)
			b.client.Jar.SetCookies(mustURL(t, w.server.URL), cookies)
			r := b.form(t, rt.path, url.Values{"proof": {"x"}})
			if rt.method == http.MethodGet {
				r.Method, r.Body = http.MethodGet, http.NoBody
			}
			// An admin token opens the API, and not the console.
			r.Header.Set("Authorization", "Bearer "+w.token)
			res, body := b.do(t, r)
			if rt.method == http.MethodGet && !strings.HasPrefix(rt.pattern, "/live") {
				require.Equal(t, http.StatusSeeOther, res.StatusCode, "%s: %v", name, rt)
				require.True(t, strings.HasPrefix(res.Header.Get("Location"), "/sign-in"), rt)
				continue
			}
			require.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s: %v", name, rt)
			require.NotContains(t, body, "replica-1")
		}
	}
	require.Zero(t, w.changes(t))
}

func TestNoFormWorksWithoutProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	proof := b.proof(t)
	other := w.signedIn(t).proof(t)
	forms := 0
	for _, rt := range consoleRoutes(t, w) {
		if rt.method != http.MethodPost || rt.pattern == "/sign-in" {
			continue
		}
		forms++
		for name, change := range map[string]func(*http.Request) *http.Request{
			"no proof":                     func(*http.Request) *http.Request { return b.form(t, rt.path, nil) },
			"the proof of another session": func(*http.Request) *http.Request { return b.form(t, rt.path, url.Values{"proof": {other}}) },
			"the proof in the query":       func(*http.Request) *http.Request { return b.form(t, rt.path+"?proof="+proof, nil) },
			"another site": func(r *http.Request) *http.Request {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				r.Header.Set("Origin", "https://evil.example")
				return r
			},
			"another port of this host": func(r *http.Request) *http.Request {
				r.Header.Set("Sec-Fetch-Site", "same-site")
				return r
			},
			"another origin, an old browser": func(r *http.Request) *http.Request {
				r.Header.Del("Sec-Fetch-Site")
				r.Header.Set("Origin", "https://evil.example")
				return r
			},
			"not a form": func(r *http.Request) *http.Request {
				r.Header.Set("Content-Type", "text/plain")
				return r
			},
		} {
			r := change(b.form(t, rt.path, url.Values{"proof": {proof}}))
			res, body := b.do(t, r)
			require.Contains(t, []int{http.StatusForbidden, http.StatusBadRequest}, res.StatusCode, "%s: %s %s", name, rt.path, body)
		}
	}
	require.Greater(t, forms, 10)
	require.Zero(t, w.changes(t))
	require.Equal(t, proof, b.proof(t), "the session goes on")
}

func TestASessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	removed := w.signedIn(t)
	const life = 10 * time.Second // within which it has to be seen, and somebody to sign in with it
	w.token = w.addToken(t, "bob", life)
	expires := time.Now().Add(life)
	var expired *browser
	require.Eventually(t, func() bool { // the file is looked at once a second
		b := w.browser(t)
		res, _ := b.post(t, "/sign-in", url.Values{"token": {w.token}})
		expired = b
		return res.StatusCode == http.StatusSeeOther
	}, time.Minute, 50*time.Millisecond)
	require.Contains(t, page(t, expired, "/audit"), ">bob<")

	require.Eventually(t, func() bool { res, _ := expired.get(t, "/audit"); return res.StatusCode == http.StatusSeeOther }, time.Minute, 50*time.Millisecond)
	require.False(t, time.Now().Before(expires.Truncate(time.Second)))

	require.Contains(t, page(t, removed, "/audit"), ">alice<")
	w.addToken(t, "carol", 0)
	text, err := os.ReadFile(w.tokens)
	require.NoError(t, err)
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "alice ") {
			kept = append(kept, line)
		}
	}
	require.NoError(t, os.WriteFile(w.tokens, []byte(strings.Join(kept, "")), 0o600))
	require.Eventually(t, func() bool { res, _ := removed.get(t, "/audit"); return res.StatusCode == http.StatusSeeOther }, time.Minute, 50*time.Millisecond)
	res, _ := removed.get(t, "/live")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
}

func TestSignInTellsWhyNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser(t)
	wrong := "bga_" + strings.Repeat("A", 43)
	res, body := b.post(t, "/sign-in", url.Values{"token": {wrong}, "next": {"/runs"}})
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.Contains(t, body, "the token is not valid")
	require.Contains(t, body, `name="next" value="/runs"`)
	require.NotContains(t, body, wrong)
	require.NotContains(t, w.log.String(), wrong)
	require.Contains(t, w.log.String(), "admin token refused")
	require.Empty(t, res.Cookies())

	r := b.form(t, "/sign-in", url.Values{"token": {w.token}})
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	res, _ = b.do(t, r)
	require.Equal(t, http.StatusForbidden, res.StatusCode, "nobody is signed in from another site")

	require.NoError(t, os.WriteFile(w.tokens, nil, 0o600))
	require.Eventually(t, func() bool {
		res, body = b.post(t, "/sign-in", url.Values{"token": {w.token}})
		return res.StatusCode == http.StatusForbidden
	}, time.Minute, 50*time.Millisecond)
	require.Contains(t, body, "bugle admin-token")
}

// Who signs in again, perhaps with another token, leaves no session behind: whoever has seen the old
// cookie has nothing.
func TestASignInEndsTheSessionBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	before := b.client.Jar.Cookies(mustURL(t, w.server.URL))
	res, _ := b.post(t, "/sign-in", url.Values{"token": {w.token}})
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.NotEqual(t, before, b.client.Jar.Cookies(mustURL(t, w.server.URL)))
	page(t, b, "/audit")
	other := w.browser(t)
	other.client.Jar.SetCookies(mustURL(t, w.server.URL), before)
	res, _ = other.get(t, "/audit")
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
}

func TestSignInLeadsToOurPagesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for next, want := range map[string]string{
		"": "/", "/runs?state=held": "/runs?state=held", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/", "runs": "/",
		"javascript:alert(1)": "/", "/\tevil": "/", "%zz": "/",
	} {
		b := w.browser(t)
		res, _ := b.post(t, "/sign-in", url.Values{"token": {w.token}, "next": {next}})
		require.Equal(t, http.StatusSeeOther, res.StatusCode)
		require.Equal(t, want, res.Header.Get("Location"), next)
	}
}

// A browser keeps the cookie to itself when a link of another site is followed, such as that of an
// alert: one more click, and no token, leads on.
func TestALinkOfAnotherSiteLeadsOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for next, want := range map[string]string{"/runs/12": "/runs/12", "//evil.example": "/", "javascript:alert(1)": "/"} {
		for site, told := range map[string]bool{"cross-site": true, "same-origin": false, "none": false} {
			b := w.browser(t)
			r := b.form(t, "/sign-in?next="+url.QueryEscape(next), nil)
			r.Method, r.Body = http.MethodGet, http.NoBody
			r.Header.Set("Sec-Fetch-Site", site)
			res, body := b.do(t, r)
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Equal(t, told, strings.Contains(body, `<a href="`+want+`">Go on</a>`), "%s from %s", next, site)
			require.Equal(t, told, strings.Contains(body, "Go on"))
		}
	}
}

func TestTheCookieIsForThisHostAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		host, forwarded string
		secure          bool
	}{
		{"127.0.0.1:8081", "", false},
		{"localhost:8081", "", false},
		{"[::1]:8081", "", false},
		{"bugle.internal:8081", "", true},
		{"bugle.internal", "https", true},
		{"127.0.0.1:8081", "https", true},
		{"127.0.0.1.evil.example", "", true},
	} {
		b := w.browser(t)
		r := b.form(t, "/sign-in", url.Values{"token": {w.token}})
		r.Host = tt.host
		r.Header.Del("Origin")
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-Proto", tt.forwarded)
		}
		res, body := b.do(t, r)
		require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
		require.Len(t, res.Cookies(), 1)
		c := res.Cookies()[0]
		require.Equal(t, tt.secure, c.Secure, tt)
		require.Equal(t, tt.secure, strings.HasPrefix(c.Name, "__Host-"))
		require.True(t, c.HttpOnly)
		require.Equal(t, http.SameSiteStrictMode, c.SameSite)
		require.Equal(t, "/", c.Path)
		require.Empty(t, c.Domain)
		require.NotContains(t, w.token, c.Value)
	}
}

func TestEveryAnswerIsStrict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for _, rt := range consoleRoutes(t, w) {
		if rt.method != http.MethodGet || rt.pattern == "/assets/{name}" {
			continue
		}
		res, body := b.begin(t, withFilter(rt.path))
		policy := res.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", rt.pattern)
		require.Contains(t, policy, "frame-ancestors 'none'")
		require.NotContains(t, policy, "unsafe")
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		require.Equal(t, "same-origin", res.Header.Get("Cross-Origin-Opener-Policy"))
		require.NotContains(t, body, "<style")
		require.NotContains(t, body, " style=")
		require.NotContains(t, body, "<script>")
		require.NotContains(t, body, "http://", "no other host: %s", rt.pattern)
		require.NotContains(t, body, "https://")
		require.NotContains(t, body, secretTarget)
		require.NotContains(t, body, w.token)
	}
	require.NotContains(t, w.log.String(), secretTarget)
	require.NotContains(t, w.log.String(), w.token)
}

// Markup from a row, a note, an error and an id is shown as it is.
func TestMarkupIsText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for _, path := range []string{
		"/", "/live", "/suppressions", "/users?id=eve", "/runs/14", "/rules/bet-settled", "/rules/bet-settled/preview",
		"/bad-rows", "/presence", "/notifications/41?user=" + url.QueryEscape(markup), "/deliveries?rule=" + url.QueryEscape(markup), "/deliveries/requeue?reason=" + url.QueryEscape(markup),
		"/audit?actor=" + url.QueryEscape(markup), "/suppressions?user=" + url.QueryEscape(markup), "/presence?page=" + url.QueryEscape(markup),
		"/users?id=" + url.QueryEscape(markup), "/runs?rule=" + url.QueryEscape(markup), "/push?device=" + url.QueryEscape(markup),
	} {
		body := page(t, b, path)
		require.NotContains(t, body, "<img src=x", path)
		require.Contains(t, body, "&lt;img src=x", path)
	}
	res, _ := b.post(t, "/rules/bet-settled/pause", url.Values{"reason": {markup}})
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	for _, path := range []string{"/rules/bet-settled", "/audit"} {
		require.NotContains(t, page(t, b, path), "<img src=x", path)
	}
}

// A runner's name is whatever somebody called a horse: from the row that is read
// to the pages about what was announced it is text.
func TestMarkupInARunnersNameStaysTextAllTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
	require.NoError(t, err)
	rule, ok := rules.Get("bet-settled")
	require.True(t, ok)
	w.exec(t, `INSERT INTO watermarks (rule_id, identity, start_at, position, swept_at) VALUES ('bet-settled', $1, 1, $2, $2)`,
		rule.Identity, time.Now().Add(-time.Minute).UnixMicro())
	b := w.signedIn(t)
	shown := func(path string) {
		body := page(t, b, path)
		require.NotContains(t, body, "<img src=x", path)
		require.Contains(t, body, "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;", path)
	}
	shown("/rules/bet-settled/preview")
	shown("/rules/bet-settled/preview?locale=de")
	res, _ := b.post(t, "/rules/bet-settled/run", nil)
	require.Equal(t, "/runs/16", res.Header.Get("Location"))
	shown("/runs/16") // two deliveries are more than the rule's limit: it is held, with a sample
	var id int
	w.scan(t, &id, `SELECT id FROM notifications WHERE run_id = 16 AND source_row LIKE '%onerror%'`)
	at := "/notifications/" + strconv.Itoa(id)
	shown(at)
	shown("/users?id=ann")
	res, _ = b.post(t, "/runs/16/release", nil)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
		VALUES (9, $1, 'phone-1', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', $2, $3, $3, $3, $3)`, id, markup, time.Now().UnixMicro())
	w.exec(t, `INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict, code, status, provider_id) VALUES (9, 1, $1, 1, 1, 'rejected', $1, 400, $1)`, markup)
	for _, path := range []string{at, at + "?device=phone-1", "/users?id=ann", "/deliveries", "/deliveries/requeue?state=rejected"} {
		shown(path)
	}
	_, body := b.post(t, "/users/export", url.Values{"user": {"ann"}})
	require.NotContains(t, body, "<img src=x", "not even in a file")
}

func TestAUserIDThatClimbsIsAUserID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	// By the device, whose page leads to its user's.
	res, _ := b.get(t, "/users?id=phone-3")
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Equal(t, "/users?id=..%2F..%2Fadmin%2Fv1%2Frules", res.Header.Get("Location"))
	body := page(t, b, res.Header.Get("Location"))
	require.Contains(t, body, "<h1>"+climber+"</h1>")
	require.Contains(t, body, "phone-3")
	require.Contains(t, page(t, b, "/push?device=phone-3"), `href="/users?id=..%2f..%2fadmin%2fv1%2frules"`)

	res, _ = b.post(t, "/users/suppress", url.Values{"user": {climber}, "reason": {"cool_off"}, "class": {"service"}})
	require.Equal(t, "/users?id=..%2F..%2Fadmin%2Fv1%2Frules", res.Header.Get("Location"))
	for _, path := range []string{"/suppressions", "/presence", "/suppressions?user=" + url.QueryEscape(climber)} {
		require.Contains(t, page(t, b, path), `href="/users?id=..%2f..%2fadmin%2fv1%2frules"`, path)
	}
	require.Contains(t, page(t, b, "/audit"), `href="/users?id=..%2F..%2Fadmin%2Fv1%2Frules"`)
	w.exec(t, `UPDATE deliveries SET user_id = $1, device_id = $1 WHERE id = 7`, climber)
	require.Contains(t, page(t, b, "/deliveries"), `href="/notifications/41?device=..%2f..%2fadmin%2fv1%2frules"`)
	require.Contains(t, page(t, b, "/notifications/41"), `href="/users?id=..%2f..%2fadmin%2fv1%2frules"`)
	res, _ = b.get(t, "/deliveries/7")
	require.Equal(t, "/notifications/41?device=..%2F..%2Fadmin%2Fv1%2Frules", res.Header.Get("Location"))
	for _, path := range []string{"/rules/..%2f..%2fmetrics", "/rules/%2e%2e", "/runs/..%2f1", "/runs/-1", "/notifications/..%2f..%2fadmin", "/notifications/41%2f..", "/deliveries/..%2f7", "/assets/..%2fconsole.go", "/assets/%2e%2e%2fdoc.go"} {
		res, body := b.get(t, path)
		require.Equal(t, http.StatusNotFound, res.StatusCode, "%s %s", path, body)
	}
}

func page(t testing.TB, b *browser, path string) string {
	t.Helper()
	res, body := b.get(t, path)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", path, body)
	return body
}

func mustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}
