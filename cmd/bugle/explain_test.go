package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

var update = flag.Bool("update", false, "write the golden texts anew")

const storyRules = `
rules:
  - id: bet-settled
    schedule: "@every 1s"
    class: transactional
    query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    ttl: {for: 12h}
    variant: outcome
    variants:
      WON:  {category: win, title: "You won", body: "Bet {{.bet_id}} came in.", locales: {de: {title: "Gewonnen", body: "Wette {{.bet_id}}."}}}
      LOST: {category: loss, title: "Not this time", body: "Bet {{.bet_id}} lost."}
    correction: {title: "Corrected: {{.bet_id}}", body: "It is {{.outcome}} now."}
  - id: race-soon
    schedule: "@every 1s"
    class: marketing
    query: SELECT event_id, name, starts_at, ROWTIME AS rowtime FROM upcoming WHERE starts_at > :now AND starts_at <= :soon;
    params: {soon: "now + 5m"}
    key: [event_id]
    version: [starts_at]
    order: rowtime
    audience: all
    expires: starts_at
    notification: {category: race, title: "{{.name}} in {{minutes .starts_at}}", body: "Be there"}
`

// theatre is a notifier, its admin API, and a source and provider that do what a story wants, in
// virtual time.
type theatre struct {
	t        *testing.T
	db       *sqldb.DB
	registry *sqldevices.Registry
	ledger   *sqlledger.Ledger
	handler  http.Handler
	token    string // the file
	log      *bytes.Buffer

	mu     sync.Mutex
	rows   map[string][]notifier.Row // by view
	answer map[string]notifier.Outcome
}

// RoundTrip calls the admin API without a socket: a bubble has no network.
func (w *theatre) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// Read implements notifier.Source.
func (w *theatre) Read(_ context.Context, query string, _ map[string]any) iter.Seq2[notifier.Row, error] {
	return func(yield func(notifier.Row, error) bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for view, rows := range w.rows {
			for _, r := range rows {
				if strings.Contains(query, "FROM "+view+" ") && !yield(maps.Clone(r), nil) {
					return
				}
			}
		}
	}
}

// Send implements notifier.Sender.
func (w *theatre) Send(_ context.Context, p notifier.Push) notifier.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o, ok := w.answer[p.Target.Value.Reveal()]; ok {
		return o
	}
	return notifier.Outcome{Verdict: notifier.VerdictSent, Status: 200, ProviderID: "projects/p/messages/1"}
}

func (w *theatre) row(view string, r notifier.Row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r["rowtime"] = json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))
	w.rows[view] = append(w.rows[view], r)
}

func target(user string) string { return user + ":APA91b" + strings.Repeat("x", 40) }

// device activates a phone of the user's.
func (w *theatre) device(user, locale string) {
	w.t.Helper()
	_, err := w.registry.Activate(w.t.Context(), devices.UserID(user), devices.ID(user+"-phone"), devices.Activation{
		Platform: devices.Android, Target: devices.Target{Kind: devices.FCMToken, Value: devices.Secret(target(user))}, Locale: locale, TimeZone: "Europe/London",
	})
	require.NoError(w.t, err)
}

func (w *theatre) prefer(user string, p devices.Preferences) {
	w.t.Helper()
	if p.Muted == nil {
		p.Muted = []string{}
	}
	p.OptedIn = []string{}
	_, err := w.registry.SetPreferences(w.t.Context(), devices.UserID(user), p)
	require.NoError(w.t, err)
}

// explain runs bugle explain and returns what it prints.
func (w *theatre) explain(args ...string) string {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	c := &cli{stdout: &stdout, stderr: &stderr, transport: w}
	root := c.root()
	root.SetArgs(append([]string{"explain", "--token-file", w.token}, args...))
	root.SetErr(&stderr)
	require.NoError(w.t, root.ExecuteContext(w.t.Context()), stderr.String())
	require.NotContains(w.t, stdout.String(), "APA91b", "no target is told")
	return stdout.String()
}

// golden compares a text with the one in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	// Two rules run at once: which one's run has which number is chance.
	got = regexp.MustCompile(`run \d+`).ReplaceAllString(got, "run N")
	got = regexp.MustCompile(`until 2000-01-01 08:0\d:\d\d`).ReplaceAllString(got, "until 2000-01-01 08:0N") // spread by chance
	file := filepath.Join("testdata", "explain", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func inTheatre(t *testing.T, test func(w *theatre)) {
	t.Helper()
	inTheatreWith(t, storyRules, test)
}

func inTheatreWith(t *testing.T, rulesText string, test func(w *theatre)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, n := newTheatre(t, rulesText)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		time.Sleep(5500 * time.Millisecond) // the first runs take what there is as known; no row comes with a tick
		test(w)
		cancel()
		require.NoError(t, <-done)
	})
}

