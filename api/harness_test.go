package api_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay"
)

const (
	issuer    = "https://accounts.example"
	audience  = "bugle"
	secret    = "a secret of no less than 32 bytes, for tests"
	requestID = "req-1"
)

var _ api.Authenticator = (*api.HS256)(nil)

// world is one handler over one empty database.
type world struct {
	handler  http.Handler
	registry *sqldevices.Registry
	metrics  *prometheus.Registry
	log      *logtest.Buffer
}

func newWorld(t testing.TB, change ...func(*api.Config)) *world {
	t.Helper()
	w := &world{
		registry: sqldevices.New(sqldbtest.SQLite(t), sqldevices.Config{}),
		metrics:  prometheus.NewRegistry(),
		log:      &logtest.Buffer{},
	}
	auth, err := api.NewHS256(api.HS256Config{Secret: []byte(secret), Issuer: issuer, Audience: audience})
	require.NoError(t, err)
	cfg := api.Config{
		Registry: w.registry, Preferences: w.registry, Auth: auth, Inbox: exampleInbox{}, Tokens: ablyTokens(t),
		Odds: api.OddsConfig{Board: exampleBoard(t, relay.BoardConfig{})},
		Log:  zerolog.New(w.log), Registerer: w.metrics,
	}
	for _, c := range change {
		c(&cfg)
	}
	w.handler, err = api.New(cfg)
	require.NoError(t, err)
	return w
}

// call is one request; zero values mean the usual.
type call struct {
	method, path, body string
	token              string
	header             http.Header
	contentType        string // of the body; empty means JSON
}

func (c call) request(t testing.TB) *http.Request {
	t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, body)
	r.Header.Set("X-Request-Id", requestID)
	if c.body != "" {
		r.Header.Set("Content-Type", cmp.Or(c.contentType, "application/json"))
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	maps.Copy(r.Header, c.header)
	return r
}

func (w *world) do(t testing.TB, c call) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, c.request(t))
	return rec
}

// claims are those of a good token for the user; a test spoils one.
func claims(user string) jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"sub": user, "iss": issuer, "aud": audience,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func sign(t testing.TB, c jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(secret))
	require.NoError(t, err)
	return token
}

func tokenFor(t testing.TB, user string) string {
	t.Helper()
	return sign(t, claims(user))
}

func fcmToken(seed string) string {
	return seed + ":" + strings.Repeat("APA91b", 20)
}

func activation(target string) string {
	return `{"platform":"android","target":{"kind":"fcm_token","value":"` + target +
		`"},"locale":"en-gb","time_zone":"Europe/London","app_version":"4.2.0"}`
}

func decode[T any](t testing.TB, rec *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&v), rec.Body.String())
	return v
}

// requireProblem checks what every problem has in common, and returns it.
func requireProblem(t testing.TB, rec *httptest.ResponseRecorder, status int) api.Problem {
	t.Helper()
	require.Equal(t, status, rec.Code, rec.Body.String())
	require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
	require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
	p := decode[api.Problem](t, rec)
	require.Equal(t, status, p.Status)
	require.NotEmpty(t, p.Title)
	require.Contains(t, p.Type, "urn:bugle:problem:")
	require.Equal(t, rec.Header().Get("X-Request-Id"), p.Instance)
	return p
}
