package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

var alice = notifier.Actor{Name: "alice", RequestID: "req-1"}

// exec changes the database behind the ledger's back.
func (b *books) exec(query string, args ...any) error {
	b.tb.Helper()
	return b.db.Tx(b.tb.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func (b *books) audit() []notifier.AuditEntry {
	b.tb.Helper()
	out, err := b.ledger.Audit(b.tb.Context(), notifier.AuditQuery{Forward: true, Limit: 1000})
	require.NoError(b.tb, err)
	return out
}

func TestAPausedRuleBeginsNoRunOnAnyReplica(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		require.NoError(t, b.ledger.SetPaused(t.Context(), alice, "settled", true, "wrong text"))
		require.NoError(t, b.ledger.SetPaused(t.Context(), notifier.Actor{Name: "bob"}, "settled", true, "me too"))
		r := b.rule("settled")
		begin := func(owner string) (bool, error) {
			tick := time.Now().Truncate(time.Second)
			_, ok, err := b.ledger.Begin(t.Context(), notifier.BeginRun{
				Rule: "settled", Identity: r.Identity, TickAt: tick, Owner: owner, Lease: time.Minute,
				Plan: func(p *notifier.Progress, _ time.Time) notifier.RunWindow { return notifier.PlanRun(r, p, tick) },
			})
			return ok, err
		}
		for _, owner := range []string{"r1", "r2"} {
			ok, err := begin(owner)
			require.ErrorIs(t, err, notifier.ErrRulePaused)
			require.False(t, ok)
		}
		require.Zero(t, b.count(`SELECT COUNT(*) FROM runs`))
		_, ok := b.begin("soon", "r1")
		require.True(t, ok, "another rule is none the worse")

		s, err := b.ledger.Standing(t.Context(), "settled")
		require.NoError(t, err)
		require.True(t, s.Control.Paused)
		require.Equal(t, "alice", s.Control.Actor, "the first one to say it stays on record")
		require.Equal(t, "wrong text", s.Control.Reason)

		require.NoError(t, b.ledger.SetPaused(t.Context(), notifier.Actor{Name: "bob"}, "settled", false, ""))
		ok, err = begin("r1")
		require.NoError(t, err)
		require.True(t, ok)

		entries := b.audit()
		require.Len(t, entries, 2, "what changes nothing is no change")
		require.Equal(t, notifier.ActionPause, entries[0].Action)
		require.Equal(t, alice, entries[0].Actor)
		require.Equal(t, "rule/settled", entries[0].Subject)
		require.JSONEq(t, `{"paused":false}`, string(entries[0].Before))
		require.JSONEq(t, `{"paused":true,"reason":"wrong text"}`, string(entries[0].After))
		require.WithinDuration(t, time.Now(), entries[0].At, time.Minute)
		require.Equal(t, notifier.ActionResume, entries[1].Action)
		require.JSONEq(t, `{"paused":true,"reason":"wrong text"}`, string(entries[1].Before))
	})
}

