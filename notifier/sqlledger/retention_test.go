package sqlledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

const day = 24 * time.Hour

// set changes the database behind the ledger's back.
func (b *books) set(query string, args ...any) {
	b.tb.Helper()
	require.NoError(b.tb, b.exec(query, args...))
}

// age makes everything that is on record older.
func (b *books) age(by time.Duration) {
	b.tb.Helper()
	us := by.Microseconds()
	b.set(`UPDATE deliveries SET created_at = created_at - $1, expires_at = expires_at - $1,
		finished_at = CASE WHEN finished_at > 0 THEN finished_at - $1 ELSE 0 END`, us)
	b.set(`UPDATE notifications SET created_at = created_at - $1, expires_at = expires_at - $1, seen_at = seen_at - $1`, us)
	b.set(`UPDATE runs SET tick_at = tick_at - $1, finished_at = CASE WHEN finished_at > 0 THEN finished_at - $1 ELSE 0 END`, us)
	b.set(`UPDATE bad_rows SET first_seen = first_seen - $1, last_seen = last_seen - $1`, us)
	b.set(`UPDATE watermarks SET start_at = start_at - $1, position = position - $1, swept_at = swept_at - $1`, us)
}

// send makes the deliveries of what is released and ends those that are claimed as sent.
func (b *books) send(rule string, n int) {
	b.tb.Helper()
	b.fanOut()
	for _, c := range b.claim(rule, "r1", n, time.Minute) {
		require.Zero(b.tb, b.record("r1", notifier.Result{Claim: c, State: notifier.Sent, Counted: true, Attempt: &notifier.Attempt{Verdict: notifier.VerdictSent}}))
	}
}

// arrived is a bet whose row arrived at a time.
func (b *books) arrived(id string, at time.Time) notifier.Draft {
	b.tb.Helper()
	d, err := b.rule("settled").Draft(notifier.Row{
		"bet": id, "user": "ann", "outcome": "WON", "rowtime": json.Number(strconv.FormatInt(at.UnixMilli(), 10)),
	})
	require.NoError(b.tb, err)
	return d
}

// forget goes on forgetting keys until there are none, and returns what was removed.
func (b *books) forget(m notifier.KeyMemory) (total notifier.Removed) {
	b.tb.Helper()
	for more := true; more; {
		r, err := b.ledger.ForgetKeys(b.tb.Context(), m, 10)
		require.NoError(b.tb, err)
		total.Notifications += r.Notifications
		total.InboxReads += r.InboxReads
		more = r.More
	}
	return total
}

// byWatermark is the memory of a rule that has a watermark and reaches back less than keep.
func byWatermark(keep time.Duration) notifier.KeyMemory {
	return notifier.KeyMemory{Rule: "settled", Clock: notifier.ClockWatermark, Keep: keep}
}

// old makes a bet that was told, a month ago; the rule has read until now.
func (b *books) old() {
	b.tb.Helper()
	b.devices("ann", 1)
	b.release("settled", b.arrived("b1", time.Now()))
	b.send("settled", 10)
	b.age(31 * day)
	b.set(`DELETE FROM deliveries`)
	b.set(`UPDATE watermarks SET position = $1`, sqldb.Micros(time.Now()))
}

func (b *books) wipe() {
	b.tb.Helper()
	for _, table := range []string{"attempts", "deliveries", "notifications", "runs", "watermarks", "devices", "rules_in_force"} {
		b.set(`DELETE FROM ` + table)
	}
}

