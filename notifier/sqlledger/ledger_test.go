package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

const rules = `
rules:
  - id: settled
    schedule: "@every 1s"
    class: transactional
    query: SELECT * FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet]
    version: [outcome]
    order: rowtime
    audience: {user: user}
    ttl: {for: 1h}
    notification: {category: win, title: "{{.bet}}", body: "{{.outcome}}"}
  - id: soon
    schedule: "@every 1s"
    class: marketing
    query: SELECT * FROM upcoming WHERE starts_at > :now;
    key: [event]
    version: [starts_at]
    order: rowtime
    audience: all
    expires: starts_at
    notification: {category: race, title: "{{.event}}", body: "soon"}
`

var lane = notifier.LaneID{Provider: devices.FCM, Urgency: notifier.High}

// books is a ledger with what a test needs to fill it.
type books struct {
	tb     testing.TB
	db     *sqldb.DB
	ledger *sqlledger.Ledger
	rules  *notifier.RuleSet
	ticks  int
}

func open(tb testing.TB, d sqldbtest.Database) *books {
	tb.Helper()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rules)})
	require.NoError(tb, err)
	db := d.Open(tb)
	return &books{tb: tb, db: db, ledger: sqlledger.New(db), rules: set}
}

// each runs a test over every kind of database at hand.
func each(t *testing.T, test func(t *testing.T, b *books)) {
	t.Helper()
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, d))
		})
	}
}

func (b *books) rule(id string) *notifier.Rule {
	r, ok := b.rules.Get(id)
	require.True(b.tb, ok)
	return r
}

func (b *books) begin(rule, owner string) (notifier.Run, bool) {
	b.tb.Helper()
	b.ticks++
	return b.beginAt(rule, owner, time.Now().Truncate(time.Second).Add(-time.Hour+time.Duration(b.ticks)*time.Second))
}

func (b *books) beginAt(rule, owner string, tick time.Time) (notifier.Run, bool) {
	b.tb.Helper()
	run, ok, err := b.ledger.Begin(b.tb.Context(), b.request(rule, owner, tick))
	require.NoError(b.tb, err)
	return run, ok
}

func (b *books) request(rule, owner string, tick time.Time) notifier.BeginRun {
	r := b.rule(rule)
	return notifier.BeginRun{
		Rule: rule, Identity: r.Identity, TickAt: tick, Owner: owner, Generation: "g", Lease: time.Minute,
		Plan: func(p *notifier.Progress, _ time.Time) notifier.RunWindow { return notifier.PlanRun(r, p, tick) },
	}
}

func (b *books) bet(id, user, outcome string, order int) notifier.Draft {
	b.tb.Helper()
	d, err := b.rule("settled").Draft(notifier.Row{
		"bet": id, "user": user, "outcome": outcome, "rowtime": json.Number(strconv.Itoa(1_700_000_000_000 + order)),
	})
	require.NoError(b.tb, err)
	return d
}

func (b *books) race(id string) notifier.Draft {
	b.tb.Helper()
	d, err := b.rule("soon").Draft(notifier.Row{
		"event": id, "starts_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "rowtime": json.Number("1700000000000"),
	})
	require.NoError(b.tb, err)
	return d
}

func (b *books) stage(run notifier.Run, drafts ...notifier.Draft) notifier.StageResult {
	b.tb.Helper()
	res, err := b.ledger.Stage(b.tb.Context(), run, b.rule(run.Rule), notifier.Chunk{Rows: len(drafts), Drafts: drafts})
	require.NoError(b.tb, err)
	return res
}

// release runs a whole run over the drafts.
func (b *books) release(rule string, drafts ...notifier.Draft) {
	b.tb.Helper()
	run, ok := b.begin(rule, "r1")
	require.True(b.tb, ok)
	b.stage(run, drafts...)
	_, err := b.ledger.Finish(b.tb.Context(), run, b.rule(rule))
	require.NoError(b.tb, err)
}

func (b *books) fanOut() {
	b.tb.Helper()
	more := true
	for steps := 0; more; steps++ {
		require.Less(b.tb, steps, 10_000, "the fan-out does not come to its end")
		_, moreHolds, err := b.ledger.EndHolds(b.tb.Context())
		require.NoError(b.tb, err)
		_, more, err = b.ledger.FanOut(b.tb.Context(), 1000)
		require.NoError(b.tb, err)
		more = more || moreHolds
	}
}

