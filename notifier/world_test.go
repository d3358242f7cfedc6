package notifier_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// rulesYAML is a small set of rules with the shapes of the built-in ones.
const rulesYAML = `
rules:
  - id: settled
    schedule: "@every 1s"
    class: transactional
    query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s, max_window: 10m}
    sweep: {every: 1m, lookback: 5m}
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    ttl: {for: 1h}
    variant: outcome
    variants:
      WON:  {category: win, title: "won {{.bet_id}}", body: "won"}
      LOST: {category: loss, title: "lost {{.bet_id}}", body: "lost"}
    correction: {title: "corrected {{.bet_id}}", body: "{{.outcome}}"}
  - id: soon
    schedule: "@every 1s"
    class: marketing
    query: SELECT event_id, starts_at, ROWTIME AS rowtime FROM upcoming WHERE starts_at > :now AND starts_at <= :soon;
    params: {soon: "now + 5m"}
    key: [event_id]
    version: [starts_at]
    order: rowtime
    audience: all
    expires: starts_at
    notification: {category: race, title: "soon {{.event_id}}", body: "soon"}
  - id: changed
    schedule: "@every 1s"
    class: service
    query: SELECT event_id, status, ROWTIME AS rowtime FROM upcoming_changed WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [event_id]
    version: [status]
    order: rowtime
    audience: {follows: soon}
    ttl: {for: 1h}
    category: race
    notification: {title: "changed {{.event_id}}", body: "{{.status}}"}
`

// row is a row of the fake source: where it stands, when it arrived and from when it can be read.
type row struct {
	view    string
	rowtime time.Time
	visible time.Time
	starts  time.Time
	cols    notifier.Row
}

// world is the notifier on a real ledger with a source and a sender that do
// what a test wants, in virtual time.
type world struct {
	t      *testing.T
	db     *sqldb.DB
	ledger *sqlledger.Ledger
	// retention is the default one unless a test says otherwise.
	retention notifier.Retention
	// configure changes the configuration of every notifier that starts; nil leaves it.
	configure func(c *notifier.Config)

	mu     sync.Mutex
	rows   []row
	fault  func(query string) error // asked once a read; non-nil cuts the result
	answer func(p notifier.Push, n int) notifier.Outcome
	pushes []push
	tries  map[string]int
}

// push is what the sender was asked to send.
type push struct {
	notifier.Push
	at      time.Time
	verdict notifier.Verdict
}

func (p push) String() string {
	return fmt.Sprintf("%s→%s", p.Message.Title, p.Target.Value.Reveal())
}

// inWorld runs a test in a bubble of virtual time.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.SQLite(t)
		w := &world{t: t, db: db, ledger: sqlledger.New(db), tries: map[string]int{}}
		test(t, w)
	})
}

// run starts the notifier for d of virtual time and stops it.
func (w *world) run(d time.Duration) { w.runWith(rulesYAML, "replica-1", d) }

func (w *world) runWith(yaml, owner string, d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := w.start(ctx, yaml, owner, w.ledger)
	time.Sleep(d)
	cancel()
	require.NoError(w.t, <-done)
}

// runWhile starts the notifier, does what a test wants, and stops it d later.
func (w *world) runWhile(d time.Duration, do func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := w.start(ctx, rulesYAML, "replica-1", w.ledger)
	do()
	time.Sleep(d)
	cancel()
	require.NoError(w.t, <-done)
}

func (w *world) start(ctx context.Context, yaml, owner string, ledger notifier.Ledger) <-chan error {
	w.t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(yaml)})
	require.NoError(w.t, err)
	cfg := notifier.Config{
		Rules: rules, Source: w, Ledger: ledger, Retirer: w, Owner: owner, Log: zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel),
		OptIn: map[string]bool{"tips": true}, Retention: w.retention,
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
	}
	if w.configure != nil {
		w.configure(&cfg)
	}
	n, err := notifier.New(cfg)
	require.NoError(w.t, err)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return done
}