func TestDeliveriesGoInBoundedStepsWithTheirAttempts(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 6)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.send("settled", 3)
		left := b.claim("settled", "r1", 2, time.Minute)
		require.Len(t, left, 2)
		b.record("r1", notifier.Result{Claim: left[0], State: notifier.Queued, Attempt: &notifier.Attempt{Verdict: notifier.VerdictRetry}})
		b.age(31 * day)
		b.release("settled", b.bet("b2", "ann", "WON", 1))
		b.send("settled", 100)
		// b1's last two have been sent now: they were made a month ago, but finished today.
		require.Equal(t, 11, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'sent'`))

		r, err := b.ledger.RemoveDeliveries(t.Context(), 30*day, 2)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{Deliveries: 2, Attempts: 2, More: true}, r)
		r, err = b.ledger.RemoveDeliveries(t.Context(), 30*day, 2)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{Deliveries: 1, Attempts: 1}, r)
		r, err = b.ledger.RemoveDeliveries(t.Context(), 30*day, 2)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{}, r)
		require.Equal(t, 9, b.count(`SELECT COUNT(*) FROM deliveries`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'leased'`))
		require.Equal(t, 9, b.count(`SELECT COUNT(*) FROM attempts`), "eight were sent, one of them in two attempts")
		require.Zero(t, b.count(`SELECT COUNT(*) FROM attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries)`))
	})
}

func TestUnfinishedDeliveriesStay(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 3)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		require.Len(t, b.claim("settled", "r1", 1, time.Minute), 1)
		b.age(31 * day)
		r, err := b.ledger.RemoveDeliveries(t.Context(), 30*day, 10)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{}, r)
	})
}

func TestNoIDIsGivenOutTwice(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.send("settled", 1)
		delivery, run := b.count(`SELECT MAX(id) FROM deliveries`), b.count(`SELECT MAX(id) FROM runs`)
		b.age(31 * day)
		_, err := b.ledger.RemoveDeliveries(t.Context(), 30*day, 10)
		require.NoError(t, err)
		_, err = b.ledger.RemoveRuns(t.Context(), "settled", 30*day, 10)
		require.NoError(t, err)
		b.release("settled", b.bet("b2", "ann", "WON", 1))
		b.fanOut()
		require.Greater(t, b.count(`SELECT MAX(id) FROM deliveries`), delivery)
		require.Greater(t, b.count(`SELECT MAX(id) FROM runs`), run)
	})
}

func TestReplacedVersionsGoWhenTheyHaveNoDelivery(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.send("settled", 1)
		b.release("settled", b.bet("b1", "ann", "LOST", 2))
		b.release("settled", b.bet("b1", "ann", "VOID", 3)) // LOST and VOID are not fanned out yet
		b.age(31 * day)
		remove := func(keep time.Duration) notifier.Removed {
			r, err := b.ledger.RemoveReplaced(t.Context(), keep, 10)
			require.NoError(t, err)
			return r
		}
		require.Equal(t, notifier.Removed{}, remove(30*day), "one has a delivery, the other is yet to get its own")
		b.set(`UPDATE notifications SET fanned_at = 1`)
		require.Equal(t, notifier.Removed{}, remove(32*day))
		require.Equal(t, notifier.Removed{Notifications: 1}, remove(30*day))
		b.set(`DELETE FROM deliveries`)
		b.set(`UPDATE notifications SET state = 'held' WHERE version = 1`)
		require.Equal(t, notifier.Removed{}, remove(30*day), "an operator may still release it")
		b.set(`UPDATE notifications SET state = 'released' WHERE version = 1`)
		require.Equal(t, notifier.Removed{Notifications: 1}, remove(30*day))

		run, _ := b.begin("settled", "r1")
		require.Equal(t, notifier.StageResult{}, b.stage(run, b.bet("b1", "ann", "VOID", 3)), "the latest is still known")
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.bet("b1", "ann", "WON", 4)))
		require.Equal(t, 4, b.count(`SELECT MAX(version) FROM notifications`))
	})
}