func (b *books) claim(rule, owner string, limit int, lease time.Duration) []notifier.Claim {
	b.tb.Helper()
	out, err := b.ledger.Claim(b.tb.Context(), notifier.ClaimRequest{Lane: lane, Rule: rule, Limit: limit, Owner: owner, Lease: lease})
	require.NoError(b.tb, err)
	return out
}

func (b *books) record(owner string, results ...notifier.Result) (lost int) {
	b.tb.Helper()
	lost, err := b.ledger.Record(b.tb.Context(), owner, results)
	require.NoError(b.tb, err)
	return lost
}

func (b *books) devices(user string, n int) {
	b.tb.Helper()
	require.NoError(b.tb, b.db.Tx(b.tb.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for i := range n {
			id := fmt.Sprintf("%s-%06d", user, i)
			if _, err := tx.ExecContext(ctx, `INSERT INTO devices
				(id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
				VALUES ($1, $2, 'android', 'fcm', 'fcm_token', $3, 1, 'active', $4, $4)`, id, user, "token-"+id, sqldb.Micros(time.Now())); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *books) count(query string, args ...any) (n int) {
	b.tb.Helper()
	require.NoError(b.tb, b.db.SQL().QueryRowContext(b.tb.Context(), query, args...).Scan(&n))
	return n
}

func TestOneRunPerTickAndOneReadingRunPerRule(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		tick := time.Now().Truncate(time.Second)
		run, ok := b.beginAt("settled", "r1", tick)
		require.True(t, ok)
		_, ok = b.beginAt("settled", "r2", tick)
		require.False(t, ok, "the tick has its run")
		_, ok = b.beginAt("settled", "r2", tick.Add(time.Second))
		require.False(t, ok, "the rule is still reading")
		_, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
		_, ok = b.beginAt("settled", "r2", tick)
		require.False(t, ok, "the tick had its run")
		_, ok = b.beginAt("settled", "r2", tick.Add(time.Second))
		require.True(t, ok)
	})
}

func TestARunThatWasTakenOverWritesNothingMore(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE runs SET lease_until = 1`)
			return err
		}))
		_, ok = b.begin("settled", "r2")
		require.True(t, ok, "its lease has lapsed")
		_, err := b.ledger.Stage(t.Context(), run, b.rule("settled"), notifier.Chunk{Drafts: []notifier.Draft{b.bet("b1", "ann", "WON", 1)}})
		require.ErrorIs(t, err, notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Advance(t.Context(), run, run.Position, time.Now()), notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Renew(t.Context(), run), notifier.ErrRunLost)
		_, err = b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.ErrorIs(t, err, notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Fail(t.Context(), run, "x"), notifier.ErrRunLost)
		require.Zero(t, b.count(`SELECT COUNT(*) FROM notifications`))
	})
}

func TestARunIsItsOwnersAlone(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		other := run
		other.Owner = "r2"
		_, err := b.ledger.Stage(t.Context(), other, b.rule("settled"), notifier.Chunk{Drafts: []notifier.Draft{b.bet("b1", "ann", "WON", 1)}})
		require.ErrorIs(t, err, notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Advance(t.Context(), other, run.Position, time.Now()), notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Renew(t.Context(), other), notifier.ErrRunLost)
		_, err = b.ledger.Finish(t.Context(), other, b.rule("settled"))
		require.ErrorIs(t, err, notifier.ErrRunLost)
		require.ErrorIs(t, b.ledger.Fail(t.Context(), other, "x"), notifier.ErrRunLost)
		require.Zero(t, b.count(`SELECT COUNT(*) FROM notifications`))
		_, err = b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
	})
}

func TestTheWatermarkMovesOnlyFromWhereItStands(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		to := run.Position.Add(time.Minute)
		require.NoError(t, b.ledger.Advance(t.Context(), run, run.Position, to))
		require.ErrorIs(t, b.ledger.Advance(t.Context(), run, run.Position, to.Add(time.Minute)), notifier.ErrWatermarkMoved)
	})
}

func TestVersionsFollowTheOrderOfTheRows(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, _ := b.begin("settled", "r1")
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.bet("b1", "ann", "WON", 1), b.bet("b1", "ann", "LOST", 5), b.bet("b1", "ann", "VOID", 3)),
			"the newest row of a chunk wins")
		require.Equal(t, notifier.StageResult{}, b.stage(run, b.bet("b1", "ann", "LOST", 5)), "read again, nothing changes")
		require.Equal(t, notifier.StageResult{Stale: 1}, b.stage(run, b.bet("b1", "ann", "WON", 5)), "equal is not newer")
		require.Equal(t, notifier.StageResult{}, b.stage(run, b.bet("b1", "ann", "LOST", 9)), "the same version, seen later")
		require.Equal(t, notifier.StageResult{Stale: 1}, b.stage(run, b.bet("b1", "ann", "WON", 8)), "older than what was seen")
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.bet("b1", "ann", "WON", 10)))
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.bet("b1", "ann", "LOST", 11)), "back again is a version of its own")
		require.Equal(t, 3, b.count(`SELECT MAX(version) FROM notifications`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE latest`))
		for _, second := range []string{`UPDATE notifications SET latest = TRUE`, `UPDATE notifications SET version = 1`} {
			err := b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, second)
				return err
			})
			require.True(t, b.db.IsUniqueViolation(err), "one latest per key, one row per version")
		}
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM notifications WHERE follow_up`))
	})
}

func TestWhatAFailedRunStagedIsAdoptedByTheNextThatReadsIt(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		run, _ := b.begin("settled", "r1")
		b.stage(run, b.bet("b1", "ann", "WON", 1), b.bet("b2", "ann", "WON", 1))
		require.NoError(t, b.ledger.Fail(t.Context(), run, "the body was cut"))
		b.fanOut()
		require.Zero(t, b.count(`SELECT COUNT(*) FROM deliveries`), "nothing of a failed run goes out")
		run, _ = b.begin("settled", "r1")
		require.Equal(t, notifier.StageResult{Adopted: 1}, b.stage(run, b.bet("b1", "ann", "WON", 1)))
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.bet("b2", "ann", "LOST", 2)), "a newer version overtakes what was staged")
		rel, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
		require.Equal(t, 2, rel.Notifications)
		b.fanOut()
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM deliveries`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'superseded'`))
	})
}

func TestWhatTheWatermarkHasPassedIsReleasedByTheNextRunUnlessOvertaken(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		run, _ := b.begin("settled", "r1")
		b.stage(run, b.bet("b1", "ann", "WON", 1), b.bet("b2", "ann", "WON", 1))
		require.NoError(t, b.ledger.Advance(t.Context(), run, run.Position, run.Position.Add(time.Minute)))
		require.NoError(t, b.ledger.Fail(t.Context(), run, "the next slice was cut"))
		run, _ = b.begin("settled", "r1")
		b.stage(run, b.bet("b2", "ann", "LOST", 2)) // b1 is not read again
		rel, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
		require.Equal(t, 2, rel.Notifications)
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'released' AND key LIKE '%b1%'`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'superseded' AND version = 1`))
		b.fanOut()
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM deliveries`))
	})
}

