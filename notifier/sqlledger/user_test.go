package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// exported is what an export of a user has, by kind.
func (b *books) exported(user devices.UserID) map[string][]string {
	b.tb.Helper()
	out := map[string][]string{}
	require.NoError(b.tb, b.ledger.ExportUser(b.tb.Context(), user, func(kind string, record any) error {
		text, err := json.Marshal(record)
		out[kind] = append(out[kind], string(text))
		return err
	}))
	return out
}

// What no notification could be made of has the same personal data as what one was made of, and an import
// says as much about a user as an operator.
func TestBadRowsImportsAndTheAuditOfAUserAreExportedAndBadRowsErased(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		bad := func(row notifier.Row) notifier.BadRowRead {
			return notifier.BadRowRead{Row: row, Err: &notifier.BadRow{Rule: "settled", Reason: notifier.BadValue, Detail: "outcome is odd"}}
		}
		_, err := b.ledger.Stage(t.Context(), run, b.rule("settled"), notifier.Chunk{Rows: 4, Bad: []notifier.BadRowRead{
			bad(notifier.Row{"bet": "b1", "user": "ann<1>", "outcome": "ODD"}), bad(notifier.Row{"bet": "b2", "other": "ann<1>"}),
			bad(notifier.Row{"bet": "b3", "user": "ann<12>"}), bad(notifier.Row{"bet": "b4", "user": json.Number("77")}), bad(nil),
		}})
		require.NoError(t, err)
		turn, ok, err := b.ledger.BeginImport(t.Context(), "r1", time.Minute, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		_, err = b.ledger.SetImported(t.Context(), turn, time.Minute, []notifier.Suppression{{User: "ann<1>", Reason: notifier.ReasonCoolOff}})
		require.NoError(t, err)
		b.suppress(alice, notifier.Suppression{User: "eve", Reason: notifier.ReasonCoolOff})

		all := b.exported("ann<1>")
		require.Len(t, all["bad_row"], 2)
		named, err := b.ledger.BadRowsNaming(t.Context(), "ann<1>", 5)
		require.NoError(t, err)
		require.Len(t, named, 2)
		named, err = b.ledger.BadRowsNaming(t.Context(), "77", 5)
		require.NoError(t, err)
		require.Len(t, named, 1)
		named, err = b.ledger.BadRowsNaming(t.Context(), "%", 5)
		require.NoError(t, err)
		require.Empty(t, named)
		require.Len(t, all["imported_suppression"], 1)
		require.Len(t, all["audit"], 1)
		require.Contains(t, all["audit"][0], "suppression/cool_off/ann")
		require.Len(t, b.exported("77")["bad_row"], 1, "an id that is a number")

		erased, _, _, err := b.ledger.EraseUser(t.Context(), "ann<1>", 1)
		require.NoError(t, err)
		require.EqualValues(t, 1, erased["bad_rows"], "in small steps")
		_, _, more, err := b.ledger.EraseUser(t.Context(), "ann<1>", 100)
		require.NoError(t, err)
		require.False(t, more)
		require.Empty(t, b.exported("ann<1>")["bad_row"])
		require.Equal(t, 3, b.count(`SELECT COUNT(*) FROM bad_rows`))
	})
}