func TestAKeyIsForgottenWhenNoReadCanShowItsRow(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.old()
		r := b.forget(byWatermark(40 * day))
		require.Zero(t, r.Notifications, "a sweep may still come to it")
		run, _ := b.begin("settled", "r1")
		require.Equal(t, notifier.StageResult{}, b.stage(run, b.arrived("b1", time.Now().Add(-31*day))), "read again, known as ever")
		require.NoError(t, b.ledger.Fail(t.Context(), run, "x"))
		require.Zero(t, b.forget(byWatermark(30*day)).Notifications, "it has just been seen")

		b.set(`UPDATE notifications SET seen_at = $1`, sqldb.Micros(time.Now().Add(-31*day)))
		require.Equal(t, 1, b.forget(byWatermark(30*day)).Notifications)
		require.Zero(t, b.count(`SELECT COUNT(*) FROM notifications`))

		// However far the rule reaches back from now on, what was forgotten stays unread.
		p, err := b.ledger.Standing(t.Context(), "settled")
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(-30*day), p.Progress.StartAt, 2*time.Hour)
		far := *b.rule("settled")
		far.Watermark = &notifier.Watermark{Lookback: 365 * day}
		far.Sweep = &notifier.Sweep{Every: time.Second, Lookback: 365 * day}
		w := notifier.PlanRun(&far, p.Progress, time.Now())
		require.Equal(t, p.Progress.StartAt, w.Since)
		require.Equal(t, p.Progress.StartAt, w.SweepSince)
	})
}

func TestWhatKeepsAKey(t *testing.T) {
	now := func() int64 { return sqldb.Micros(time.Now()) }
	cases := map[string]struct {
		do     func(b *books)
		memory notifier.KeyMemory
	}{
		"it has not expired": {do: func(b *books) { b.set(`UPDATE notifications SET expires_at = $1`, now()+1e9) }},
		"it is held":         {do: func(b *books) { b.set(`UPDATE notifications SET state = 'held'`) }},
		"it waits for a run": {do: func(b *books) { b.set(`UPDATE notifications SET state = 'passed'`) }},
		"it is to fan out":   {do: func(b *books) { b.set(`UPDATE notifications SET fanned_at = 0`) }},
		"it has a delivery": {do: func(b *books) {
			b.set(`INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
				SELECT id, 'd', 'ann', 'settled', 'fcm', 'high', FALSE, 'sent', 1, 1, 1 FROM notifications`)
		}},
		"it has an older version": {do: func(b *books) {
			b.set(`UPDATE notifications SET version = 2`)
			b.set(`INSERT INTO notifications (rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, category, class,
				urgency, state, run_id, source_row, expires_at, created_at)
				SELECT rule_id, key, 1, '', 0, FALSE, thread, FALSE, audience, category, class, urgency, 'discarded', run_id, '{}', 1, 1 FROM notifications`)
		}},
		"nobody has noted when it was seen": {do: func(b *books) { b.set(`UPDATE notifications SET seen_at = 0`) }},
		"it may have been seen since its note": {do: func(b *books) {
			b.set(`UPDATE notifications SET seen_at = $1`, now()-(30*day+100*time.Minute).Microseconds())
		}},
		"the watermark stood still": {do: func(b *books) { b.set(`UPDATE watermarks SET position = position - $1`, (2 * day).Microseconds()) }},
		"no run has ended well":     {do: func(b *books) { b.set(`UPDATE runs SET state = 'failed'`) }, memory: notifier.KeyMemory{Rule: "settled", Clock: notifier.ClockTick, Keep: time.Hour}},
		"runs fail since":           {do: func(*books) {}, memory: notifier.KeyMemory{Rule: "settled", Clock: notifier.ClockTick, Keep: 30 * day}},
		"other rules are in force":  {do: func(b *books) { b.set(`INSERT INTO rules_in_force (id, generation, since) VALUES (1, 'newer', 1)`) }},
		"it is another rule's":      {do: func(*books) {}, memory: notifier.KeyMemory{Rule: "soon", Clock: notifier.ClockNow, Keep: time.Hour}},
	}
	each(t, func(t *testing.T, b *books) {
		for name, tc := range cases {
			b.wipe()
			b.old()
			tc.do(b)
			memory := tc.memory
			if memory.Rule == "" {
				memory = byWatermark(30 * day)
			}
			require.Zero(t, b.forget(memory).Notifications, name)
			require.Zero(t, b.forget(memory).Notifications, "%s: nor the next time", name)
			require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE latest`), name)
		}
		for _, clock := range []notifier.KeyClock{notifier.ClockWatermark, notifier.ClockTick, notifier.ClockNow} {
			b.wipe()
			b.old()
			b.release("settled") // an empty run, now
			require.Equal(t, 1, b.forget(notifier.KeyMemory{Rule: "settled", Clock: clock, Keep: 30 * day}).Notifications, "nothing keeps it, by %s", clock)
		}
	})
}

func TestReadingAKeyNotesThatItWasSeenNowAndThen(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.release("settled", b.bet("b1", "ann", "WON", 5))
		seen := func() int { return b.count(`SELECT seen_at FROM notifications WHERE latest`) }
		require.Positive(t, seen())
		for name, d := range map[string]notifier.Draft{
			"unchanged": b.bet("b1", "ann", "WON", 5), "stale": b.bet("b1", "ann", "LOST", 4),
		} {
			b.set(`UPDATE notifications SET seen_at = $1`, sqldb.Micros(time.Now().Add(-50*time.Minute)))
			before := seen()
			b.release("settled", d)
			require.Equal(t, before, seen(), "%s: less than an hour ago is exact enough", name)
			b.set(`UPDATE notifications SET seen_at = seen_at - $1`, time.Hour.Microseconds())
			b.release("settled", d)
			require.Greater(t, seen(), before, name)
		}
	})
}

func TestARunThatWasReadingWhenAKeyWasForgottenAnnouncesItNotAgain(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.old()
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		require.Equal(t, 1, b.forget(byWatermark(30*day)).Notifications)
		require.Equal(t, notifier.StageResult{}, b.stage(run, b.arrived("b1", time.Now().Add(-31*day))))
		require.Equal(t, notifier.StageResult{New: 1}, b.stage(run, b.arrived("b2", time.Now().Add(-29*day))))
		require.NoError(t, func() error { _, err := b.ledger.Finish(t.Context(), run, b.rule("settled")); return err }())
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications`))
	})
}