// newTheatre makes a theatre whose play has not begun.
func newTheatre(t *testing.T, rulesText string) (*theatre, *notifier.Notifier) {
	t.Helper()
	db := sqldbtest.SQLite(t)
	w := &theatre{t: t, db: db, ledger: sqlledger.New(db), rows: map[string][]notifier.Row{}, answer: map[string]notifier.Outcome{}, log: &bytes.Buffer{}}
	w.registry = sqldevices.New(db, sqldevices.Config{Canceller: w.ledger, Auditor: w.ledger})
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesText)})
	require.NoError(t, err)
	sender := notifier.SenderConfig{Sender: w, RatePerSecond: 1000, InFlight: 32}
	n, err := notifier.New(notifier.Config{
		Rules: rules, Source: w, Ledger: w.ledger, Retirer: w.registry, Owner: "replica-1", Log: zerolog.Nop(),
		Caps:    notifier.FrequencyCaps{{Category: "race", Limit: 2, Window: time.Hour, Over: notifier.OverDrop}},
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: sender},
	})
	require.NoError(t, err)
	w.serve(n)
	return w, n
}

// serve makes the admin API of the notifier.
func (w *theatre) serve(n *notifier.Notifier) {
	w.t.Helper()
	plain, entry, err := api.NewAdminToken("alice", time.Now(), 1000*time.Hour)
	require.NoError(w.t, err)
	dir := w.t.TempDir()
	w.token = filepath.Join(dir, "token")
	require.NoError(w.t, os.WriteFile(w.token, []byte(plain.Reveal()+"\n"), 0o600))
	tokens := filepath.Join(dir, "tokens")
	require.NoError(w.t, os.WriteFile(tokens, []byte(entry.Line()), 0o600))
	admit, err := api.NewAdminTokens(tokens, zerolog.Nop())
	require.NoError(w.t, err)
	control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: w.ledger, Log: zerolog.Nop()})
	require.NoError(w.t, err)
	tester, err := notifier.NewTester(notifier.TesterConfig{
		Devices: w.registry, Senders: map[devices.Provider]notifier.Sender{devices.FCM: w}, Audit: w.ledger, Suppressions: w.ledger, Stops: w.ledger, Log: zerolog.Nop(),
	})
	require.NoError(w.t, err)
	explainer, err := n.Explainer(w.ledger, w.registry)
	require.NoError(w.t, err)
	w.handler, err = api.NewAdmin(api.AdminConfig{Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop(), Operations: &api.Operations{
		Tokens: admit, Rules: control, RuleControl: control, Runs: w.ledger, RunControl: control, Deliveries: w.ledger, Requeue: control,
		BadRows: w.ledger, Explain: explainer,
		Users:   notifier.UserData{Devices: w.registry, Stores: []notifier.UserStore{w.ledger, w.registry, sqlrelay.NewBets(w.db)}, Audit: w.ledger},
		Devices: w.registry, DeviceControl: w.registry, TestSend: tester, Audit: w.ledger, Replicas: w.ledger, Suppressions: w.ledger, Sending: control, Presence: sqlrelay.NewBets(w.db),
	}})
	require.NoError(w.t, err)
}

func bet(id, user, outcome string) notifier.Row {
	return notifier.Row{"bet_id": id, "user_id": user, "outcome": outcome}
}

func TestExplainTellsTheStories(t *testing.T) {
	t.Parallel()
	t.Run("correction", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("ann", "en-GB")
			w.row("settled_bets", bet("b1", "ann", "LOST"))
			time.Sleep(5 * time.Second)
			w.row("settled_bets", bet("b1", "ann", "WON"))
			time.Sleep(5 * time.Second)
			golden(t, "correction", w.explain("2"))
			golden(t, "corrected", w.explain("1"))
			golden(t, "correction_timeline", w.explain("--user", "ann"))
		})
	})
	t.Run("muted", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("bob", "de-DE")
			w.prefer("bob", devices.Preferences{Muted: []string{"win"}})
			w.row("settled_bets", bet("b2", "bob", "WON"))
			time.Sleep(5 * time.Second)
			golden(t, "muted", w.explain("1"))
			golden(t, "muted_timeline", w.explain("--user", "bob"))
		})
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("cat", "")
			w.answer[target("cat")] = notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "UNAVAILABLE", Status: 503, After: time.Hour}
			w.row("upcoming", notifier.Row{"event_id": "r1", "name": "The Gold Cup", "starts_at": json.Number(strconv.FormatInt(time.Now().Add(4*time.Minute).UnixMilli(), 10))})
			time.Sleep(5 * time.Second)
			golden(t, "expired", w.explain("1"))
			golden(t, "expired_timeline", w.explain("--user", "cat"))
		})
	})
	t.Run("dead", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("dan", "en-US")
			w.answer[target("dan")] = notifier.Outcome{Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404}
			w.row("settled_bets", bet("b4", "dan", "WON"))
			time.Sleep(5 * time.Second)
			golden(t, "dead", w.explain("1"))
			golden(t, "dead_timeline", w.explain("--user", "dan"))
		})
	})
}

