package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret that is thirty-two bytes or more"

// world is everything around the service.
type world struct {
	fcm  *fcm.Server
	ksql *ksqldb.Server
	bets *ksqldb.Table
	cfg  config.Config
}

const rules = `
- id: settled
  schedule: "@every 1s"
  class: transactional
  query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
  watermark: {column: rowtime, lookback: 1m}
  start: "%s"
  key: [bet_id]
  version: [outcome]
  order: rowtime
  audience: {user: user_id}
  notification: {category: win, title: "Bet {{.bet_id}}", body: "{{.outcome}}"}
`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{bets: ksqldb.NewTable("SETTLED_BETS",
		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "USER_ID", Type: "STRING"},
		ksqldb.Column{Name: "OUTCOME", Type: "STRING"},
	)}
	var err error
	w.ksql, err = ksqldb.Start(t.Context(), ksqldb.Config{Views: []ksqldb.View{w.bets}})
	require.NoError(t, err)
	t.Cleanup(w.ksql.Close)
	w.fcm, err = fcm.Start(t.Context(), fcm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.fcm.Close()) })

	text := fmt.Sprintf(`
env: dev
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
database: {url: "sqlite:%s"}
ksqldb: {url: %s}
fcm: {project_id: %s, url: "%s"}
log: {level: error}
rules:`+rules, filepath.Join(t.TempDir(), "bugle.db"), w.ksql.URL(), w.fcm.ProjectID(), w.fcm.URL(),
		time.Now().Add(-10*time.Minute).UTC().Format(time.RFC3339))
	w.cfg, err = config.Parse([]byte(text),
		[]string{"BUGLE_AUTH_SECRET=" + secret, "BUGLE_FCM_CREDENTIALS=" + string(w.fcm.CredentialsJSON())}, config.Service()...)
	require.NoError(t, err)
	return w
}

// start runs the service; stop ends it and returns what Run returned.
func (w *world) start(t *testing.T) (service *app.App, stop func() error) {
	t.Helper()
	service, err := app.New(t.Context(), w.cfg, zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stopped := false
	stop = func() error {
		cancel()
		stopped = true
		return <-done
	}
	t.Cleanup(func() {
		if !stopped {
			require.NoError(t, stop())
		}
	})
	return service, stop
}

func call(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func token(t *testing.T, user string) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	require.NoError(t, err)
	return signed
}

func activation(target string) string {
	body, _ := json.Marshal(map[string]any{
		"platform": "android", "target": map[string]string{"kind": "fcm_token", "value": target},
		"locale": "en-GB", "time_zone": "Europe/London", "app_version": "1.0",
	})
	return string(body)
}

func TestARowReachesAPhoneOnceAndAgainstARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service, stop := w.start(t)
	base, admin := "http://"+service.Addr(), "http://"+service.AdminAddr()

	target := w.fcm.MintToken(fcm.Android)
	status, body := call(t, http.MethodPost, base+"/v1/devices/phone-1/activate", token(t, "ann"), activation(target))
	require.Equal(t, http.StatusOK, status, body)
	status, _ = call(t, http.MethodPost, base+"/v1/devices/phone-1/activate", "", activation(target))
	require.Equal(t, http.StatusUnauthorized, status)

	require.NoError(t, w.bets.Put(time.Now(), "b-1", "ann", "WON"))
	require.NoError(t, w.bets.Put(time.Now(), "b-2", "bob", "WON"))
	require.Eventually(t, func() bool { return len(w.fcm.Accepted()) == 1 }, time.Minute, 20*time.Millisecond)
	got := w.fcm.Accepted()[0]
	require.Equal(t, target, got.Token)
	require.Equal(t, "Bet b-1", got.Title)

	status, body = call(t, http.MethodGet, admin+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)
	_, body = call(t, http.MethodGet, admin+"/metrics", "", "")
	require.Contains(t, body, "bugle_")
	require.Contains(t, body, "go_goroutines")

	require.NoError(t, stop())
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", service.Addr())
	require.Error(t, err, "a stopped service listens no more")

	// The next life reads the same rows again, and a new one.
	service, stop = w.start(t)
	require.NoError(t, w.bets.Put(time.Now(), "b-3", "ann", "LOST"))
	require.Eventually(t, func() bool { return len(w.fcm.Accepted()) >= 2 }, time.Minute, 20*time.Millisecond)
	status, _ = call(t, http.MethodPost, "http://"+service.Addr()+"/v1/devices/phone-1/deactivate", token(t, "ann"), "")
	require.Equal(t, http.StatusNoContent, status)
	require.NoError(t, stop())
	accepted := w.fcm.Accepted()
	require.Len(t, accepted, 2, "what was announced before the restart is not announced again")
	require.Equal(t, "Bet b-3", accepted[1].Title)
}

func TestOnlyOperatorsSeeABackendThatIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ksql.Close()
	service, _ := w.start(t)
	status, body := call(t, http.MethodGet, "http://"+service.AdminAddr()+"/readyz", "", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "ksqldb")
	status, body = call(t, http.MethodGet, "http://"+service.Addr()+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, "devices can still be activated: %s", body)
}

func TestNewClosesWhatItOpenedWhenItFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	w.cfg.Admin.Listen = listener.Addr().String()
	_, err = app.New(t.Context(), w.cfg, zerolog.Nop())
	require.ErrorContains(t, err, "listen for admin")

	w.cfg.Admin.Listen = "127.0.0.1:0"
	service, err := app.New(t.Context(), w.cfg, zerolog.Nop())
	require.NoError(t, err)
	require.NoError(t, service.Close(t.Context()), "an App that never ran is closed too")
	require.NoError(t, service.Close(t.Context()))
}

func TestACategoryThatNoRuleHasIsAnError(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Categories = map[string]config.Category{"race": {}, "rcae": {OptIn: true}}
	_, err := app.Rules(cfg)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "categories.rcae: no rule has this category, only bet, loss, race, win")

	cfg.RulesFile = filepath.Join(t.TempDir(), "none.yaml")
	_, err = app.Rules(cfg)
	require.ErrorContains(t, err, "rules_file")
}

func TestPreviewShowsAndSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	require.NoError(t, w.bets.Put(now.Add(-time.Minute), "b-1", "ann", "WON"))
	require.NoError(t, w.bets.Put(now.Add(-2*time.Minute), "b-2", "ann", nil))
	require.NoError(t, w.bets.Put(now.Add(-3*time.Minute), "b-3", nil, "LOST"))
	require.NoError(t, w.bets.Put(now.Add(-3*time.Hour), "b-4", "ann", "LOST"))

	_, p, err := app.PreviewRule(t.Context(), w.cfg, app.PreviewOptions{Rule: "settled"})
	require.NoError(t, err)
	require.Equal(t, 3, p.Rows)
	require.False(t, p.Counted, "there is no database yet, and a preview makes none")
	require.NoFileExists(t, strings.TrimPrefix(w.cfg.Database.URL, "sqlite:"))

	service, stop := w.start(t)
	for i, user := range []string{"ann", "ann", "bob"} {
		url := fmt.Sprintf("http://%s/v1/devices/phone-%d/activate", service.Addr(), i)
		status, body := call(t, http.MethodPost, url, token(t, user), activation(w.fcm.MintToken(fcm.Android)))
		require.Equal(t, http.StatusOK, status, body)
	}
	require.NoError(t, stop())
	before := len(w.fcm.Accepted())
	_, p, err = app.PreviewRule(t.Context(), w.cfg, app.PreviewOptions{Rule: "settled"})
	require.NoError(t, err)
	require.True(t, p.Counted)
	for _, n := range p.Notifications {
		require.EqualValues(t, "ann", n.User)
		require.Equal(t, 2, n.Devices)
	}
	require.NotEmpty(t, p.Notifications)
	require.NotEmpty(t, p.Bad, "a row without its user is bad")
	require.Len(t, w.fcm.Accepted(), before)

	_, _, err = app.PreviewRule(t.Context(), w.cfg, app.PreviewOptions{Rule: "setled"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.ErrorContains(t, err, "only settled")
}

func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log bytes.Buffer
	service, err := app.New(t.Context(), w.cfg, zerolog.New(&log).Level(zerolog.TraceLevel))
	require.NoError(t, err)
	require.NoError(t, service.Close(t.Context()))
	require.NotContains(t, log.String(), secret)
	require.NotContains(t, log.String(), "PRIVATE KEY")
	require.Contains(t, log.String(), "service opened")
}
