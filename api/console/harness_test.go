package console_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/api/console"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

const rulesYAML = `
rules:
  - id: bet-settled
    schedule: "@every 1h"
    class: transactional
    query: SELECT bet_id, user_id, runner, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 1m}
    max_deliveries: 1
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    notification:
      category: win
      title: "{{.runner}} {{.outcome}}"
      body: "Your bet {{.bet_id}} on {{.runner}} is settled. Well done, and thank you for playing with us."
      link: "/bets/{{.bet_id}}"
      locales:
        de: {title: "{{.runner}}: entschieden", body: "Ihre Wette {{.bet_id}} auf {{.runner}} ist entschieden. Herzlichen Glückwunsch zu Ihrem Gewinn, und vielen Dank für Ihr Vertrauen in unsere Pferdewettenannahmestelle."}
        ar: {title: "{{.runner}}", body: "تمت تسوية رهانك {{.bet_id}}"}
  - id: race-soon
    schedule: "@every 15s"
    mode: shadow
    class: service
    query: SELECT bet_id, user_id, runner, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 1m}
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    notification: {category: race, title: "Soon", body: "{{.runner}}"}
  - id: asleep
    schedule: "@every 1h"
    mode: paused
    class: marketing
    query: SELECT bet_id, user_id, ROWTIME AS rowtime FROM settled_bets WHERE user_id <> '';
    key: [bet_id]
    version: [user_id]
    order: rowtime
    audience: {user: user_id}
    forget_after: 1h
    notification: {category: win, title: "Bet {{.bet_id}}", body: "x"}
`

const (
	// markup must be shown as it is, wherever it comes from.
	markup = `<img src=x onerror=alert(1)>"'&`
	// climber is a user whose id looks like a way up.
	climber = "../../admin/v1/rules"
	// secretTarget is the target of phone-1, and must show nowhere.
	secretTarget = "the-very-target-of-phone-1:APA91bAPA91bAPA91b"
)

// stage is source and sender of the notifier that the console looks at.
type stage struct {
	mu   sync.Mutex
	rows []notifier.Row
	sent []notifier.Push
	// answer is what Send comes to; the zero value is a good one.
	answer notifier.Outcome
}

// Read yields the rows that were put on the stage.
func (s *stage) Read(context.Context, string, map[string]any) iter.Seq2[notifier.Row, error] {
	return func(yield func(notifier.Row, error) bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Send takes everything.
func (s *stage) Send(_ context.Context, p notifier.Push) notifier.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, p)
	if s.answer.Verdict != "" {
		return s.answer
	}
	return notifier.Outcome{Verdict: notifier.VerdictSent, Status: 200, ProviderID: "projects/p/messages/1"}
}

// world is the admin listener with its console, over a database with a story in
// it: ann has two devices; runs 12 and 13 are held, run 14 failed, run 15 was
// released and made two deliveries; eve cools off.
type world struct {
	server *httptest.Server
	routes http.Handler
	// gate keeps pages of runs waiting until it is closed; nil for none.
	gate   atomic.Pointer[chan struct{}]
	db     *sqldb.DB
	stage  *stage
	log    *logtest.Buffer
	tokens string // the file
	token  string
	broken atomic.Bool // whether the check "ksqldb" fails
	work   *workload
	// What busy says.
	pending, oldest, lag, held *prometheus.GaugeVec
	pages                      *console.Console
	stop                       func() // ends what the console does by itself
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, sqldbtest.SQLite(t), 250*time.Millisecond)
}

// newWorldEvery is a world whose console takes samples, and renews what is
// followed, every so often.
func newWorldEvery(t testing.TB, every time.Duration) *world {
	t.Helper()
	return newWorldOn(t, sqldbtest.SQLite(t), every)
}