// Read implements notifier.Source over the rows of the world.
func (w *world) Read(_ context.Context, query string, params map[string]any) iter.Seq2[notifier.Row, error] {
	w.mu.Lock()
	var out []notifier.Row
	now := time.Now()
	at := func(name string) time.Time { t, _ := params[name].(time.Time); return t }
	for _, r := range w.rows {
		if !strings.Contains(query, "FROM "+r.view+" ") || r.visible.After(now) {
			continue
		}
		if _, ok := params["since"]; ok && (r.rowtime.Before(at("since")) || !r.rowtime.Before(at("until"))) {
			continue
		}
		if _, ok := params["soon"]; ok && (!r.starts.After(at("now")) || r.starts.After(at("soon"))) {
			continue
		}
		out = append(out, r.cols)
	}
	fault := w.fault
	w.mu.Unlock()
	var err error
	if fault != nil {
		err = fault(query) // it may take its time
	}
	return func(yield func(notifier.Row, error) bool) {
		for _, r := range out {
			if !yield(maps.Clone(r), nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// Send implements notifier.Sender.
func (w *world) Send(ctx context.Context, p notifier.Push) notifier.Outcome {
	w.mu.Lock()
	key := fmt.Sprint(p.Message.NotificationID, p.Target.Value.Reveal())
	w.tries[key]++
	n := w.tries[key]
	answer := w.answer
	w.mu.Unlock()
	at := time.Now()
	select {
	case <-time.After(20 * time.Millisecond): // a provider takes its time
	case <-ctx.Done():
		return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout", Err: ctx.Err()}
	}
	o := notifier.Outcome{Verdict: notifier.VerdictSent, Status: 200}
	if answer != nil {
		o = answer(p, n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushes = append(w.pushes, push{Push: p, at: at, verdict: o.Verdict})
	return o
}

// Retire implements notifier.Retirer as the device registry does.
func (w *world) Retire(ctx context.Context, id devices.ID, generation int64, reason string) (retired bool, err error) {
	err = w.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE devices SET state = 'retired', retired_reason = $1
			WHERE id = $2 AND generation = $3 AND state = 'active'`, reason, id, generation)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		retired = n == 1
		return err
	})
	return retired, err
}

// exec changes the database behind the notifier's back.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	require.NoError(w.t, w.db.Tx(w.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func (w *world) device(id, user string) {
	w.t.Helper()
	w.exec(`INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
		VALUES ($1, $2, 'android', 'fcm', 'fcm_token', $3, 1, 'active', $4, $4)`, id, user, "tok-"+id, time.Now().UnixMicro())
}

func (w *world) mute(user, category string) {
	w.t.Helper()
	muted, err := json.Marshal([]string{category})
	require.NoError(w.t, err)
	w.exec(`INSERT INTO preferences (user_id, muted, updated_at) VALUES ($1, $2, $3)`, user, string(muted), time.Now().UnixMicro())
}

func millis(t time.Time) json.Number { return json.Number(strconv.FormatInt(t.UnixMilli(), 10)) }

func (w *world) add(r row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.rowtime.IsZero() {
		r.rowtime = time.Now()
	}
	r.cols["rowtime"] = millis(r.rowtime)
	w.rows = append(w.rows, r)
}

// settle adds a settlement that arrives now.
func (w *world) settle(bet, user, outcome string) {
	w.settleAt(bet, user, outcome, time.Now(), time.Now())
}

func (w *world) settleAt(bet, user, outcome string, rowtime, visible time.Time) {
	w.add(row{view: "settled_bets", rowtime: rowtime, visible: visible, cols: notifier.Row{"bet_id": bet, "user_id": user, "outcome": outcome}})
}

// race adds a race that starts in d; the newest row of an event counts.
func (w *world) race(event string, d time.Duration) {
	w.drop("upcoming", event)
	starts := time.Now().Add(d)
	w.add(row{view: "upcoming", starts: starts, cols: notifier.Row{"event_id": event, "starts_at": starts.UTC().Format(time.RFC3339Nano)}})
}

// change takes a race out of the schedule.
func (w *world) change(event, status string) {
	w.drop("upcoming", event)
	w.add(row{view: "upcoming_changed", cols: notifier.Row{"event_id": event, "status": status}})
}

func (w *world) drop(view, event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = slices.DeleteFunc(w.rows, func(r row) bool { return r.view == view && r.cols["event_id"] == event })
}

func (w *world) setFault(f func(query string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

func (w *world) setAnswer(f func(p notifier.Push, n int) notifier.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// accepted lists what the provider took, sorted.
func (w *world) accepted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, p := range w.pushes {
		if p.verdict == notifier.VerdictSent {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) attempts() []push {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.pushes)
}

// states counts deliveries by state and reason.
func (w *world) states() map[string]int {
	w.t.Helper()
	return w.counts(`SELECT state || CASE WHEN reason = '' THEN '' ELSE '/' || reason END, COUNT(*) FROM deliveries GROUP BY 1`)
}

func (w *world) counts(query string) map[string]int {
	w.t.Helper()
	rows, err := w.db.SQL().QueryContext(w.t.Context(), query)
	require.NoError(w.t, err)
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var k string
		var n int
		require.NoError(w.t, rows.Scan(&k, &n))
		out[k] = n
	}
	require.NoError(w.t, rows.Err())
	return out
}

var errCut = errors.New("the body was cut")

func sent() notifier.Outcome { return notifier.Outcome{Verdict: notifier.VerdictSent, Status: 200} }