func TestFanOutGoesOnFromItsCursor(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 10)
		b.release("soon", b.race("e1"))
		made, more, err := b.ledger.FanOut(t.Context(), 4)
		require.NoError(t, err)
		require.Equal(t, 4, made)
		require.True(t, more)
		// The process dies here; another one finds the rest.
		second := sqlledger.New(b.db)
		total := made
		for more {
			made, more, err = second.FanOut(t.Context(), 4)
			require.NoError(t, err)
			require.LessOrEqual(t, made, 4)
			total += made
		}
		require.Equal(t, 10, total)
		require.Equal(t, 10, b.count(`SELECT COUNT(DISTINCT device_id) FROM deliveries`))
	})
}

func TestAStepOfTheFanOutThatFailsLeavesTheCursorBehind(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 10)
		b.release("soon", b.race("e1"))
		_, _, err := b.ledger.FanOut(t.Context(), 4)
		require.NoError(t, err)
		require.NoError(t, b.exec(`ALTER TABLE deliveries RENAME TO away`))
		_, _, err = b.ledger.FanOut(t.Context(), 4)
		require.Error(t, err)
		require.NoError(t, b.exec(`ALTER TABLE away RENAME TO deliveries`))
		b.fanOut()
		require.Equal(t, 10, b.count(`SELECT COUNT(*) FROM deliveries`), "nobody is passed over")
	})
}