func newWorldOn(t testing.TB, db *sqldb.DB, every time.Duration) *world {
	t.Helper()
	w := &world{stage: &stage{}, log: &logtest.Buffer{}, tokens: filepath.Join(t.TempDir(), "tokens")}
	w.broken.Store(true)
	w.db = db
	ledger := sqlledger.New(w.db)
	registry := sqldevices.New(w.db, sqldevices.Config{Canceller: ledger, Auditor: ledger})
	log := zerolog.New(w.log)
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
	require.NoError(t, err)
	metrics := prometheus.NewRegistry()
	n, err := notifier.New(notifier.Config{
		Rules: rules, Source: w.stage, Ledger: ledger, Retirer: registry, Owner: "replica-1", Log: zerolog.Nop(), Registerer: metrics,
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w.stage}},
	})
	require.NoError(t, err)
	w.work = newWorkload(t, metrics)
	control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: ledger, Log: log})
	require.NoError(t, err)
	tester, err := notifier.NewTester(notifier.TesterConfig{
		Devices: registry, Senders: map[devices.Provider]notifier.Sender{devices.FCM: w.stage}, Audit: ledger, Suppressions: ledger, Stops: ledger, Log: log,
	})
	require.NoError(t, err)
	w.token = w.addToken(t, "alice", 0)
	tokens, err := api.NewAdminTokens(w.tokens, log)
	require.NoError(t, err)
	explainer, err := n.Explainer(ledger, registry)
	require.NoError(t, err)
	ops := &api.Operations{
		Tokens: tokens, Rules: control, RuleControl: control, Runs: ledger, RunControl: control, Deliveries: ledger,
		Requeue: control, BadRows: ledger, Explain: explainer, Devices: registry, DeviceControl: registry, TestSend: tester, Audit: ledger, Replicas: ledger,
		Suppressions: ledger, Sending: control, Presence: sqlrelay.NewBets(w.db),
		Users: notifier.UserData{Devices: registry, Stores: []notifier.UserStore{ledger, registry}, Audit: ledger},
	}
	w.pages, err = console.New(console.Config{Operations: ops, Gatherer: prometheus.Gatherers{without(metrics, "bugle_quota_"), w.busy(), w.work.registry}, Log: log, Version: "1.2.3", Every: every})
	require.NoError(t, err)
	w.routes, err = api.NewAdmin(api.AdminConfig{
		Gatherer: metrics, Registerer: metrics, Log: log, Operations: ops, Console: w.pages,
		Checks: []api.Check{
			{Name: "database", Do: w.db.Ping},
			{Name: "ksqldb", Do: func(context.Context) error {
				if w.broken.Load() {
					return errors.New("connection refused: " + markup)
				}
				return nil
			}},
		},
	})
	require.NoError(t, err)
	w.tell(t, n.Rules())
	w.server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if gate := w.gate.Load(); gate != nil && strings.HasPrefix(r.URL.Path, "/runs/") {
			select {
			case <-*gate:
			case <-r.Context().Done():
			}
		}
		w.routes.ServeHTTP(out, r)
	}))
	t.Cleanup(w.server.Close)
	// Streams end with this, and the server waits for them.
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.pages.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		stop()
		require.NoError(t, <-ran)
	})
	t.Cleanup(w.stop)
	return w
}

// without leaves out the metrics that another registry has.
func without(there prometheus.Gatherer, prefix string) prometheus.GathererFunc {
	return func() ([]*dto.MetricFamily, error) {
		families, err := there.Gather()
		return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return strings.HasPrefix(f.GetName(), prefix) }), err
	}
}

// busy are the numbers of a service at work, which this notifier, at rest, has not.
func (w *world) busy() prometheus.Gatherer {
	reg := prometheus.NewRegistry()
	gauge := func(name string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "x"}, labels)
		reg.MustRegister(g)
		return g
	}
	w.pending, w.oldest = gauge("bugle_deliveries_pending", "lane"), gauge("bugle_deliveries_oldest_due_seconds", "lane")
	w.pending.WithLabelValues("fcm/high").Set(4321)
	w.oldest.WithLabelValues("fcm/high").Set(95)
	w.pending.WithLabelValues("fcm/normal").Set(0)
	w.lag = gauge("bugle_relay_lag_records", "topic", "partition")
	w.lag.WithLabelValues("odds", "0").Set(30)
	w.lag.WithLabelValues("odds", "1").Set(47)
	w.held = gauge("bugle_relay_held", "cause")
	w.held.WithLabelValues("credentials").Set(1)
	return reg
}