func TestTheBoundOfARuleIsNeverLowered(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.old()
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		run.Sweep = true // such a run writes the bound that it began with
		require.Equal(t, 1, b.forget(byWatermark(30*day)).Notifications)
		_, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
		require.Greater(t, b.count(`SELECT start_at FROM watermarks`), int(sqldb.Micros(run.StartAt)))
	})
}

func TestReadMarksGoWithTheirItemInBoundedSteps(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.old()
		for i := range 5 {
			b.set(`INSERT INTO inbox_reads (user_id, notification_id, read_at) SELECT $1, id, 1 FROM notifications`, fmt.Sprint("u", i))
		}
		b.set(`INSERT INTO inbox_reads (user_id, notification_id, read_at) VALUES ('u', 4711, 1)`)
		for _, want := range []notifier.Removed{{InboxReads: 2, More: true}, {InboxReads: 2, More: true}, {InboxReads: 1, Notifications: 1}, {}} {
			r, err := b.ledger.ForgetKeys(t.Context(), byWatermark(30*day), 2)
			require.NoError(t, err)
			require.Equal(t, want, r)
		}
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM inbox_reads`), "another item's")
	})
}

func TestFinishedRunsGoButNotTheNewestOfARule(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		for range 6 {
			b.release("settled", b.bet("b1", "ann", "WON", 1))
		}
		b.release("soon")
		b.set(`UPDATE runs SET state = 'held' WHERE id = (SELECT MIN(id) FROM runs)`)
		newest := b.count(`SELECT MAX(id) FROM runs WHERE rule_id = 'settled'`)
		b.age(31 * day)
		remove := func(rule string) notifier.Removed {
			r, err := b.ledger.RemoveRuns(t.Context(), rule, 30*day, 3)
			require.NoError(t, err)
			return r
		}
		require.Equal(t, notifier.Removed{Runs: 3, More: true}, remove("settled"))
		require.Equal(t, notifier.Removed{Runs: 1}, remove("settled"))
		require.Equal(t, notifier.Removed{}, remove("settled"), "the held one and the newest stay")
		require.Equal(t, notifier.Removed{}, remove("soon"))
		require.Equal(t, newest, b.count(`SELECT MAX(id) FROM runs WHERE rule_id = 'settled'`))

		run, ok := b.beginAt("settled", "r1", time.Now().Add(-31*day+time.Minute).Truncate(time.Second))
		require.True(t, ok)
		b.release("soon")
		require.Equal(t, notifier.Removed{Runs: 1}, remove("settled"), "the newest of before")
		require.Equal(t, notifier.Removed{}, remove("settled"))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM runs WHERE state = 'reading' AND id = $1`, int64(run.ID)))
	})
}

