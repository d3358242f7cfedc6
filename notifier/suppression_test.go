package notifier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func (w *world) suppress(s notifier.Suppression) {
	w.t.Helper()
	_, err := w.ledger.Suppress(w.t.Context(), operator, []notifier.Suppression{s}, notifier.AllowShorter)
	require.NoError(w.t, err)
}

func (w *world) unsuppress(user devices.UserID, reason notifier.Reason) {
	w.t.Helper()
	require.NoError(w.t, w.ledger.Unsuppress(w.t.Context(), operator, notifier.SuppressionKey{User: user, Reason: reason}))
}

// stops lists what the audit says was stopped.
func (w *world) stops() (out []notifier.AuditEntry) {
	w.t.Helper()
	entries, err := w.ledger.Audit(w.t.Context(), notifier.AuditQuery{Forward: true, Limit: 1_000_000})
	require.NoError(w.t, err)
	return slices.DeleteFunc(entries, func(e notifier.AuditEntry) bool { return e.Action != notifier.ActionStopped })
}

func TestASuppressionHoldsBackWhatItsClassSays(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for _, user := range []string{"ann", "bob", "cid", "dan"} {
			w.device("phone-"+user, user)
		}
		w.suppress(notifier.Suppression{User: "ann", Reason: notifier.ReasonJurisdiction, Class: notifier.SuppressMarketing})
		w.suppress(notifier.Suppression{User: "bob", Reason: notifier.ReasonSelfExclusion})
		w.suppress(notifier.Suppression{User: "cid", Reason: notifier.ReasonAccountClosed, Class: notifier.SuppressAll})
		w.suppress(notifier.Suppression{User: "dan", Reason: notifier.ReasonCoolOff, Until: time.Now()})
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 2*time.Minute)
			for _, user := range []string{"ann", "bob", "cid", "dan"} {
				w.settle("bet-"+user, user, "WON")
			}
		}()
		w.run(20 * time.Second)
		require.Equal(t, []string{
			"soon e1→tok-phone-dan", "won bet-ann→tok-phone-ann", "won bet-bob→tok-phone-bob", "won bet-dan→tok-phone-dan",
		}, w.accepted())
		require.Equal(t, map[string]int{"sent": 4, "suppressed/jurisdiction": 1, "suppressed/self_exclusion": 1, "suppressed/account_closed": 2}, w.states())
		require.Len(t, w.stops(), 4)
	})
}

// Shows that a list which cannot be read stops everything, and that what waited goes or expires.
func TestWithoutTheListOfSuppressionsNothingIsSent(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.runWhile(time.Minute, func() {
			time.Sleep(2 * time.Second)
			w.exec(`ALTER TABLE suppressions RENAME TO suppressions_away`)
			w.settle("b1", "ann", "WON")
			w.settle("b2", "bob", "WON")
			w.race("e1", time.Minute)
			time.Sleep(2 * time.Minute)
			require.Empty(t, w.accepted())
			require.Equal(t, 2, w.states()["queued"]+w.states()["leased"], "they wait: %v", w.states())
			w.exec(`INSERT INTO suppressions_away (user_id, reason, class, set_by, set_at) VALUES ('bob', 'self_exclusion', 'all', 'x', 1)`)
			w.exec(`ALTER TABLE suppressions_away RENAME TO suppressions`)
		})
		require.Equal(t, []string{"won b1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1, "suppressed/self_exclusion": 1, "expired/ttl": 2}, w.states())
	})
}

// span is when a user was suppressed, and when that was over; zero while it is not.
type span struct{ from, until time.Time }