func TestARunThatReadsWhileItsRuleIsPausedReleasesNothing(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		b.stage(run, b.bet("b1", "ann", "WON", 1))
		require.NoError(t, b.ledger.Advance(t.Context(), run, run.Position, run.Until))
		by := notifier.Actor{Name: "alice"}
		require.NoError(t, b.ledger.SetPaused(t.Context(), by, "settled", true, "wrong text"))
		_, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.ErrorIs(t, err, notifier.ErrRulePaused)
		require.NoError(t, b.ledger.Fail(t.Context(), run, err.Error()))
		b.fanOut()
		require.Zero(t, b.count(`SELECT COUNT(*) FROM deliveries`))

		require.NoError(t, b.ledger.SetPaused(t.Context(), by, "settled", false, ""))
		b.release("settled")
		b.fanOut()
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries`), "the next run catches up")
	})
}

func TestTheAuditOnlyGrows(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		for i := range 5 {
			require.NoError(t, b.ledger.Note(t.Context(), notifier.AuditEntry{
				Actor: alice, Action: notifier.ActionTestSend, Subject: "device/" + strconv.Itoa(i), After: json.RawMessage(`{"n":1}`),
			}))
		}
		queries := []string{
			`UPDATE audit SET actor = 'mallory'`, `UPDATE audit SET actor = 'mallory' WHERE id = 1`, `DELETE FROM audit WHERE id = 1`,
		}
		if b.db.Dialect().Name == "sqlite" {
			queries = append(queries, `INSERT OR REPLACE INTO audit (id, at, actor, action, subject, before_state, after_state) VALUES (1, 0, 'mallory', '', '', '', '')`)
		} else {
			queries = append(queries, `TRUNCATE audit`, `INSERT INTO audit (id, at, actor, action, subject, before_state, after_state) VALUES (1, 0, 'mallory', '', '', '', '')
				ON CONFLICT (id) DO UPDATE SET actor = excluded.actor`)
		}
		for _, query := range queries {
			require.ErrorContains(t, b.exec(query), "append-only", query)
		}
		entries := b.audit()
		require.Len(t, entries, 5)
		require.Equal(t, "null", string(entries[0].Before))

		forward, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Forward: true, After: entries[1].ID, Limit: 2})
		require.NoError(t, err)
		require.Equal(t, entries[2:4], forward)
		backward, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Before: entries[3].ID, Limit: 2})
		require.NoError(t, err)
		require.Equal(t, []notifier.AuditEntry{entries[2], entries[1]}, backward)
		newest, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, entries[4:], newest)
	})
}

// A change that cannot be audited must not happen.
func TestNoChangeWithoutItsAudit(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'rejected', finished_at = 1`))
		require.NoError(t, b.exec(`UPDATE runs SET state = 'held'`))
		if b.db.Dialect().Name == "sqlite" {
			require.NoError(t, b.exec(`CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`))
		} else {
			require.NoError(t, b.exec(`CREATE FUNCTION no_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the disk is full''; END'`))
			require.NoError(t, b.exec(`CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_disk()`))
		}
		id := notifier.RunID(b.count(`SELECT id FROM runs`))

		require.ErrorContains(t, b.ledger.SetPaused(t.Context(), alice, "settled", true, ""), "the disk is full")
		_, err := b.ledger.EndHeld(t.Context(), alice, id, notifier.RunReleased)
		require.ErrorContains(t, err, "the disk is full")
		_, err = b.ledger.Requeue(t.Context(), alice, notifier.DeliveryID(b.count(`SELECT id FROM deliveries`)))
		require.ErrorContains(t, err, "the disk is full")
		require.Zero(t, b.count(`SELECT COUNT(*) FROM rule_controls`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM runs WHERE state = 'held'`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'rejected'`))
	})
}

func TestOnlyAHeldRunCanBeEnded(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		id := notifier.RunID(b.count(`SELECT id FROM runs`))
		_, err := b.ledger.EndHeld(t.Context(), alice, id, notifier.RunReleased)
		require.ErrorIs(t, err, notifier.ErrRunNotHeld)
		require.Equal(t, fault.Conflict, fault.KindOf(err))
		require.ErrorContains(t, err, "the run is released")
		_, err = b.ledger.EndHeld(t.Context(), alice, id+1, notifier.RunReleased)
		require.ErrorIs(t, err, notifier.ErrUnknownRun)
		require.Empty(t, b.audit())

		require.NoError(t, b.exec(`UPDATE runs SET state = 'held'`))
		require.NoError(t, b.exec(`UPDATE notifications SET state = 'held'`))
		ended, err := b.ledger.EndHeld(t.Context(), alice, id, notifier.RunReleased)
		require.NoError(t, err)
		b.fanOut()
		run, err := b.ledger.Run(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, notifier.RunReleased, run.State)
		require.Equal(t, map[string]int64{"released": 1}, run.Notifications)
		require.Equal(t, map[notifier.DeliveryState]int64{notifier.Queued: 2}, run.Deliveries)
		run.Notifications, run.Deliveries = nil, nil
		require.Equal(t, run, ended)
		require.JSONEq(t, `{"state":"released","notifications":1}`, string(b.audit()[0].After))
	})
}

