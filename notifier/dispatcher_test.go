package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func TestAFloodOfOneRuleDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("z1", "zoe")
		for i := range 1500 {
			w.device(fmt.Sprintf("d%04d", i), fmt.Sprintf("user%d", i))
		}
		var settled time.Time
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 4*time.Minute)
			time.Sleep(3 * time.Second)
			settled = time.Now()
			w.settle("bet1", "zoe", "WON")
		}()
		w.run(40 * time.Second)
		var at time.Time
		behind := 0
		for _, p := range w.attempts() {
			if strings.HasPrefix(p.Message.Title, "won") {
				at = p.at
			} else if !at.IsZero() {
				behind++
			}
		}
		require.False(t, at.IsZero())
		require.Less(t, at.Sub(settled), 3*time.Second)
		require.Greater(t, behind, 500, "the flood was still going on")
		require.Equal(t, map[string]int{"sent": 1502}, w.states())
	})
}

// unwilling is a ledger that refuses to record for a while.
type unwilling struct {
	*sqlledger.Ledger
	refuse atomic.Bool
}

func (u *unwilling) Record(ctx context.Context, owner string, results []notifier.Result) (int, error) {
	if u.refuse.Load() {
		return 0, errors.New("disk full")
	}
	return u.Ledger.Record(ctx, owner, results)
}

func TestWhatCannotBeRecordedHoldsItsPlace(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 200 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		ledger := &unwilling{Ledger: w.ledger}
		ledger.refuse.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := w.start(ctx, rulesYAML, "replica-1", ledger)
		time.Sleep(2 * time.Second)
		w.settle("bet1", "ann", "WON")
		time.Sleep(20 * time.Second)
		require.Len(t, w.attempts(), 32, "as many as may be in flight, and no more")
		ledger.refuse.Store(false)
		time.Sleep(20 * time.Second)
		cancel()
		require.NoError(t, <-done)
		require.Len(t, w.attempts(), 200, "nothing is sent again")
		require.Equal(t, map[string]int{"sent": 200}, w.states())
	})
}

// pausing is a ledger whose replica stands still once, between a claim and its sends.
type pausing struct {
	*sqlledger.Ledger
	once sync.Once
	d    time.Duration
}

func (p *pausing) View(ctx context.Context, claims []notifier.Claim) ([]notifier.View, error) {
	views, err := p.Ledger.View(ctx, claims)
	p.once.Do(func() { time.Sleep(p.d) })
	return views, err
}

func TestAReplicaThatStoodStillLeavesWhatItsLeaseDoesNotCover(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]time.Duration{
		"the lease has lapsed":                70 * time.Second,
		"a slow send would not end within it": 42 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.device("a1", "ann")
				ctx, cancel := context.WithCancel(t.Context())
				stopped := w.start(ctx, rulesYAML, "replica-1", &pausing{Ledger: w.ledger, d: d})
				time.Sleep(2 * time.Second)
				w.settle("bet1", "ann", "WON")
				time.Sleep(5 * time.Second)
				other := w.start(ctx, rulesYAML, "replica-2", w.ledger)
				time.Sleep(90 * time.Second)
				cancel()
				require.NoError(t, errors.Join(<-stopped, <-other))
				require.Equal(t, map[string]int{"sent": 1}, w.states())
				require.Len(t, w.attempts(), 1)
				require.Equal(t, map[string]int{"n": 2}, w.counts(`SELECT 'n', claims FROM deliveries`), "the first claim sent nothing")
			})
		})
	}
}

func TestWhenEverythingLooksDeadNothingMoreIsRetired(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 180 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404}
		})
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
		}()
		w.run(30 * time.Second)
		require.Less(t, w.counts(`SELECT state, COUNT(*) FROM devices GROUP BY 1`)["retired"], 100)
		require.Equal(t, map[string]int{"gone/unregistered": 180}, w.states())
	})
}

func TestTheBreakerOpensAndRecovers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 300 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		seldom := strings.ReplaceAll(rulesYAML, "@every 1s", "@every 30s") // half an hour of ticks costs
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "unavailable", Status: 503}
		})
		go func() {
			time.Sleep(40 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(2 * time.Minute)
			w.setAnswer(nil)
		}()
		w.runWith(seldom, "replica-1", 2*time.Minute)
		require.Less(t, len(w.attempts()), 200, "a provider that is down is left alone")
		w.runWith(seldom, "replica-1", 30*time.Minute)
		require.Equal(t, map[string]int{"sent": 300}, w.states(), "and nothing is lost")
	})
}

func TestStoppingFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 100 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		w.settleAt("bet1", "ann", "WON", time.Now().Add(1500*time.Millisecond), time.Now())
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			time.Sleep(3 * time.Second)
			return sent()
		})
		w.run(2200 * time.Millisecond) // stops in the middle of the first sends
		got := w.states()
		require.Positive(t, got["sent"])
		require.Equal(t, len(w.attempts()), got["sent"])
		require.Zero(t, got["leased"], "a clean stop leaves no lease behind")
		w.run(time.Minute)
		require.Len(t, w.attempts(), 100)
		require.Equal(t, map[string]int{"sent": 100}, w.states())
	})
}

func TestABlockedPlatformDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("i1", "ann")
		w.device("i2", "ann")
		w.exec(`UPDATE devices SET platform = 'ios' WHERE id LIKE 'i%'`)
		refuse := func(p notifier.Push, _ int) notifier.Outcome {
			if p.Platform == devices.IOS {
				return notifier.Outcome{Verdict: notifier.VerdictBlocked, PlatformOnly: true, Code: "third_party_auth_error", Status: 401}
			}
			return sent()
		}
		w.setAnswer(refuse)
		go func() {
			for i := range 10 {
				time.Sleep(2 * time.Second)
				w.settle(fmt.Sprint("bet", i), "ann", "WON")
			}
			time.Sleep(10 * time.Second)
			w.setAnswer(nil)
		}()
		w.run(28 * time.Second)
		require.Len(t, w.accepted(), 10, "Android goes on")
		require.Less(t, len(w.attempts()), 15, "and iOS is left alone meanwhile")
		w.run(2 * time.Minute)
		require.Equal(t, map[string]int{"sent": 30}, w.states())
	})
}

func TestOneUnreadableRecordHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		w.device("c1", "cid")
		w.exec(`INSERT INTO preferences (user_id, muted, updated_at) VALUES ('ann', 'not json', 1)`)
		go func() {
			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			w.settle("bet2", "bob", "WON")
			w.settle("bet3", "cid", "WON")
		}()
		w.run(10 * time.Second)
		require.Equal(t, []string{"won bet2→tok-b1", "won bet3→tok-c1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 2, "rejected/unreadable": 1}, w.states())
	})
}