// addToken appends a token to the file and returns it.
func (w *world) addToken(t testing.TB, name string, ttl time.Duration) string {
	t.Helper()
	plain, token, err := api.NewAdminToken(name, time.Now(), ttl)
	require.NoError(t, err)
	f, err := os.OpenFile(w.tokens, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(token.Line())
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return plain.Reveal()
}

// tell writes the story down.
func (w *world) tell(t testing.TB, rules *notifier.RuleSet) {
	t.Helper()
	now := time.Now()
	us, later := now.UnixMicro(), now.Add(time.Hour).UnixMicro()
	w.exec(t, `INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, locale, time_zone, app_version, activated_at, updated_at)
		VALUES ('phone-1', 'ann', 'android', 'fcm', 'fcm_token', $1, 1, 'active', 'en-GB', 'Europe/London', '4.2.0', $2, $2),
		       ('phone-2', 'ann', 'ios', 'fcm', 'fcm_token', 'x', 1, 'inactive', '', '', '', $2, $2),
		       ('phone-3', $3, 'web', 'fcm', 'fcm_token', 'y', 1, 'active', '', '', '', $2, $2)`, secretTarget, us, climber)
	for id, state := range map[int]string{12: "held", 13: "held", 14: "failed", 15: "released"} {
		w.exec(t, `INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, rows_read, staged, planned, planned_limit, error, started_at, finished_at)
			VALUES ($1, 'bet-settled', $2, $3, FALSE, $4, $4, $6, 'replica-1', 0, 12345, 3, 1234, 1000, $5, $4, $4)`, id, us-int64(100-id)*1e6, state, us,
			map[string]string{"failed": "the body was cut at " + markup}[state], rules.Generation())
	}
	for id, run := range map[int]int{41: 15, 42: 12, 43: 13} {
		w.exec(t, `INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at)
			VALUES ($1, 'bet-settled', 'key-' || CAST($1 AS BIGINT), 1, 'h', 1, TRUE, 'th-' || CAST($1 AS BIGINT), FALSE, 'user', 'ann', 'win', 'transactional', 'high',
			(SELECT state FROM runs WHERE id = $2), $2, $5, $3, $4)`, id, run, later, us, `{"bet_id":"b1","runner":"Red Rum <b>","outcome":"won","user_id":"ann"}`)
	}
	w.exec(t, `UPDATE notifications SET released_at = $1, fanned_at = $1 WHERE id = 41`, us)
	w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, attempts, due_at, expires_at, created_at, finished_at)
		VALUES (7, 41, 'phone-1', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', 'INVALID_ARGUMENT', 1, $1, $2, $1, $1),
		       (8, 41, 'phone-2', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'sent', '', 1, $1, $2, $1, $1)`, us, later)
	w.exec(t, `INSERT INTO suppressions (user_id, reason, class, note, set_by, set_at) VALUES ('eve', 'cool_off', 'service', $2, 'bob', $1)`, us, markup)
	w.exec(t, `INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict, code, status, provider_id)
		VALUES (7, 1, 'replica-1', $1, $2, 'retry', 'UNAVAILABLE', 503, ''), (7, 1, 'replica-1', $2, $2, 'rejected', 'INVALID_ARGUMENT', 400, ''),
		       (8, 1, 'replica-1', $1, $2, 'sent', '', 200, 'projects/p/messages/1')`, us-350e3, us)
	w.exec(t, `INSERT INTO bad_rows (rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen)
		VALUES ('bet-settled', 'h', 'null_key', $1, $2, 3, $3, $3)`, "bet_id is null in the row of "+markup, `{"bet_id":null,"runner":"<b>Red Rum</b>"}`, us)
	w.exec(t, `INSERT INTO presence (client_id, channel, connection_id, page, here, since, seen_at, serial, expires_at)
		VALUES ('ann', 'inbound:betting:horses:ann', 'c-1', 'Car Racing Page', TRUE, $1, $1, 1, $2), ($3, 'inbound:betting:horses:x', 'c-2', $4, TRUE, $1, $1, 1, $2)`,
		us, later, climber, markup)
	w.exec(t, `INSERT INTO replicas (owner, generation, version, since, seen_at) VALUES ('replica-1', $2, '1.2.3', $1, $1)`, us, rules.Generation())
	w.exec(t, `INSERT INTO rules_in_force (id, generation, since) VALUES (1, $1, $2)`, rules.Generation(), us)
	w.stage.rows = []notifier.Row{
		{"bet_id": "b-1", "user_id": "ann", "runner": markup, "outcome": "won", "rowtime": now.UnixMilli()},
		{"bet_id": "b-2", "user_id": "ann", "runner": "Red Rum", "outcome": "won", "rowtime": now.UnixMilli()},
	}
}

func (w *world) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	require.NoError(t, w.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func (w *world) scan(t testing.TB, dst any, query string, args ...any) {
	t.Helper()
	require.NoError(t, w.db.SQL().QueryRowContext(t.Context(), query, args...).Scan(dst))
}

// changes counts all that a request could have changed.
func (w *world) changes(t testing.TB) (n int) {
	t.Helper()
	w.scan(t, &n, `SELECT (SELECT COUNT(*) FROM audit) + (SELECT COUNT(*) FROM rule_controls) + (SELECT COUNT(*) FROM stops)
		+ (SELECT COUNT(*) FROM runs WHERE id > 15) + (SELECT COUNT(*) FROM runs WHERE id IN (12, 13) AND state <> 'held')
		+ 3 - (SELECT COUNT(*) FROM devices) + (SELECT COUNT(*) FROM deliveries WHERE state = 'queued')
		+ (SELECT COUNT(*) FROM suppressions WHERE user_id <> 'eve') + 1 - (SELECT COUNT(*) FROM suppressions WHERE user_id = 'eve')`)
	w.stage.mu.Lock()
	defer w.stage.mu.Unlock()
	return n + len(w.stage.sent)
}

// browser is a client with cookies, as far as HTTP goes.
type browser struct {
	*world
	client *http.Client
}

func (w *world) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn is a browser of an operator.
func (w *world) signedIn(t testing.TB) *browser {
	t.Helper()
	b := w.browser(t)
	res, body := b.post(t, "/sign-in", url.Values{"token": {w.token}})
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
	return b
}

func (b *browser) do(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := b.client.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

func (b *browser) get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, http.NoBody)
	require.NoError(t, err)
	return b.do(t, r)
}

// begin reads the beginning of an answer: that of a stream has no end.
func (b *browser) begin(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	if path != "/live/stream" {
		return b.get(t, path)
	}
	s := b.follow(t)
	defer s.close()
	return s.res, s.next(t, "all")
}

// form makes the request of a form of one of our pages.
func (b *browser) form(t testing.TB, path string, form url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.server.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// post sends a form, with the proof where there is a session.
func (b *browser) post(t testing.TB, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	if path != "/sign-in" && !form.Has("proof") {
		if form == nil {
			form = url.Values{}
		}
		form.Set("proof", b.proof(t))
	}
	return b.do(t, b.form(t, path, form))
}

// proof reads the session's proof from a page.
func (b *browser) proof(t testing.TB) string {
	t.Helper()
	return b.proofOf(t, "/audit")
}

func (b *browser) proofOf(t testing.TB, path string) string {
	t.Helper()
	_, body := b.get(t, path)
	m := regexp.MustCompile(`name="proof" value="([A-Z2-7]+)"`).FindStringSubmatch(body)
	require.NotNil(t, m, body)
	return m[1]
}