func TestOnlyWhatEndedUnsentAndIsWorthSomethingIsRequeued(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		c := b.claim("settled", "r1", 1, time.Minute)[0]
		require.Zero(t, b.record("r1", notifier.Result{Claim: c, State: notifier.Rejected, Reason: "invalid", Counted: true, Attempt: &notifier.Attempt{
			Generation: 1, StartedAt: time.Now(), EndedAt: time.Now(), Verdict: notifier.VerdictRejected, Code: "invalid", Status: 400,
		}}))
		allowed := []notifier.DeliveryState{notifier.Gone, notifier.Rejected, notifier.Expired, notifier.Unconfirmed, notifier.Cancelled}
		for _, state := range []notifier.DeliveryState{
			notifier.Queued, notifier.Leased, notifier.Sent, notifier.Gone, notifier.Rejected, notifier.Expired,
			notifier.Suppressed, notifier.Superseded, notifier.Cancelled, notifier.Unconfirmed,
		} {
			require.NoError(t, b.exec(`UPDATE deliveries SET state = $1, reason = 'x', finished_at = 5`, state))
			d, err := b.ledger.Requeue(t.Context(), alice, c.ID)
			if !slices.Contains(allowed, state) {
				require.Equal(t, fault.Conflict, fault.KindOf(err), state)
				require.ErrorContains(t, err, string(state))
				require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = $1 AND reason = 'x' AND finished_at = 5`, state))
				continue
			}
			require.NoError(t, err, state)
			require.Equal(t, notifier.Queued, d.State)
			require.Empty(t, d.Reason)
			require.True(t, d.FinishedAt.IsZero())
			require.Equal(t, 1, d.Counted)
			require.Len(t, d.Attempts, 1, "attempts are kept")
			require.Equal(t, "invalid", d.Attempts[0].Code)
			require.Equal(t, "r1", d.Attempts[0].Owner)
			require.Len(t, b.claim("settled", "r2", 10, time.Minute), 1, "and it is due")
		}
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'rejected', expires_at = $1`, sqldb.Micros(time.Now().Add(-time.Second))))
		_, err := b.ledger.Requeue(t.Context(), alice, c.ID)
		require.Equal(t, fault.Conflict, fault.KindOf(err))
		require.ErrorContains(t, err, "expired at")
		_, err = b.ledger.Requeue(t.Context(), alice, c.ID+1)
		require.ErrorIs(t, err, notifier.ErrUnknownDelivery)
		require.Len(t, b.audit(), len(allowed))
	})
}