// A step of fan-out that began before the devices were taken out of use may still make a delivery.
func TestAnErasureWaitsForFanOut(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		if d.Name == "sqlite" {
			continue // one transaction writes at a time
		}
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			b := open(t, d)
			b.release("soon", b.race("e1"))
			type answer struct {
				waiting int64
				err     error
			}
			done := make(chan answer, 1)
			require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				var id int64
				if err := tx.QueryRowContext(ctx, `SELECT id FROM notifications WHERE audience = 'all' FOR UPDATE`).Scan(&id); err != nil {
					return err
				}
				go func() {
					_, waiting, _, err := b.ledger.EraseUser(context.WithoutCancel(ctx), "ann", 100)
					done <- answer{waiting, err}
				}()
				select {
				case a := <-done: // it has not waited
					done <- a
				case <-time.After(500 * time.Millisecond):
				}
				_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state,
					due_at, expires_at, created_at) VALUES ($1, 'phone', 'ann', 'soon', 'fcm', 'high', FALSE, 'queued', 1, 9999999999999999, 1)`, id)
				return err
			}))
			a := <-done
			require.NoError(t, a.err)
			require.Zero(t, a.waiting)
			require.Zero(t, b.count(`SELECT COUNT(*) FROM deliveries`))
		})
	}
}

// handed counts the records that a user is handed out, by kind, but for those of the audit.
func (b *books) handed(user devices.UserID) map[string]int {
	b.tb.Helper()
	kinds := map[string]int{}
	for kind, records := range b.exported(user) {
		if kind != "audit" {
			kinds[kind] = len(records)
		}
	}
	return kinds
}

func (b *books) erase(user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool) {
	b.tb.Helper()
	erased, waiting, more, err := b.ledger.EraseUser(b.tb.Context(), user, limit)
	require.NoError(b.tb, err)
	return erased, waiting, more
}

func TestAUserIsErasedStepByStepAndOthersStay(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.devices("bob", 1)
		for i, bet := range []string{"b1", "b2", "b3"} {
			b.release("settled", b.bet(bet, "ann", "WON", i+1), b.bet("bob-"+bet, "bob", "WON", i+1))
			b.fanOut()
		}
		claims := b.claim("settled", "r1", 2, time.Minute)
		require.Len(t, claims, 2)
		require.NoError(t, b.exec(`INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict, code, status)
			SELECT id, 1, 'r1', 1, 1, 'sent', '', 200 FROM deliveries WHERE user_id IN ('ann', 'bob')`))
		require.NoError(t, b.exec(`INSERT INTO inbox_reads (user_id, notification_id, read_at) SELECT user_id, id, 1 FROM notifications`))
		require.NoError(t, b.exec(`INSERT INTO frequency (user_id, notification_id, category, class, verdict, at) SELECT user_id, id, 'win', 'service', 'admitted', 1 FROM notifications`))
		_, err := b.ledger.Suppress(t.Context(), notifier.Actor{Name: "alice"}, []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll}}, notifier.AllowShorter)
		require.NoError(t, err)
		bobs := b.handed("bob")

		kinds := b.handed("ann")
		require.Equal(t, map[string]int{"suppression": 1, "notification": 3, "delivery": 6, "attempt": 6, "inbox_read": 3, "frequency": 3}, kinds)
		counted, err := b.ledger.CountUser(t.Context(), "ann")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"suppressions": 1, "imported_suppressions": 0, "notifications": 3, "deliveries": 6, "attempts": 6, "inbox_reads": 3, "frequency": 3, "bad_rows": 0}, counted)

		leased := int64(b.count(`SELECT COUNT(*) FROM deliveries WHERE user_id = 'ann' AND state || '' = 'leased'`))
		require.Positive(t, leased)
		all := map[string]int64{}
		steps := 0
		for more := true; more; steps++ {
			var erased map[string]int64
			var waiting int64
			erased, waiting, more = b.erase("ann", 2)
			for kind, n := range erased {
				require.LessOrEqual(t, n, int64(2), "one step is bounded")
				all[kind] += n
			}
			if !more {
				require.Equal(t, leased, waiting, "what is being sent waits")
			}
		}
		require.Greater(t, steps, 1)
		require.Equal(t, map[string]int64{"notifications": 3, "deliveries": 6 - leased, "attempts": 6 - leased, "inbox_reads": 3, "frequency": 3, "bad_rows": 0}, all)
		require.Zero(t, b.count(`SELECT COUNT(*) FROM deliveries WHERE user_id = 'ann' AND state || '' = 'queued'`))

		results := make([]notifier.Result, 0, len(claims))
		for _, c := range claims {
			results = append(results, notifier.Result{Claim: c, State: notifier.Sent})
		}
		b.record("r1", results...)
		erased, waiting, more := b.erase("ann", 2)
		for more {
			_, waiting, more = b.erase("ann", 2)
		}
		require.Equal(t, leased, erased["deliveries"])
		require.Zero(t, waiting)
		kinds = b.handed("ann")
		require.Equal(t, map[string]int{"suppression": 1}, kinds, "who must not be sent to is still known")
		again := b.handed("bob")
		require.Equal(t, bobs, again)

		// The row is not announced a second time.
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		require.Equal(t, 3, b.count(`SELECT COUNT(*) FROM notifications WHERE user_id = ''`))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM notifications WHERE user_id = 'ann' OR source_row LIKE '%ann%'`))
	})
}

func TestAnErasureIsAuditedWithWhatThereWas(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		registry := sqldevices.New(b.db, sqldevices.Config{Canceller: b.ledger})
		people := notifier.UserData{Devices: registry, Stores: []notifier.UserStore{b.ledger, registry}, Audit: b.ledger}
		by := notifier.Actor{Name: "alice", RequestID: "R"}
		records := 0
		require.NoError(t, people.Export(t.Context(), by, "ann", func(string, any) error { records++; return nil }))
		require.Positive(t, records)
		_, err := people.Erase(t.Context(), by, "ann", "request 4711")
		require.NoError(t, err)
		entries, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{AuditFilter: notifier.AuditFilter{Subject: notifier.SubjectUser("ann")}, Forward: true, Limit: 10})
		require.NoError(t, err)
		require.Len(t, entries, 3)
		for _, e := range entries {
			require.JSONEq(t, `{"rows":{"suppressions":0,"imported_suppressions":0,"bad_rows":0,"notifications":1,"deliveries":2,"attempts":0,"inbox_reads":0,"frequency":0,"devices":2,"preferences":0}}`,
				string(e.Before), "%s", e.Action)
		}
		require.Equal(t, "null", orNull(entries[0].After))
		require.Contains(t, string(entries[2].After), `"deliveries":2`)
		require.JSONEq(t, `{"state":"begun","reason":"request 4711"}`, string(entries[1].After))
	})
}

func orNull(text json.RawMessage) string {
	if text == nil {
		return "null"
	}
	return string(text)
}

// What reaches its expiry this very moment is worth nothing any more, and what is tried again has not ended.
func TestRequeueingByAFilterMindsTheExpiryAndTheEnd(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		_, _, err := b.ledger.FanOut(t.Context(), 100)
		require.NoError(t, err)
		b.set(`UPDATE deliveries SET state = 'rejected', finished_at = 1`)
		b.set(`UPDATE deliveries SET expires_at = $1 WHERE device_id = 'ann-000000'`, time.Now().UnixMicro())
		r, err := b.ledger.RequeueAll(t.Context(), alice, notifier.RequeueFilter{Rule: "settled", Limit: 10})
		require.NoError(t, err)
		require.Equal(t, notifier.Requeued{Matching: 1, Expired: 1, Requeued: 1}, r)
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'queued' AND finished_at = 0 AND device_id = 'ann-000001'`))
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'rejected' AND finished_at = 1`))
	})
}