func TestExplainTellsOfUsersWhoGotNothing(t *testing.T) {
	t.Parallel()
	t.Run("no device", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.row("settled_bets", bet("b5", "eve", "WON"))
			time.Sleep(5 * time.Second)
			golden(t, "no_device", w.explain("--user", "eve"))
		})
	})
	t.Run("never seen", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("fay", "")
			golden(t, "never_seen", w.explain("--user", "fay"))
		})
	})
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("gus", "")
			w.prefer("gus", devices.Preferences{Quiet: &devices.Quiet{From: 22 * 60, To: 8 * 60}})
			w.row("settled_bets", bet("b6", "gus", "WON"))
			time.Sleep(5 * time.Second)
			golden(t, "waiting", w.explain("1"))
		})
	})
	t.Run("suppressed", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("hal", "")
			key := notifier.SuppressionKey{User: "hal", Reason: notifier.ReasonSelfExclusion}
			_, err := w.ledger.Suppress(w.t.Context(), notifier.Actor{Name: "alice"}, []notifier.Suppression{{User: "hal", Reason: key.Reason, Class: notifier.SuppressAll}}, notifier.AllowShorter)
			require.NoError(t, err)
			w.row("settled_bets", bet("b7", "hal", "WON"))
			time.Sleep(5 * time.Second)
			require.NoError(t, w.ledger.Unsuppress(w.t.Context(), notifier.Actor{Name: "alice"}, key))
			golden(t, "suppressed", w.explain("1"))
		})
	})
	t.Run("capped", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(w *theatre) {
			w.device("ida", "")
			for i, name := range []string{"r1", "r2", "r3"} {
				w.row("upcoming", notifier.Row{"event_id": name, "name": "Race " + name, "starts_at": json.Number(strconv.FormatInt(time.Now().Add(time.Duration(i+2)*time.Minute).UnixMilli(), 10))})
				time.Sleep(2 * time.Second)
			}
			golden(t, "capped", w.explain("3"))
		})
	})
}

// A result that is provisional is told when it is sure, or when it has been held for long enough.
func TestExplainTellsOfProvisionalResults(t *testing.T) {
	t.Parallel()
	rules := strings.Replace(storyRules, "    ttl: {for: 12h}\n", "    ttl: {for: 12h}\n    provisional: {column: status, values: [PROVISIONAL], hold: 1m}\n", 1)
	require.NotEqual(t, storyRules, rules)
	rules = strings.Replace(rules, "outcome, ROWTIME", "outcome, status, ROWTIME", 1)
	staged := func(id, user, outcome, status string) notifier.Row {
		r := bet(id, user, outcome)
		r["status"] = status
		return r
	}
	for name, play := range map[string]func(w *theatre) string{
		"provisional": func(w *theatre) string { return w.explain("1") },
		"provisional_confirmed": func(w *theatre) string {
			w.row("settled_bets", staged("b1", "ann", "WON", "FINAL"))
			time.Sleep(10 * time.Second)
			return w.explain("1")
		},
		"provisional_elapsed": func(w *theatre) string {
			time.Sleep(2 * time.Minute)
			return w.explain("1")
		},
		"provisional_paused": func(w *theatre) string {
			require.NoError(w.t, w.ledger.SetPaused(w.t.Context(), notifier.Actor{Name: "alice"}, "bet-settled", true, "looking into it"))
			time.Sleep(2 * time.Minute)
			return w.explain("1")
		},
		"provisional_replaced": func(w *theatre) string {
			w.row("settled_bets", staged("b1", "ann", "LOST", "FINAL"))
			time.Sleep(10 * time.Second)
			return w.explain("1")
		},
		"provisional_timeline": func(w *theatre) string { return w.explain("--user", "ann") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTheatreWith(t, rules, func(w *theatre) {
				w.device("ann", "en-GB")
				w.row("settled_bets", staged("b1", "ann", "WON", "PROVISIONAL"))
				time.Sleep(5 * time.Second)
				golden(t, name, play(w))
			})
		})
	}
}