func TestPagesOfDeliveriesMissNothingAndRepeatNothing(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 3)
		b.devices("bob", 4)
		for i := range 5 {
			b.release("settled", b.bet("a"+strconv.Itoa(i), "ann", "WON", i), b.bet("b"+strconv.Itoa(i), "bob", "WON", i))
			b.fanOut()
		}
		// Many at one time, as a fan-out makes them.
		require.NoError(t, b.exec(`UPDATE deliveries SET created_at = created_at / 1000000 * 1000000`))
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'rejected' WHERE id % 3 = 0`))
		for name, tc := range map[string]struct {
			q     notifier.DeliveryQuery
			where string
		}{
			"all":             {notifier.DeliveryQuery{}, `TRUE`},
			"user":            {notifier.DeliveryQuery{User: "ann"}, `user_id = 'ann'`},
			"device":          {notifier.DeliveryQuery{Device: "bob-000001"}, `device_id = 'bob-000001'`},
			"notification":    {notifier.DeliveryQuery{Notification: 2}, `notification_id = 2`},
			"its user":        {notifier.DeliveryQuery{Notification: 2, User: "bob"}, `notification_id = 2 AND user_id = 'bob'`},
			"its device":      {notifier.DeliveryQuery{Notification: 2, Device: "bob-000003"}, `notification_id = 2 AND device_id = 'bob-000003'`},
			"state":           {notifier.DeliveryQuery{State: notifier.Rejected}, `state = 'rejected'`},
			"queued of user":  {notifier.DeliveryQuery{State: notifier.Queued, User: "bob"}, `state = 'queued' AND user_id = 'bob'`},
			"rule and state":  {notifier.DeliveryQuery{Rule: "settled", State: notifier.Rejected}, `state = 'rejected'`},
			"nobody":          {notifier.DeliveryQuery{User: "cleo"}, `FALSE`},
			"before all time": {notifier.DeliveryQuery{Until: time.Unix(1, 0)}, `FALSE`},
			"since an hour":   {notifier.DeliveryQuery{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}, `TRUE`},
		} {
			seen := map[notifier.DeliveryID]bool{}
			q := tc.q
			for q.Limit = 4; ; {
				page, err := b.ledger.Deliveries(t.Context(), q)
				require.NoError(t, err, name)
				require.LessOrEqual(t, len(page), 4)
				for _, d := range page {
					require.False(t, seen[d.ID], "%s: %d came twice", name, d.ID)
					seen[d.ID] = true
				}
				if len(page) < 4 {
					break
				}
				last := page[3]
				q.After = &notifier.DeliveryCursor{CreatedAt: last.CreatedAt, ID: last.ID, Device: last.Device}
			}
			require.Len(t, seen, b.count(`SELECT COUNT(*) FROM deliveries WHERE `+tc.where), name)
		}
	})
}

func TestARunOutOfTurnIsAudited(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		r, tick := b.rule("settled"), time.Now().UTC().Truncate(time.Second)
		run, ok, err := b.ledger.Begin(t.Context(), notifier.BeginRun{
			Rule: "settled", Identity: r.Identity, TickAt: tick, Owner: "r1", Lease: time.Minute, By: alice,
			Plan: func(p *notifier.Progress, _ time.Time) notifier.RunWindow { return notifier.PlanRun(r, p, tick) },
		})
		require.NoError(t, err)
		require.True(t, ok)
		entries := b.audit()
		require.Len(t, entries, 1)
		require.Equal(t, notifier.ActionRun, entries[0].Action)
		require.JSONEq(t, `{"run":`+strconv.Itoa(int(run.ID))+`,"tick_at":"`+tick.Format(time.RFC3339)+`"}`, string(entries[0].After))
		require.NoError(t, b.ledger.Fail(t.Context(), run, "the body was cut"))

		s, err := b.ledger.Standing(t.Context(), "settled")
		require.NoError(t, err)
		require.Equal(t, notifier.RunFailed, s.LastRun.State)
		require.Equal(t, "the body was cut", s.LastFailed.Error)
		require.NotNil(t, s.Progress)
		s, err = b.ledger.Standing(t.Context(), "unheard-of")
		require.NoError(t, err)
		require.Equal(t, notifier.RuleStanding{}, s)
	})
}

func TestReachCountsWhoWouldGetIt(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.devices("bob", 3)
		require.NoError(t, b.exec(`UPDATE devices SET state = 'inactive' WHERE id = 'bob-000000'`))
		require.NoError(t, b.exec(`INSERT INTO preferences (user_id, muted, opted_in, updated_at) VALUES ('ann', '["win"]', '["tips"]', 1)`))
		reach := func(q notifier.ReachQuery) int {
			n, err := b.ledger.Reach(t.Context(), q)
			require.NoError(t, err)
			return n
		}
		require.Equal(t, 2, reach(notifier.ReachQuery{Audience: notifier.AudienceAll, Category: "win"}))
		require.Equal(t, 4, reach(notifier.ReachQuery{Audience: notifier.AudienceAll, Category: "loss"}))
		require.Equal(t, 2, reach(notifier.ReachQuery{Audience: notifier.AudienceAll, Category: "tips", OptIn: true}))
		require.Zero(t, reach(notifier.ReachQuery{Audience: notifier.AudienceUser, User: "ann", Category: "win"}))
		require.Equal(t, 2, reach(notifier.ReachQuery{Audience: notifier.AudienceUser, User: "bob", Category: "win"}))

		b.release("soon", b.race("e1"))
		b.fanOut()
		thread := b.rule("soon").Thread(b.race("e1").Key)
		require.Zero(t, reach(notifier.ReachQuery{Audience: notifier.AudienceFollows, Thread: thread, Follows: "soon"}))
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'sent' WHERE device_id = 'ann-000000'`))
		require.Equal(t, 1, reach(notifier.ReachQuery{Audience: notifier.AudienceFollows, Thread: thread, Follows: "soon"}))
	})
}

