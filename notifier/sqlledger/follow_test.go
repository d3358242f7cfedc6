package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

const followRules = rules + `
  - id: changed
    schedule: "@every 1s"
    class: service
    query: SELECT * FROM changed WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [event]
    version: [status]
    order: rowtime
    audience: {follows: soon}
    ttl: {for: 1h}
    notification: {category: race, title: "{{.event}}", body: "{{.status}}"}
`

func TestAFollowerForAFewDoesNotVisitAllDevices(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(followRules)})
	require.NoError(t, err)
	db := sqldbtest.SQLite(t)
	b := &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
	b.devices("ann", 1)
	b.release("soon", b.race("e1"))
	b.fanOut()
	c := b.claimAny(t, "soon")
	b.record("r1", notifier.Result{Claim: c, State: notifier.Sent, Attempt: &notifier.Attempt{Verdict: notifier.VerdictSent}})
	// Very many came later; all of them before the change.
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 300000)
			INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
			SELECT 'd' || n, 'u' || n, 'android', 'fcm', 'fcm_token', 't' || n, 1, 'active', $1, $1 FROM i`, sqldb.Micros(time.Now()))
		return err
	}))
	d, err := b.rule("changed").Draft(notifier.Row{"event": "e1", "status": "POSTPONED", "rowtime": json.Number("1700000000001")})
	require.NoError(t, err)
	b.release("changed", d)
	started := time.Now()
	b.fanOut()
	t.Logf("fan-out took %s", time.Since(started))
	require.Less(t, time.Since(started), 100*time.Millisecond)
	require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM deliveries WHERE rule_id = 'changed'`))
}

func TestAFollowerReachesAllWhoWereToldStepByStep(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(followRules)})
	require.NoError(t, err)
	db := sqldbtest.SQLite(t)
	b := &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
	b.devices("ann", 10)
	b.release("soon", b.race("e1"))
	b.fanOut()
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE deliveries SET state = CASE WHEN device_id = 'ann-000004' THEN 'suppressed' ELSE 'sent' END`)
		return err
	}))
	d, err := b.rule("changed").Draft(notifier.Row{"event": "e1", "status": "POSTPONED", "rowtime": json.Number("1700000000001")})
	require.NoError(t, err)
	b.release("changed", d)
	for more := true; more; {
		var made int
		made, more, err = b.ledger.FanOut(t.Context(), 3)
		require.NoError(t, err)
		require.LessOrEqual(t, made, 3)
	}
	require.Equal(t, 9, b.count(`SELECT COUNT(*) FROM deliveries WHERE rule_id = 'changed'`))
}

func (b *books) claimAny(t *testing.T, rule string) notifier.Claim {
	t.Helper()
	for _, u := range []notifier.Urgency{notifier.High, notifier.Normal} {
		out, err := b.ledger.Claim(t.Context(), notifier.ClaimRequest{
			Lane: notifier.LaneID{Provider: lane.Provider, Urgency: u}, Rule: rule, Limit: 1, Owner: "r1", Lease: time.Minute,
		})
		require.NoError(t, err)
		if len(out) == 1 {
			return out[0]
		}
	}
	t.Fatal("nothing to claim")
	return notifier.Claim{}
}
