package api_test

import (
	"context"
	"database/sql"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

const adminRules = `
- id: bet-settled
  schedule: "@every 1h"
  class: transactional
  query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
  watermark: {column: rowtime, lookback: 1m}
  max_deliveries: 100
  key: [bet_id]
  version: [outcome]
  order: rowtime
  audience: {user: user_id}
  notification: {category: win, title: "Bet {{.bet_id}}", body: "{{.outcome}}", locales: {de: {title: "Wette {{.bet_id}}", body: "{{.outcome}}"}}}
- id: asleep
  schedule: "@every 1h"
  mode: paused
  class: service
  query: SELECT bet_id, user_id, ROWTIME AS rowtime FROM settled_bets WHERE user_id <> '';
  key: [bet_id]
  version: [user_id]
  order: rowtime
  audience: {user: user_id}
  forget_after: 1h
  notification: {category: win, title: "Bet {{.bet_id}}", body: "x"}
`

// deadTarget is the target of phone-1, and must show nowhere.
const deadTarget = "the-very-target-of-phone-1:APA91bAPA91bAPA91b"

// stage is source and sender of the notifier that operators look at.
type stage struct {
	mu   sync.Mutex
	rows []notifier.Row
	sent []notifier.Push
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
	return notifier.Outcome{Verdict: notifier.VerdictSent, Status: 200, ProviderID: "projects/p/messages/1"}
}

// adminWorld is the admin handler over a database with a story in it: runs 12
// and 13 are held, run 14 failed; notification 41 was refused by the provider as
// delivery 7 on ann's phone-1, and ended as delivery 8 on her phone-2. eve cools off.
type adminWorld struct {
	handler http.Handler
	apps    *world
	db      *sqldb.DB
	ledger  *sqlledger.Ledger
	stage   *stage
	log     *logtest.Buffer
	tokens  string // the file
	token   string
}

func newAdminWorld(t testing.TB, change ...func(*api.Operations)) *adminWorld {
	t.Helper()
	a := &adminWorld{stage: &stage{}, log: &logtest.Buffer{}, tokens: filepath.Join(t.TempDir(), "tokens")}
	a.db = sqldbtest.SQLite(t)
	a.ledger = sqlledger.New(a.db)
	registry := sqldevices.New(a.db, sqldevices.Config{Canceller: a.ledger, Auditor: a.ledger})
	log := zerolog.New(a.log)
	a.apps = newWorld(t)

	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte("rules:" + strings.ReplaceAll(adminRules, "\n", "\n  "))})
	require.NoError(t, err)
	n, err := notifier.New(notifier.Config{
		Rules: rules, Source: a.stage, Ledger: a.ledger, Retirer: registry, Owner: "replica-1", Log: zerolog.Nop(),
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: a.stage}},
	})
	require.NoError(t, err)
	control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: a.ledger, Log: log})
	require.NoError(t, err)
	tester, err := notifier.NewTester(notifier.TesterConfig{
		Devices: registry, Senders: map[devices.Provider]notifier.Sender{devices.FCM: a.stage}, Audit: a.ledger, Suppressions: a.ledger, Stops: a.ledger, Log: log,
	})
	require.NoError(t, err)
	explainer, err := n.Explainer(a.ledger, registry)
	require.NoError(t, err)
	a.token = a.addToken(t, "alice", 0)
	tokens, err := api.NewAdminTokens(a.tokens, log)
	require.NoError(t, err)
	ops := api.Operations{
		Tokens: tokens, Rules: control, RuleControl: control, Runs: a.ledger, RunControl: control, Deliveries: a.ledger,
		Requeue: control, BadRows: a.ledger, Explain: explainer,
		Users:   notifier.UserData{Devices: registry, Stores: []notifier.UserStore{a.ledger, registry, sqlrelay.NewBets(a.db)}, Audit: a.ledger},
		Devices: registry, DeviceControl: registry, TestSend: tester, Audit: a.ledger, Replicas: a.ledger,
		Suppressions: a.ledger, Sending: control,
		Presence: sqlrelay.NewBets(a.db),
	}
	for _, c := range change {
		c(&ops)
	}
	reg := prometheus.NewRegistry()
	a.handler, err = api.NewAdmin(api.AdminConfig{Gatherer: reg, Registerer: reg, Log: log, Operations: &ops})
	require.NoError(t, err)
	a.tell(t)
	return a
}

// addToken appends a token to the file and returns it; ttl < 0 makes one that has expired.
func (a *adminWorld) addToken(t testing.TB, name string, ttl time.Duration) string {
	t.Helper()
	now := time.Now()
	if ttl < 0 {
		now, ttl = now.Add(ttl-time.Hour), time.Hour
	}
	plain, token, err := api.NewAdminToken(name, now, ttl)
	require.NoError(t, err)
	f, err := os.OpenFile(a.tokens, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(token.Line())
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return plain.Reveal()
}

// tell writes the story down.
func (a *adminWorld) tell(t testing.TB) {
	t.Helper()
	now := time.Now()
	us, later := now.UnixMicro(), now.Add(time.Hour).UnixMicro()
	a.exec(t, `INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
		VALUES ('phone-1', 'ann', 'android', 'fcm', 'fcm_token', $1, 1, 'active', $2, $2), ('phone-2', 'ann', 'ios', 'fcm', 'fcm_token', 'x', 1, 'inactive', $2, $2)`,
		deadTarget, us)
	for id, state := range map[int]string{12: "held", 13: "held", 14: "failed", 15: "released"} {
		a.exec(t, `INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, error, started_at, finished_at)
			VALUES ($1, 'bet-settled', $2, $3, FALSE, $4, $4, 'g', 'replica-1', 0, $5, $4, $4)`, id, us-int64(100-id)*1e6, state, us,
			map[string]string{"failed": "the body was cut"}[state])
	}
	for id, run := range map[int]int{41: 15, 42: 12, 43: 13} {
		a.exec(t, `INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at)
			VALUES ($1, 'bet-settled', 'key-' || $1, 1, 'h', 1, TRUE, 'th-' || $1, FALSE, 'user', 'ann', 'win', 'transactional', 'high',
			(SELECT state FROM runs WHERE id = $2), $2, '{"bet_id":"b1","payout":12345678901234567890}', $3, $4)`, id, run, later, us)
	}
	a.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, attempts, due_at, expires_at, created_at, finished_at)
		VALUES (7, 41, 'phone-1', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', 'INVALID_ARGUMENT', 1, $1, $2, $1, $1),
		       (8, 41, 'phone-2', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'sent', '', 1, $1, $2, $1, $1)`, us, later)
	a.exec(t, `INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict, code, status) VALUES (7, 1, 'replica-1', $1, $1, 'rejected', 'INVALID_ARGUMENT', 400)`, us)
	a.exec(t, `INSERT INTO suppressions (user_id, reason, class, set_by, set_at) VALUES ('eve', 'cool_off', 'service', 'bob', $1)`, us)
	a.exec(t, `INSERT INTO bad_rows (rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen)
		VALUES ('bet-settled', 'h1', 'null_key', 'column "bet_id" is null', '{"bet_id":null}', 3, $1, $1), ('bet-settled', 'h2', 'null_key', 'd', '{}', 1, $1, $1)`, us)
}

func (a *adminWorld) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	require.NoError(t, a.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func (a *adminWorld) do(t testing.TB, c call) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	a.handler.ServeHTTP(rec, c.request(t))
	return rec
}

// as makes a call of the operator alice.
func (a *adminWorld) as(t testing.TB, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	return a.do(t, call{method: method, path: path, body: body, token: a.token})
}