// While the list changes during sends by two replicas, nothing begins for a suppressed user later
// than a second after the change was committed.
func TestNobodyIsSentToWhileSuppressed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		if rapid.IntRange(0, 9).Draw(rt, "played") != 7 {
			return // a world costs a third of a second, and ten times that with the race detector
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		users := rapid.IntRange(1, 6).Draw(rt, "users")
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 10).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			db := sqldbtest.SQLite(t)
			w := &world{t: t, db: db, ledger: sqlledger.New(db), tries: map[string]int{}}
			rnd := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			w.setAnswer(func(notifier.Push, int) notifier.Outcome {
				mu.Lock()
				defer mu.Unlock()
				if rnd.IntN(4) == 0 {
					return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"}
				}
				return sent()
			})
			for u := range users {
				w.device(fmt.Sprint("a", u), fmt.Sprint("u", u))
				w.device(fmt.Sprint("b", u), fmt.Sprint("u", u))
			}
			ctx, cancel := context.WithCancel(t.Context())
			first := w.start(ctx, rulesYAML, "replica-1", w.ledger)
			second := w.start(ctx, rulesYAML, "replica-2", w.ledger)
			suppressed := map[string][]span{}
			time.Sleep(2 * time.Second)
			for i, step := range steps {
				user := fmt.Sprint("u", step%users)
				spans := suppressed[user]
				active := len(spans) > 0 && spans[len(spans)-1].until.IsZero()
				switch {
				case step>>8%3 == 0 && !active:
					w.suppress(notifier.Suppression{User: devices.UserID(user), Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll})
					suppressed[user] = append(spans, span{from: time.Now()})
				case step>>8%3 == 0:
					spans[len(spans)-1].until = time.Now()
					w.unsuppress(devices.UserID(user), notifier.ReasonSelfExclusion)
				case step>>8%3 == 1:
					for u := range users {
						w.settle(fmt.Sprint("bet", i, "-", u), fmt.Sprint("u", u), []string{"WON", "LOST"}[step>>10&1])
					}
				default:
					w.race(fmt.Sprint("race", i%3), time.Duration(20+step%200)*time.Second)
				}
				time.Sleep(time.Duration(step>>12) * time.Millisecond * 10)
			}
			time.Sleep(20 * time.Second)
			cancel()
			require.NoError(t, <-first)
			require.NoError(t, <-second)
			for _, p := range w.attempts() {
				user := "u" + p.Target.Value.Reveal()[len("tok-a"):]
				for _, s := range suppressed[user] {
					late := p.at.After(s.from.Add(time.Second)) && (s.until.IsZero() || p.at.Before(s.until))
					require.False(t, late, "%s began %s after the suppression (seed %d, %d users, steps %v)", p, p.at.Sub(s.from), seed, users, steps)
				}
			}
			stopped := w.states()["suppressed/self_exclusion"]
			require.Len(t, w.stops(), stopped, "every one of them is in the audit")
		})
	})
}

// A sender may wait for a connection: what decided about its push must not be older than a second then.
func TestEachPushSaysByWhenItsRequestMustBegin(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone", "ann")
		w.runWhile(10*time.Second, func() {
			time.Sleep(3 * time.Second)
			w.settle("b1", "ann", "WON")
		})
		require.Len(t, w.attempts(), 1)
		p := w.attempts()[0]
		require.True(t, p.BeginBy.After(p.at))
		require.Less(t, p.BeginBy.Sub(p.at), time.Second)
	})
}

// Two lists with a suppression for each reason: the one that counts may come last.
func TestOfManySuppressionsOfAUserNoneIsOverlooked(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		turn, ok, err := w.ledger.BeginImport(t.Context(), "r1", time.Minute, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		var over []notifier.Suppression
		for _, reason := range notifier.SuppressionReasons() {
			over = append(over, notifier.Suppression{User: "ann", Reason: reason, Until: time.Now().Add(-time.Hour)})
		}
		_, err = w.ledger.Suppress(t.Context(), operator, over, notifier.AllowShorter)
		require.NoError(t, err)
		for i := range over {
			if over[i].Reason == notifier.ReasonSelfExclusion {
				over[i].Until = time.Time{}
			}
		}
		_, err = w.ledger.SetImported(t.Context(), turn, time.Minute, over)
		require.NoError(t, err)
		tester, err := notifier.NewTester(notifier.TesterConfig{
			Devices: sqldevices.New(w.db, sqldevices.Config{}), Senders: map[devices.Provider]notifier.Sender{devices.FCM: w}, Audit: w.ledger, Suppressions: w.ledger, Stops: w.ledger, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.ErrorIs(t, err, notifier.ErrSuppressed)
		require.Empty(t, w.attempts())

		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		x, err := notifier.NewExplainer(notifier.ExplainerConfig{Ledger: w.ledger, Directory: nobody{}, Rules: func() *notifier.RuleSet { return rules }})
		require.NoError(t, err)
		told, err := x.Timeline(t.Context(), notifier.TimelineQuery{User: "ann"})
		require.NoError(t, err)
		require.Len(t, told.Suppressions, 8)
	})
}
