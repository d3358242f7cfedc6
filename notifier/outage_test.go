package notifier_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

var errAway = errors.New("the database is away")

// awayLedger is a ledger whose database can be away.
type awayLedger struct {
	notifier.Ledger
	away *atomic.Bool
}

func (l awayLedger) err() error {
	if l.away.Load() {
		return errAway
	}
	return nil
}

func (l awayLedger) Begin(ctx context.Context, req notifier.BeginRun) (notifier.Run, bool, error) {
	if err := l.err(); err != nil {
		return notifier.Run{}, false, err
	}
	return l.Ledger.Begin(ctx, req)
}

func (l awayLedger) FanOut(ctx context.Context, limit int) (int, bool, error) {
	if err := l.err(); err != nil {
		return 0, false, err
	}
	return l.Ledger.FanOut(ctx, limit)
}

func (l awayLedger) Rules(ctx context.Context, lane notifier.LaneID) ([]string, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Ledger.Rules(ctx, lane)
}

func (l awayLedger) Claim(ctx context.Context, req notifier.ClaimRequest) ([]notifier.Claim, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Ledger.Claim(ctx, req)
}

func (l awayLedger) View(ctx context.Context, claims []notifier.Claim) ([]notifier.View, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Ledger.View(ctx, claims)
}

func (l awayLedger) Record(ctx context.Context, owner string, results []notifier.Result) (int, error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	return l.Ledger.Record(ctx, owner, results)
}

func (l awayLedger) Reclaim(ctx context.Context, limit int) (int, error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	return l.Ledger.Reclaim(ctx, limit)
}

func (l awayLedger) Expire(ctx context.Context, limit int) (map[notifier.Reason]int, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Ledger.Expire(ctx, limit)
}

func (l awayLedger) Quota(ctx context.Context, p devices.Provider, change func(notifier.QuotaState, time.Time) notifier.QuotaState) error {
	if err := l.err(); err != nil {
		return err
	}
	return l.Ledger.Quota(ctx, p, change)
}

func (l awayLedger) QuotaNow(ctx context.Context, p devices.Provider) (notifier.QuotaState, time.Time, error) {
	if err := l.err(); err != nil {
		return notifier.QuotaState{}, time.Time{}, err
	}
	return l.Ledger.QuotaNow(ctx, p)
}

func (l awayLedger) Beat(ctx context.Context, r notifier.Replica) (string, time.Time, error) {
	if err := l.err(); err != nil {
		return "", time.Time{}, err
	}
	return l.Ledger.Beat(ctx, r)
}

func (l awayLedger) LastRun(ctx context.Context, rule string) (notifier.LastRun, error) {
	if err := l.err(); err != nil {
		return notifier.LastRun{}, err
	}
	return l.Ledger.LastRun(ctx, rule)
}

// flaky starts a replica whose database can be away.
func (w *world) flaky(yaml, owner string, away *atomic.Bool) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := w.start(ctx, yaml, owner, awayLedger{w.ledger, away})
	return func() {
		cancel()
		require.NoError(w.t, <-done)
	}
}

func TestWhatIsKnownIsNotSentAgainAfterAnOutageLongerThanALease(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]time.Duration{"seconds": 5 * time.Second, "longer than a lease": 70 * time.Second, "minutes": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.device("a1", "ann")
				var away atomic.Bool
				first, second := w.flaky(rulesYAML, "replica-1", &away), w.flaky(rulesYAML, "replica-2", &away)
				time.Sleep(3 * time.Second)
				w.setAnswer(func(p notifier.Push, _ int) notifier.Outcome {
					if strings.Contains(p.Message.Title, "bet1") {
						away.Store(true) // before the result can be recorded
					}
					return sent()
				})
				w.settle("bet1", "ann", "WON")
				time.Sleep(outage)
				w.settle("bet2", "ann", "WON")
				require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
				away.Store(false)
				time.Sleep(90 * time.Second)
				first()
				second()
				require.Equal(t, []string{"won bet1→tok-a1", "won bet2→tok-a1"}, w.accepted())
				require.Equal(t, map[string]int{"sent": 2}, w.states())
			})
		})
	}
}