// A rule that has slept for longer than runs are kept must not wake up without a history: its first run
// could be of any size.
func TestTheRunsThatAJumpIsMeasuredAgainstStay(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		for range 23 {
			b.release("settled")
		}
		b.set(`UPDATE runs SET planned = id`)
		b.release("settled") // it planned nothing
		b.release("settled")
		b.age(31 * day)
		r, err := b.ledger.RemoveRuns(t.Context(), "settled", 30*day, 100)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{Runs: 4}, r)
		require.Equal(t, 20, b.count(`SELECT COUNT(*) FROM runs WHERE planned > 0`))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM runs WHERE planned IN (1, 2, 3)`), "the oldest of them go")
	})
}

func TestTheRunsWithTheNewestTickAndTheLargestIDStay(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		// A clock that was ahead has gone back: the run that came last has an older tick.
		for _, at := range []time.Duration{-2 * time.Hour, -time.Hour, -4 * time.Hour, -3 * time.Hour} {
			run, ok := b.beginAt("settled", "r1", time.Now().Truncate(time.Second).Add(at))
			require.True(t, ok)
			_, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
			require.NoError(t, err)
		}
		want := []int{b.count(`SELECT id FROM runs ORDER BY tick_at DESC LIMIT 1`), b.count(`SELECT MAX(id) FROM runs`)}
		require.Less(t, want[0], want[1])
		b.age(31 * day)
		r, err := b.ledger.RemoveRuns(t.Context(), "settled", 30*day, 10)
		require.NoError(t, err)
		require.Equal(t, notifier.Removed{Runs: 2}, r)
		require.Equal(t, want, []int{b.count(`SELECT MIN(id) FROM runs`), b.count(`SELECT MAX(id) FROM runs`)})
	})
}

func TestBadRowsGoWhenTheyWereLastReadLongAgo(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, _ := b.begin("settled", "r1")
		bad := func(ids ...string) {
			var c notifier.Chunk
			for _, id := range ids {
				c.Bad = append(c.Bad, notifier.BadRowRead{Row: notifier.Row{"bet": id}, Err: &notifier.BadRow{Reason: notifier.BadValue}})
			}
			_, err := b.ledger.Stage(t.Context(), run, b.rule("settled"), c)
			require.NoError(t, err)
		}
		bad("b1", "b2", "b3", "b4")
		b.set(`UPDATE bad_rows SET first_seen = first_seen - $1, last_seen = last_seen - $1`, (31 * day).Microseconds())
		bad("b4")
		for _, want := range []notifier.Removed{{BadRows: 2, More: true}, {BadRows: 1}, {}} {
			r, err := b.ledger.RemoveBadRows(t.Context(), 30*day, 2)
			require.NoError(t, err)
			require.Equal(t, want, r)
		}
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM bad_rows`), "the one that is read again and again")
	})
}

func TestTheAuditStays(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		require.NoError(t, b.ledger.SetPaused(t.Context(), alice, "soon", true, "x"))
		b.old()
		b.forget(byWatermark(time.Hour))
		for _, remove := range []func(context.Context, time.Duration, int) (notifier.Removed, error){
			b.ledger.RemoveDeliveries, b.ledger.RemoveReplaced, b.ledger.RemoveBadRows,
		} {
			_, err := remove(t.Context(), 0, 1000)
			require.NoError(t, err)
		}
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM audit`))
	})
}

func TestEveryRuleThatEverRanIsOnRecord(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.release("soon")
		b.release("settled")
		got, err := b.ledger.RulesOnRecord(t.Context())
		require.NoError(t, err)
		require.Equal(t, "settled soon", strings.Join(got, " "))
	})
}