func TestFanOutReachesOnlyDevicesThatWereActiveWhenTheVersionWasMade(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.release("soon", b.race("e1"))
		b.devices("bob", 1)
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE devices SET state = 'inactive' WHERE id = 'ann-000001'`)
			return err
		}))
		b.fanOut()
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM deliveries WHERE device_id = 'ann-000000'`))
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM deliveries`))
	})
}

func TestOneDeliveryPerVersionAndDevice(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		// Even if the note that it was fanned out were lost, nothing is made twice.
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE notifications SET fanned_at = 0, fan_cursor = ''`)
			return err
		}))
		b.fanOut()
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries`))
		err := b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO deliveries
				(notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
				SELECT notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at FROM deliveries`)
			return err
		})
		require.True(t, b.db.IsUniqueViolation(err))
	})
}

func TestALeaseIsAFence(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		first := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, first, 1)
		require.Empty(t, b.claim("settled", "r2", 10, time.Minute), "leased is leased")
		require.Equal(t, 1, b.record("r2", notifier.Result{Claim: first[0], State: notifier.Sent}), "not its owner")
		n, err := b.ledger.Reclaim(t.Context(), 10)
		require.NoError(t, err)
		require.Zero(t, n)

		// The lease lapses and somebody else has it; the first owner wakes up.
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE deliveries SET lease_until = 1`)
			return err
		}))
		n, err = b.ledger.Reclaim(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		second := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, second, 1, "even the same owner has a new lease")
		require.Equal(t, 1, b.record("r1", notifier.Result{Claim: first[0], State: notifier.Rejected, Attempt: &notifier.Attempt{Verdict: notifier.VerdictRejected}}))
		require.Zero(t, b.record("r1", notifier.Result{Claim: second[0], State: notifier.Sent, Attempt: &notifier.Attempt{Verdict: notifier.VerdictSent}}))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'sent' AND unknowns = 1`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM attempts`), "what came too late is not on record")
		require.Equal(t, 1, b.record("r1", notifier.Result{Claim: second[0], State: notifier.Queued}), "a final state is final")
	})
}

func TestClaimsAtOnceLeaseEachDeliveryOnce(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 200)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		var mu sync.Mutex
		leased := map[notifier.DeliveryID]int{}
		var all errgroup.Group
		for i := range 8 {
			all.Go(func() error {
				for {
					got, err := b.ledger.Claim(t.Context(), notifier.ClaimRequest{
						Lane: lane, Rule: "settled", Limit: 10, Owner: fmt.Sprint("r", i), Lease: time.Minute,
					})
					mu.Lock()
					for _, c := range got {
						leased[c.ID]++
					}
					mu.Unlock()
					if err != nil || len(got) == 0 {
						return err
					}
				}
			})
		}
		require.NoError(t, all.Wait())
		require.Len(t, leased, 200)
		for id, n := range leased {
			require.Equal(t, 1, n, "delivery %d", id)
		}
	})
}

func TestAClaimPassesOverWhatAnotherIsJustTaking(t *testing.T) {
	t.Parallel()
	b := open(t, sqldbtest.Database{Open: sqldbtest.Postgres}) // SQLite has one writer at a time
	b.devices("ann", 5)
	b.release("settled", b.bet("b1", "ann", "WON", 1))
	b.fanOut()
	require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `SELECT id FROM deliveries ORDER BY due_at, id LIMIT 2 FOR UPDATE`)
		if err != nil {
			return err
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got, err := b.ledger.Claim(short, notifier.ClaimRequest{Lane: lane, Rule: "settled", Limit: 3, Owner: "r1", Lease: time.Minute})
		require.NoError(t, err, "it does not wait")
		require.Len(t, got, 3)
		return nil
	}))
}

func TestANewVersionWaitsForTheOldOneThatIsBeingSent(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		old := b.claim("settled", "r1", 1, time.Minute)
		require.Len(t, old, 1)
		b.release("settled", b.bet("b1", "ann", "LOST", 2))
		b.fanOut()
		got := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, got, 2, "the other device's old and new version; the first device waits")
		views, err := b.ledger.View(t.Context(), old)
		require.NoError(t, err)
		require.True(t, views[0].Newer)
		require.Zero(t, b.record("r1", notifier.Result{Claim: old[0], State: notifier.Sent, Counted: true, Attempt: &notifier.Attempt{Verdict: notifier.VerdictSent}}))
		last := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, last, 1)
		views, err = b.ledger.View(t.Context(), last)
		require.NoError(t, err)
		require.True(t, views[0].Told)
		require.False(t, views[0].Newer)
		require.Equal(t, json.Number("1700000000002"), views[0].Row["rowtime"], "numbers stay exact")
	})
}

func TestRulesOfALaneAreThoseWithSomethingQueued(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		got, err := b.ledger.Rules(t.Context(), lane)
		require.NoError(t, err)
		require.Empty(t, got)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.release("soon", b.race("e1"))
		b.fanOut()
		got, err = b.ledger.Rules(t.Context(), lane)
		require.NoError(t, err)
		require.Equal(t, []string{"settled", "soon"}, got)
		got, err = b.ledger.Rules(t.Context(), notifier.LaneID{Provider: devices.Ably, Urgency: notifier.High})
		require.NoError(t, err)
		require.Empty(t, got)
	})
}

func TestExpireEndsWhatIsQueued(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		c := b.claim("settled", "r1", 1, time.Minute)
		b.record("r1", notifier.Result{Claim: c[0], State: notifier.Queued, DueAt: time.Now().Add(time.Hour), Unknown: true})
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE deliveries SET expires_at = 1`)
			return err
		}))
		n, err := b.ledger.Expire(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonTTL: 2}, n)
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'expired' AND reason = 'ttl'`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'unconfirmed'`))
	})
}

