package api_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

// hook takes everything, and keeps it.
type hook struct {
	mu    sync.Mutex
	taken []bets.Delivery
	err   error
}

func (h *hook) Admit(key, _ string) error {
	if key != "known" {
		return fault.New(fault.Unauthorized, "unknown key")
	}
	return nil
}

func (h *hook) Receive(_ context.Context, d bets.Delivery) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = append(h.taken, d)
	return h.err
}

func TestWithoutAHookThereIsNoRoute(t *testing.T) {
	t.Parallel()
	requireProblem(t, newWorld(t).do(t, call{method: "POST", path: "/v1/hooks/ably", body: "{}"}), 404)
}

// The real receiver behind the real route: what Ably signed is taken, and nothing else.
func TestAWebhookMustBeSigned(t *testing.T) {
	t.Parallel()
	keys, err := bets.ParseKeys("app.k1:s3cret-part\napp.k2:another")
	require.NoError(t, err)
	metrics, err := bets.NewMetrics(nil)
	require.NoError(t, err)
	books := sqlrelay.NewBets(sqldbtest.SQLite(t))
	receiver, err := bets.NewReceiver(bets.ReceiverConfig{Book: books, Keys: keys, DefaultStake: "1", Metrics: metrics, Log: zerolog.Nop()})
	require.NoError(t, err)
	w := newWorld(t, func(c *api.Config) { c.Hook = receiver })
	post := func(key, signature, body string) *httptest.ResponseRecorder {
		return w.do(t, call{method: "POST", path: "/v1/hooks/ably", body: body, header: http.Header{"X-Ably-Key": {key}, "X-Ably-Signature": {signature}}})
	}
	sign := func(secret, body string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	const empty, vector = `{"items":[]}`, "VfmrgijOZYFRvh29QRDNAD3KiEe/AQuFyiaHDpIoW04="
	require.Equal(t, vector, sign("s3cret-part", empty))
	for _, good := range [][2]string{{"k1", vector}, {"app.k1", vector}, {"app.k1", " " + vector + " "}, {"k2", sign("another", empty)}} {
		require.Equal(t, 204, post(good[0], good[1], empty).Code, good)
	}
	forged := strings.Replace(vector, "V", "W", 1)
	for name, bad := range map[string][3]string{
		"forged":           {"k1", forged, empty},
		"no signature":     {"k1", "", empty},
		"trailing newline": {"k1", vector, empty + "\n"},
		"changed body":     {"k1", vector, `{"items":[ ]}`},
		"another key's":    {"k1", sign("another", empty), empty},
		"unknown key":      {"k3", vector, empty},
		"no key":           {"", vector, empty},
		"another app's":    {"other.k1", vector, empty},
		"hex":              {"k1", "55f9ab8228ce658151be1dbd4110cd003dca8847bf010b85ca26870e92285b4e", empty},
		"cut":              {"k1", vector[:20], empty},
	} {
		rec := post(bad[0], bad[1], bad[2])
		p := requireProblem(t, rec, 401)
		require.NotEmpty(t, p.Detail, name)
		require.NotEmpty(t, rec.Header().Get("WWW-Authenticate"), name)
	}
	require.NotContains(t, w.log.String(), "s3cret")
	require.NotContains(t, w.log.String(), vector)
}

func TestAWebhookIsAnsweredByWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	h := &hook{}
	w := newWorld(t, func(c *api.Config) { c.Hook = h })
	post := func(body string) *httptest.ResponseRecorder {
		return w.do(t, call{method: "POST", path: "/v1/hooks/ably", body: body, header: http.Header{"X-Ably-Key": {"known"}, "Content-Type": {"application/x-msgpack"}}})
	}
	require.Equal(t, 204, post("any bytes\n").Code)
	require.Equal(t, bets.Delivery{Key: "known", ContentType: "application/x-msgpack", Body: []byte("any bytes\n")}, h.taken[0])
	h.err = fault.New(fault.Unavailable, "the database did not take it; try again")
	requireProblem(t, post("x"), 503)
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/hooks/ably"}), 405)
}

// A body that is too large, or does not come, is not taken; one that is unsigned is
// not even read.
func TestAWebhookIsBounded(t *testing.T) {
	t.Parallel()
	h := &hook{}
	w := newWorld(t, func(c *api.Config) { c.Hook, c.BodyTimeout = h, time.Minute })
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	post := func(key string, body io.Reader) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/v1/hooks/ably", body)
		require.NoError(t, err)
		req.Header.Set("X-Ably-Key", key)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	large := bytes.Repeat([]byte("a"), 5<<20)
	require.Equal(t, 204, post("known", bytes.NewReader(large)).StatusCode)
	require.Len(t, h.taken[0].Body, len(large))
	require.Equal(t, 413, post("known", io.LimitReader(zeros{}, api.DefaultHookLimit+1)).StatusCode)

	silent, end := io.Pipe()
	t.Cleanup(func() { end.Close() })
	stop := time.AfterFunc(time.Minute, func() { end.Close() })
	defer stop.Stop()
	started := time.Now()
	require.Equal(t, 401, post("stranger", silent).StatusCode)
	require.Less(t, time.Since(started), 30*time.Second)
	require.Len(t, h.taken, 1)
}

// Whoever knows the name of a key, which stands in every token for Ably, can begin
// webhooks that never end. Those do not keep Ably's out.
func TestSilentWebhooksLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	h := &hook{}
	w := newWorld(t, func(c *api.Config) { c.Hook, c.IPLimit = h, -1 })
	begun, release := make(chan struct{}), make(chan struct{})
	const silent = 3000
	var g sync.WaitGroup
	for range silent {
		g.Go(func() {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/hooks/ably", &silence{begun: begun, release: release})
			req.Header.Set("X-Ably-Key", "known")
			w.handler.ServeHTTP(httptest.NewRecorder(), req)
		})
	}
	for range silent {
		<-begun
	}
	rec := w.do(t, call{method: "POST", path: "/v1/hooks/ably", body: "{}", header: http.Header{"X-Ably-Key": {"known"}}})
	close(release)
	g.Wait()
	require.Equal(t, 204, rec.Code, rec.Body)
}

// silence is a body of which nothing comes before it is released.
type silence struct{ begun, release chan struct{} }

func (s *silence) Read([]byte) (int, error) {
	s.begun <- struct{}{}
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
