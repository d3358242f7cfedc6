package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/logtest"
)

// limited is a handler whose database is never asked, so that it may live in a
// bubble of virtual time.
func limited(t *testing.T, change func(*api.Config)) *world {
	t.Helper()
	auth, err := api.NewHS256(api.HS256Config{Secret: []byte(secret)})
	require.NoError(t, err)
	cfg := api.Config{Auth: auth, Registry: stub{}, Preferences: slowPreferences{}, Inbox: exampleInbox{}, Log: zerolog.Nop(), Registerer: prometheus.NewRegistry()}
	change(&cfg)
	h, err := api.New(cfg)
	require.NoError(t, err)
	return &world{handler: h, log: &logtest.Buffer{}}
}

// from makes a request of an address, through what the headers say.
func (w *world) from(t *testing.T, remote, path, token string, forwarded ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := call{method: "GET", path: path, token: token, header: http.Header{"X-Forwarded-For": forwarded}}.request(t)
	r.RemoteAddr = remote
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

func TestAUserHasALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := limited(t, func(c *api.Config) { c.UserLimit = 3 })
		ann, bob := tokenFor(t, "ann"), tokenFor(t, "bob")
		for i := range 3 {
			require.Equal(t, 200, w.from(t, fmt.Sprintf("192.0.2.%d:1", i), "/v1/notifications", ann).Code)
		}
		rec := w.from(t, "192.0.2.9:1", "/v1/notifications", ann)
		p := requireProblem(t, rec, 429)
		require.Equal(t, "urn:bugle:problem:rate_limited", p.Type)
		require.NotContains(t, rec.Body.String(), "ann")
		seconds, err := strconv.Atoi(rec.Header().Get("Retry-After"))
		require.NoError(t, err)
		require.Equal(t, 200, w.from(t, "192.0.2.9:1", "/v1/notifications", bob).Code, "others go on")
		for range 5 {
			require.Equal(t, 401, w.from(t, "192.0.2.9:1", "/v1/notifications", "x").Code, "nobody is not a user")
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		require.Equal(t, 200, w.from(t, "192.0.2.9:1", "/v1/notifications", ann).Code)
	})
}

func TestAnAddressHasALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := limited(t, func(c *api.Config) { c.IPLimit = 3 })
		for _, path := range []string{"/v1/notifications", "/nowhere", "/openapi.json"} {
			require.NotEqual(t, 429, w.from(t, "192.0.2.1:1000", path, "").Code)
		}
		rec := w.from(t, "192.0.2.1:2000", "/v1/notifications", tokenFor(t, "ann"))
		requireProblem(t, rec, 429)
		require.NotEmpty(t, rec.Header().Get("Retry-After"))
		require.NotContains(t, rec.Body.String(), "192.0.2.1")
		requireProblem(t, w.from(t, "[::ffff:192.0.2.1]:1", "/v1/notifications", ""), 429)
		require.Equal(t, 200, w.from(t, "192.0.2.1:1000", "/healthz", "").Code, "probes pass")
		require.Equal(t, 200, w.from(t, "192.0.2.1:1000", "/readyz", "").Code)
		require.Equal(t, 401, w.from(t, "192.0.2.2:1000", "/v1/notifications", "").Code)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 401, w.from(t, "192.0.2.1:1000", "/v1/notifications", "").Code)

		for i := range 3 {
			require.Equal(t, 401, w.from(t, fmt.Sprintf("[2001:db8::%d]:1", i), "/v1/notifications", "").Code)
		}
		require.Equal(t, 429, w.from(t, "[2001:db8::ffff]:1", "/v1/notifications", "").Code, "a /64 is one client")
		require.Equal(t, 401, w.from(t, "[2001:db8:0:1::1]:1", "/v1/notifications", "").Code)
	})
}

func TestWhoseForwardedForIsBelieved(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for name, tc := range map[string]struct {
		proxies   []netip.Prefix
		remote    string
		forwarded []string
		client    string // who has used up the limit
	}{
		"nobody's by default":         {nil, "10.0.0.1:1", []string{"192.0.2.1"}, "10.0.0.1:2"},
		"not a stranger's":            {proxies, "198.51.100.1:1", []string{"192.0.2.1"}, "198.51.100.1:2"},
		"a proxy's":                   {proxies, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1:2"},
		"a chain of proxies":          {proxies, "10.0.0.1:1", []string{"192.0.2.1, 10.9.9.9"}, "192.0.2.1:2"},
		"in several lines":            {proxies, "10.0.0.1:1", []string{"192.0.2.1", "10.9.9.9"}, "192.0.2.1:2"},
		"what the client made up":     {proxies, "10.0.0.1:1", []string{"1.1.1.1, 192.0.2.1"}, "192.0.2.1:2"},
		"a made-up proxy":             {proxies, "10.0.0.1:1", []string{"10.1.1.1, 192.0.2.1"}, "192.0.2.1:2"},
		"with a port":                 {proxies, "10.0.0.1:1", []string{"192.0.2.1:4711"}, "192.0.2.1:2"},
		"version 6":                   {proxies, "[2001:db8:1::5]:1", []string{"[2001:db8:2::1]:99"}, "[2001:db8:2::2]:2"},
		"mapped":                      {proxies, "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1:2"},
		"nonsense":                    {proxies, "10.0.0.1:1", []string{"unknown"}, "10.0.0.1:2"},
		"nonsense behind a good one":  {proxies, "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1:2"},
		"nothing":                     {proxies, "10.0.0.1:1", nil, "10.0.0.1:2"},
		"proxies only":                {proxies, "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:2"},
		"a socket without an address": {proxies, "@", []string{"192.0.2.1"}, "@"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := limited(t, func(c *api.Config) { c.IPLimit, c.TrustedProxies = 1, tc.proxies })
			require.Equal(t, 401, w.from(t, tc.remote, "/v1/notifications", "", tc.forwarded...).Code)
			require.Equal(t, 429, w.from(t, tc.client, "/v1/notifications", "").Code)
			require.Equal(t, 401, w.from(t, "203.0.113.7:1", "/v1/notifications", "").Code)
		})
	}
}

func TestLimitsHaveADefaultAndAnOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ann := tokenFor(t, "ann")
		usual := limited(t, func(*api.Config) {})
		for range api.DefaultUserLimit {
			require.Equal(t, 200, usual.from(t, "192.0.2.1:1", "/v1/notifications", ann).Code)
		}
		require.Equal(t, 429, usual.from(t, "192.0.2.1:1", "/v1/notifications", ann).Code)
		off := limited(t, func(c *api.Config) { c.UserLimit, c.IPLimit = -1, -1 })
		for range api.DefaultIPLimit + 1 {
			rec := off.from(t, "192.0.2.1:1", "/v1/notifications", ann)
			require.Equal(t, 200, rec.Code)
			require.Empty(t, rec.Header().Get("Retry-After"))
		}
	})
}