func TestBadRowsAndNotificationsCanBeLookedUp(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		var bad []notifier.BadRowRead
		for i := range 5 {
			bad = append(bad, notifier.BadRowRead{
				Row: notifier.Row{"n": json.Number(strconv.Itoa(i))}, Err: &notifier.BadRow{Rule: "settled", Reason: notifier.BadNullKey, Detail: "d"},
			})
		}
		_, err := b.ledger.Stage(t.Context(), run, b.rule("settled"), notifier.Chunk{Rows: 6, Drafts: []notifier.Draft{b.bet("b1", "ann", "WON", 1)}, Bad: bad})
		require.NoError(t, err)
		_, err = b.ledger.Finish(t.Context(), run, b.rule("settled"))
		require.NoError(t, err)
		b.fanOut()
		for _, rule := range []string{"", "settled"} {
			seen := map[string]bool{}
			q := notifier.BadRowQuery{Rule: rule, Limit: 2}
			for {
				page, err := b.ledger.BadRows(t.Context(), q)
				require.NoError(t, err)
				for _, r := range page {
					require.False(t, seen[r.Hash])
					seen[r.Hash] = true
					require.Equal(t, notifier.BadNullKey, r.Reason)
				}
				if len(page) < 2 {
					break
				}
				q.After = &notifier.BadRowCursor{FirstSeen: page[1].FirstSeen, Rule: page[1].Rule, Hash: page[1].Hash}
			}
			require.Len(t, seen, 5)
		}
		none, err := b.ledger.BadRows(t.Context(), notifier.BadRowQuery{Rule: "soon", Limit: 2})
		require.NoError(t, err)
		require.Empty(t, none)

		n, err := b.ledger.Notification(t.Context(), notifier.NotificationID(b.count(`SELECT id FROM notifications`)))
		require.NoError(t, err)
		require.Equal(t, notifier.Row{"bet": "b1", "user": "ann", "outcome": "WON", "rowtime": json.Number("1700000000001")}, n.Row)
		require.Equal(t, devices.UserID("ann"), n.User)
		require.Equal(t, map[notifier.DeliveryState]int64{notifier.Queued: 2}, n.Deliveries)
		_, err = b.ledger.Notification(t.Context(), n.ID+1)
		require.ErrorIs(t, err, notifier.ErrUnknownNotification)
	})
}