// What an import set only an import takes back: support has to know which it was.
func TestExplainTellsWhoSetASuppression(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(w *theatre) {
		w.device("hal", "")
		turn, ok, err := w.ledger.BeginImport(w.t.Context(), "replica-1", time.Hour, func(notifier.ImportState) bool { return true })
		require.NoError(w.t, err)
		require.True(w.t, ok)
		_, err = w.ledger.SetImported(w.t.Context(), turn, time.Hour, []notifier.Suppression{{User: "hal", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll}})
		require.NoError(w.t, err)
		_, err = w.ledger.Suppress(w.t.Context(), notifier.Actor{Name: "alice"}, []notifier.Suppression{{User: "hal", Reason: notifier.ReasonAccountClosed, Class: notifier.SuppressAll}}, notifier.AllowShorter)
		require.NoError(w.t, err)
		w.row("settled_bets", bet("b7", "hal", "WON"))
		time.Sleep(5 * time.Second)
		golden(w.t, "imported", w.explain("1"))
		golden(w.t, "imported_timeline", w.explain("--user", "hal"))
	})
}

func TestExplainPrintsJSONAndPages(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(w *theatre) {
		w.device("ann", "")
		for _, id := range []string{"b1", "b2", "b3"} {
			w.row("settled_bets", bet(id, "ann", "WON"))
			time.Sleep(2 * time.Second)
		}
		w.row("settled_bets", bet("b4", "zoe", "WON")) // nobody's
		time.Sleep(2 * time.Second)
		var seen []int64
		after := ""
		for {
			var page api.AdminTimeline
			require.NoError(t, json.Unmarshal([]byte(w.explain("--user", "ann", "--limit", "2", "--output", "json", "--after", after)), &page))
			for _, i := range page.Items {
				seen = append(seen, i.Notification)
			}
			if page.Next == nil {
				break
			}
			after = *page.Next
		}
		require.Equal(t, []int64{3, 2, 1}, seen)
		var e api.AdminExplanation
		require.NoError(t, json.Unmarshal([]byte(w.explain("1", "--output", "json", "--user", "ann")), &e))
		require.Equal(t, "ann", e.User)
		require.Len(t, e.Explained, 1)
	})
}

// A bet's id, a reason and a refusal may hold commands for the terminal of who looks.
func TestExplainCommandsNoTerminal(t *testing.T) {
	t.Parallel()
	const evil = `\u001b]52;c;ZXZpbA==\u0007\u001b[2J\u009b2J`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/2") {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"detail":"` + evil + `refused"}`))
			return
		}
		_, _ = w.Write([]byte(`{"id":1,"user":"` + evil + `ann","key":"` + evil + `b1","summary":"` + evil + `told","texts":[{"title":"` + evil + `"}],"summary_list":[]}`))
	}))
	t.Cleanup(server.Close)
	token := write(t, "token", "bga_x")
	for _, args := range [][]string{{"1"}, {"2"}, {"1", "--output", "json"}} {
		_, stdout, stderr := command(t, nil, append([]string{"explain", "--token-file", token, "--server", server.URL}, args...)...)
		require.NotContains(t, stdout+stderr, "\x1b", args)
		require.NotContains(t, stdout+stderr, "\a", args)
		require.NotEmpty(t, stdout+stderr)
		if len(args) == 1 {
			require.NotContains(t, stdout+stderr, "\u009b", args)
			require.Regexp(t, "b1|refused", stdout+stderr)
			require.Contains(t, stdout+stderr, "\n")
		}
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	token := write(t, "token", "bga_x")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nothing to explain": {[]string{"--token-file", token}, "--user"},
		"no number":          {[]string{"x", "--token-file", token}, `"x"`},
		"no token":           {[]string{"1"}, "--token-file"},
		"no such file":       {[]string{"1", "--token-file", token + "-none"}, "no such file"},
		"no server":          {[]string{"1", "--token-file", token, "--server", "localhost"}, "--server wants a URL"},
		"no such output":     {[]string{"1", "--token-file", token, "--output", "xml"}, "wants table or json"},
		"nobody answers":     {[]string{"1", "--token-file", token, "--server", "http://127.0.0.1:1"}, "reach the admin API"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := command(t, nil, append([]string{"explain"}, tc.args...)...)
			require.NotEqual(t, exitOK, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, tc.want)
			require.NotContains(t, stderr, "bga_x")
		})
	}
}