// withExtra is rulesYAML with one more rule, which replicas of an older version do not know.
const withExtra = rulesYAML + `
  - id: extra
    schedule: "@every 1s"
    class: transactional
    query: SELECT bet_id, user_id, outcome, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet_id]
    version: [outcome]
    order: rowtime
    audience: {user: user_id}
    ttl: {for: 1h}
    notification: {category: win, title: "extra {{.bet_id}}", body: "{{.outcome}}"}
`

func TestAnOutageInTheMiddleOfADeploymentCancelsNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		var away atomic.Bool
		older := w.flaky(rulesYAML, "old", &away)
		time.Sleep(3 * time.Second)
		newer := w.flaky(withExtra, "new", &away)
		time.Sleep(3 * time.Second)
		w.setAnswer(func(_ notifier.Push, n int) notifier.Outcome {
			if n == 1 {
				return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "busy", After: 42 * time.Second}
			}
			return sent()
		})
		for i := range 40 {
			w.settle("bet"+strings.Repeat("x", i), "ann", "WON")
		}
		time.Sleep(3 * time.Second)
		away.Store(true)
		time.Sleep(40 * time.Second) // the old one speaks first again
		away.Store(false)
		time.Sleep(3 * time.Minute)
		newer()
		older()
		require.Equal(t, map[string]int{"sent": 80}, w.states())
		require.Len(t, w.accepted(), 80)
	})
}

// A canary that is stopped for a while leaves the old rules in force: they must not end what only it knows.
func TestWhatOnlyAPausedReplicaKnowsWaitsForIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		older := w.replica(rulesYAML, "old")
		time.Sleep(2 * time.Second)
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRetry, Code: "busy", After: 20 * time.Second}
		})
		newer := w.replica(withExtra, "new")
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(3 * time.Second)
		newer() // as if paused: what it knows is still queued
		w.setAnswer(nil)
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1, "queued": 1}, w.states())
		newer = w.replica(withExtra, "new")
		time.Sleep(time.Minute)
		newer()
		require.Equal(t, []string{"extra bet1→tok-a1", "won bet1→tok-a1"}, w.accepted())
		w.exec(`UPDATE deliveries SET state = 'queued', finished_at = 0 WHERE rule_id = 'extra'`)
		time.Sleep(6 * time.Minute)
		older()
		require.Equal(t, map[string]int{"sent": 1, "cancelled/rule_removed": 1}, w.states(), "a rule that stays away has been removed")
	})
}

func TestATickThatWasRefusedBecauseOfOtherRulesIsOfferedAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.runWith(seldom, "replica-1", 11*time.Minute)
		stop := w.replica(seldom, "replica-2")
		time.Sleep(time.Until(time.Now().Truncate(10*time.Minute).Add(10*time.Minute)) - time.Minute)
		w.settle("bet1", "ann", "WON")
		time.Sleep(55 * time.Second)
		_, err := w.ledger.Join(t.Context(), notifier.Replica{Owner: "killed", Generation: "newer"}) // and is killed at once
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		stop()
		require.Equal(t, []string{"bet1→tok-a1"}, w.accepted())
	})
}

func TestAMissedTickIsMadeUpForWhenTheDatabaseComesLate(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.runWith(seldom, "replica-1", 11*time.Minute)
		w.settle("bet1", "ann", "WON")
		time.Sleep(time.Until(time.Now().Truncate(10*time.Minute).Add(10*time.Minute)) + time.Minute)
		var away atomic.Bool
		away.Store(true)
		stop := w.flaky(seldom, "replica-2", &away)
		time.Sleep(20 * time.Second)
		away.Store(false)
		time.Sleep(2 * time.Minute)
		stop()
		require.Equal(t, []string{"bet1→tok-a1"}, w.accepted())
	})
}