func TestDeliveriesAreRequeuedByAFilter(t *testing.T) {
	t.Parallel()
	for _, kind := range sqldbtest.Databases(t) {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			db := kind.Open(t)
			l := sqlledger.New(db)
			now := time.Now().UnixMicro()
			for i, d := range []struct {
				rule, state, reason string
				expires             int64
			}{
				{"a", "rejected", "X", now + 1e9},
				{"a", "rejected", "Y", now + 1e9},
				{"a", "rejected", "X", now - 1e9},
				{"b", "gone", "X", now + 1e9},
				{"a", "sent", "", now + 1e9},
				{"a", "suppressed", "muted", now + 1e9},
				{"a", "unconfirmed", "X", now + 1e9},
				{"a", "unconfirmed", "X", now - 1e9},
			} {
				require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason,
						due_at, expires_at, created_at, finished_at) VALUES ($1, 'd', 'u', $2, 'fcm', 'high', FALSE, $3, $4, 1, $5, $6, 1)`, i, d.rule, d.state, d.reason, d.expires, now-1000)
					return err
				}))
			}
			by := notifier.Actor{Name: "alice"}
			f := notifier.RequeueFilter{Rule: "a", Reason: "X", Limit: 10, DryRun: true}
			got, err := l.RequeueAll(t.Context(), by, f)
			require.NoError(t, err)
			require.Equal(t, notifier.Requeued{Matching: 1, Expired: 1, Unconfirmed: 1}, got)
			entries, err := l.Audit(t.Context(), notifier.AuditQuery{Limit: 5})
			require.NoError(t, err)
			require.Empty(t, entries, "a look changes nothing")
			f.DryRun = false
			got, err = l.RequeueAll(t.Context(), by, f)
			require.NoError(t, err)
			require.Equal(t, notifier.Requeued{Matching: 1, Expired: 1, Unconfirmed: 1, Requeued: 1}, got)
			queued, err := l.Deliveries(t.Context(), notifier.DeliveryQuery{State: notifier.Queued, Limit: 5})
			require.NoError(t, err)
			require.Len(t, queued, 1)
			got, err = l.RequeueAll(t.Context(), by, notifier.RequeueFilter{Since: time.UnixMicro(now - 2000), Limit: 1})
			require.NoError(t, err)
			require.NotNil(t, got.Next)
			got.Next = nil
			require.Equal(t, notifier.Requeued{Matching: 2, Expired: 1, Unconfirmed: 1, Requeued: 1}, got)
			for _, q := range []notifier.AuditFilter{
				{Actor: "alice"},
				{Action: notifier.ActionRequeueAll},
				{Subject: notifier.SubjectDeliveries},
				{Since: time.Now().Add(-time.Minute), Until: time.Now().Add(time.Minute)},
			} {
				entries, err = l.Audit(t.Context(), notifier.AuditQuery{AuditFilter: q, Limit: 5})
				require.NoError(t, err)
				require.Len(t, entries, 2, "%+v", q)
			}
			require.JSONEq(t, `{"rule":"a","reason":"X","matching":1,"unconfirmed":1}`, string(entries[1].Before))
			for _, q := range []notifier.AuditFilter{{Actor: "bob"}, {Action: notifier.ActionPause}, {Subject: "run/1"}, {Since: time.Now().Add(time.Hour)}, {Until: time.Now().Add(-time.Hour)}} {
				entries, err = l.Audit(t.Context(), notifier.AuditQuery{AuditFilter: q, Limit: 5})
				require.NoError(t, err)
				require.Empty(t, entries, "%+v", q)
			}
		})
	}
}

// What may have been shown already is tried again only by its name.
func TestUnconfirmedDeliveriesAreRequeuedOnlyByName(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'unconfirmed', reason = 'ttl', finished_at = 1 WHERE id = (SELECT MIN(id) FROM deliveries)`))
		require.NoError(t, b.exec(`UPDATE deliveries SET state = 'expired', reason = 'ttl', finished_at = 1 WHERE id = (SELECT MAX(id) FROM deliveries)`))
		unconfirmed := func() int { return b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'unconfirmed'`) }

		got, err := b.ledger.RequeueAll(t.Context(), alice, notifier.RequeueFilter{Reason: "ttl", Limit: 10})
		require.NoError(t, err)
		require.Equal(t, notifier.Requeued{Matching: 1, Unconfirmed: 1, Requeued: 1}, got)
		require.Equal(t, 1, unconfirmed())
		for _, state := range notifier.UntoldStates() {
			_, err := b.ledger.RequeueAll(t.Context(), alice, notifier.RequeueFilter{State: state, Limit: 10})
			require.NoError(t, err)
			require.Equal(t, 1, unconfirmed())
		}
		got, err = b.ledger.RequeueAll(t.Context(), alice, notifier.RequeueFilter{State: notifier.Unconfirmed, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, notifier.Requeued{Matching: 1, Requeued: 1}, got, "what is named is not left out")
		require.Zero(t, unconfirmed())
	})
}

// Whatever becomes of them meanwhile, a requeue that goes on takes each delivery once.
func TestARequeueThatGoesOnTakesEachDeliveryOnce(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 7)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		refuse := func() { require.NoError(t, b.exec(`UPDATE deliveries SET state = 'rejected', finished_at = 1`)) }
		refuse()
		var after *notifier.RequeueCursor
		for _, want := range []notifier.Requeued{{Matching: 7, Requeued: 3}, {Matching: 4, Requeued: 3}, {Matching: 1, Requeued: 1}} {
			got, err := b.ledger.RequeueAll(t.Context(), alice, notifier.RequeueFilter{State: notifier.Rejected, After: after, Limit: 3})
			require.NoError(t, err)
			after, got.Next = got.Next, nil
			require.Equal(t, want, got)
			refuse()
		}
		require.Nil(t, after, "fewer than the limit were left")
		entries := b.audit()
		require.Len(t, entries, 3)
		require.JSONEq(t, `{"state":"rejected","matching":7}`, string(entries[0].Before))
		require.Contains(t, string(entries[1].Before), `"after":`)
	})
}