// What held it up to the end is why it was not sent.
func TestExpireSaysWhatHeldItUp(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		bets := 0
		another := func() notifier.Draft {
			bets++
			return b.bet(fmt.Sprint("b", bets), "ann", "WON", 1)
		}
		end := func() map[notifier.Reason]int {
			b.release("settled", another())
			b.fanOut()
			b.set(`UPDATE deliveries SET expires_at = 1 WHERE state = 'queued'`)
			n, err := b.ledger.Expire(t.Context(), 10)
			require.NoError(t, err)
			return n
		}
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonTTL: 1}, end())
		by := notifier.Actor{Name: "alice"}
		require.NoError(t, b.ledger.SetStopped(t.Context(), by, "soon", true, ""))
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonTTL: 1}, end(), "another rule's stop")
		require.NoError(t, b.ledger.SetStopped(t.Context(), by, "settled", true, ""))
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonStopped: 1}, end())
		require.NoError(t, b.ledger.SetStopped(t.Context(), by, "settled", false, ""))
		require.NoError(t, b.ledger.SetStopped(t.Context(), by, "", true, ""))
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonStopped: 1}, end())
		require.NoError(t, b.ledger.SetStopped(t.Context(), by, "", false, ""))

		waits := func() map[notifier.Reason]int {
			b.release("settled", another())
			b.fanOut()
			c := b.claim("settled", "r1", 1, time.Minute)
			b.record("r1", notifier.Result{Claim: c[0], State: notifier.Queued, Reason: string(notifier.ReasonNotImported), DueAt: time.Now()})
			return end()
		}
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonNotImported: 1, notifier.ReasonTTL: 1}, waits())
		turn, ok, err := b.ledger.BeginImport(t.Context(), "r1", time.Minute, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, b.ledger.EndImport(t.Context(), turn, true, 0))
		require.Equal(t, map[notifier.Reason]int{notifier.ReasonTTL: 2}, waits(), "it would have gone since")
	})
}

func TestCancelQueuedLeavesWhatIsLeased(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1), b.bet("b2", "ann", "WON", 1))
		b.fanOut()
		require.Len(t, b.claim("settled", "r1", 1, time.Minute), 1)
		require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			return b.ledger.CancelQueued(ctx, tx, "ann-000000", "device_inactive")
		}))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'cancelled'`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'leased'`))
	})
}
