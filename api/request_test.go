package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/logtest"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for given, kept := range map[string]bool{
		"a": true, "0af7651916cd43dd8448eb211c80319c": true, "A.b_c-9": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, `a"b`: false, "a\x1b[2J": false, "ü": false,
	} {
		rec := w.do(t, call{method: "GET", path: "/nowhere", header: http.Header{"X-Request-Id": {given}}})
		got := rec.Header().Get("X-Request-Id")
		if kept {
			require.Equal(t, given, got)
		} else {
			require.Regexp(t, `^[A-Z2-7]{26}$`, got, "%q", given)
		}
		require.Equal(t, got, requireProblem(t, rec, 404).Instance)
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(t, call{method: "GET", path: "/v1/devices/secret-device", token: tokenFor(t, "ada")})
	w.do(t, call{method: "GET", path: "/wp-admin/secret-path"})
	w.do(t, call{method: "BREW", path: "/v1/devices"})
	var lines []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		require.IsType(t, float64(0), fields["took_ms"])
		delete(fields, "took_ms")
		lines = append(lines, fields)
	}
	want := func(route, method string, status float64) map[string]any {
		return map[string]any{
			"level": "info", "component": "api", "message": "request served", "request_id": requestID,
			"route": route, "method": method, "status": status,
		}
	}
	require.Equal(t, []map[string]any{
		want("/v1/devices/{id}", "GET", 404), want("unmatched", "GET", 404), want("unmatched", "other", 405),
	}, lines)
}

func TestMetricsUseTheRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"d1", "d2", "d3"} {
		w.do(t, call{method: "GET", path: "/v1/devices/" + id, token: tokenFor(t, "ada")})
	}
	w.do(t, call{method: "GET", path: "/v1/devices"})
	w.do(t, call{method: "GET", path: "/nowhere/at/all"})
	w.do(t, call{method: "GET", path: "/healthz"})
	require.NoError(t, testutil.GatherAndCompare(w.metrics, strings.NewReader(`
# HELP bugle_http_requests_total HTTP requests by the router's pattern, method and status (499: the client did not wait).
# TYPE bugle_http_requests_total counter
bugle_http_requests_total{code="200",method="GET",route="/healthz"} 1
bugle_http_requests_total{code="401",method="GET",route="/v1/devices"} 1
bugle_http_requests_total{code="404",method="GET",route="/v1/devices/{id}"} 3
bugle_http_requests_total{code="404",method="GET",route="unmatched"} 1
`), "bugle_http_requests_total"))
	problems, err := testutil.GatherAndLint(w.metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dbDown, kafkaDown atomic.Bool
		var asked atomic.Int32
		check := func(name string, down *atomic.Bool) api.Check {
			return api.Check{Name: name, Do: func(context.Context) error {
				asked.Add(1)
				if down.Load() {
					return errors.New("dial tcp 10.0.0.7: refused")
				}
				return nil
			}}
		}
		log := &logtest.Buffer{}
		h, err := api.NewAdmin(api.AdminConfig{
			Gatherer: prometheus.NewRegistry(), Log: zerolog.New(log),
			Checks: []api.Check{check("database", &dbDown), check("kafka", &kafkaDown)},
		})
		require.NoError(t, err)
		w := &world{handler: h}
		ready := call{method: "GET", path: "/readyz"}

		require.Equal(t, 200, w.do(t, ready).Code)
		dbDown.Store(true)
		require.Equal(t, 200, w.do(t, ready).Code, "an answer holds for a second")
		require.EqualValues(t, 2, asked.Load())

		for range 3 {
			time.Sleep(time.Second)
			rec := w.do(t, ready)
			p := requireProblem(t, rec, 503)
			require.Equal(t, []api.ProblemField{{Path: "database", Message: "not ready"}}, p.Errors)
			require.NotContains(t, rec.Body.String(), "10.0.0.7")
			golden(t, "not ready", rec.Body.Bytes())
		}
		require.Equal(t, 1, strings.Count(log.String(), "readiness check failed"), "once per change")
		require.Contains(t, log.String(), "10.0.0.7")
		kafkaDown.Store(true)
		time.Sleep(time.Second)
		require.Len(t, requireProblem(t, w.do(t, ready), 503).Errors, 2)
		require.Equal(t, 200, w.do(t, call{method: "GET", path: "/healthz"}).Code, "the process is up all the same")

		dbDown.Store(false)
		kafkaDown.Store(false)
		time.Sleep(time.Second)
		require.Equal(t, 200, w.do(t, ready).Code)
		require.Equal(t, 2, strings.Count(log.String(), "readiness check recovered"))
	})
}

func TestACheckThatHangsIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := api.NewAdmin(api.AdminConfig{
			Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop(),
			Checks: []api.Check{{Name: "database", Do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}},
		})
		require.NoError(t, err)
		start := time.Now()
		requireProblem(t, (&world{handler: h}).do(t, call{method: "GET", path: "/readyz"}), 503)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w := newWorld(t, func(c *api.Config) { c.Registerer = reg })
	admin, err := api.NewAdmin(api.AdminConfig{Gatherer: reg, Registerer: reg, Log: zerolog.Nop()})
	require.NoError(t, err, "both handlers share one registry")
	w.do(t, call{method: "GET", path: "/healthz"})
	a := &world{handler: admin}
	rec := a.do(t, call{method: "GET", path: "/metrics"})
	require.Equal(t, 200, rec.Code)
	require.Contains(t, rec.Body.String(), `bugle_http_requests_total{code="200",method="GET",route="/healthz"} 1`)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/cmdline": 200,
		"/debug/pprof/nothing": 404, "/v1/devices": 404,
	} {
		require.Equal(t, want, a.do(t, call{method: "GET", path: path}).Code, path)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		require.Equal(t, 404, w.do(t, call{method: "GET", path: path}).Code, "not on the app's listener: %s", path)
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	t.Parallel()
	_, err := api.New(api.Config{})
	require.Error(t, err)
	_, err = api.NewAdmin(api.AdminConfig{})
	require.Error(t, err)
}

// Over a real socket: a body that stops half-way is answered, not waited for,
// and the connection is not kept.
func TestSlowAndCutBodies(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cut     bool
		timeout time.Duration
		status  int
	}{
		"slow": {timeout: 50 * time.Millisecond, status: 408},
		"cut":  {timeout: time.Minute, cut: true, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, serve(t, newWorld(t, func(c *api.Config) { c.BodyTimeout = tc.timeout }).handler))
			_, err := io.WriteString(conn, "POST /v1/devices/d1/activate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
				"X-Request-Id: "+requestID+"\r\nAuthorization: Bearer "+tokenFor(t, "ada")+"\r\nContent-Length: 100\r\n\r\n{")
			require.NoError(t, err)
			if tc.cut {
				require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, tc.status, resp.StatusCode)
			require.True(t, resp.Close)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			golden(t, "body "+name, body)
		})
	}
}

// slowPreferences takes longer to store than a body may take to arrive.
type slowPreferences struct {
	api.PreferenceStore
	takes time.Duration
}

func (s slowPreferences) SetPreferences(ctx context.Context, _ devices.UserID, p devices.Preferences) (devices.Preferences, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
	}
	return p, ctx.Err()
}

// The deadline of a body must end with the body: http.Server goes on reading
// to notice a client that leaves, and would take the deadline for one.
func TestTheDeadlineOfABodyEndsWithIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) {
		c.BodyTimeout = time.Second
		c.Preferences = slowPreferences{takes: c.BodyTimeout * 3 / 2}
	})
	conn := dial(t, serve(t, w.handler))
	_, err := io.WriteString(conn, "PUT /v1/preferences HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 26\r\n"+
		"Authorization: Bearer "+tokenFor(t, "ada")+"\r\n\r\n"+`{"muted":[],"opted_in":[]}`)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
}

func TestEveryPhaseOfAServerIsBounded(t *testing.T) {
	t.Parallel()
	srv := api.NewServer("127.0.0.1:0", http.NotFoundHandler())
	require.Equal(t, "127.0.0.1:0", srv.Addr)
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": srv.ReadHeaderTimeout, "ReadTimeout": srv.ReadTimeout,
		"WriteTimeout": srv.WriteTimeout, "IdleTimeout": srv.IdleTimeout,
	} {
		require.Positive(t, d, name)
	}
	require.Positive(t, srv.MaxHeaderBytes)
}

// serve runs the handler on a socket until the test ends.
func serve(t *testing.T, h http.Handler) net.Addr {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := api.NewServer("", h)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return l.Addr()
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), addr.Network(), addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}
