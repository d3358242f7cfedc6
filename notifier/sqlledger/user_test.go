package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
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
