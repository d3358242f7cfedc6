package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
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
	few, many := fanOutToOneOf(t, 1000), fanOutToOneOf(t, 100_000)
	t.Logf("fan-out to one device of 1000 took %s, of 100000 %s", few, many)
	require.Less(t, many, 20*few, "a hundred times the devices must not cost a hundred times as much")
}

// fanOutToOneOf measures how long a follower's fan-out takes when one device was
// told and the rest came later: the best of five changes.
func fanOutToOneOf(t *testing.T, devices int) time.Duration {
	t.Helper()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(followRules)})
	require.NoError(t, err)
	db := sqldbtest.SQLite(t)
	b := &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
	b.devices("ann", 1)
	b.release("soon", b.race("e1"))
	b.fanOut()
	c := b.claimAny(t, "soon")
	b.record("r1", notifier.Result{Claim: c, State: notifier.Sent, Attempt: &notifier.Attempt{Verdict: notifier.VerdictSent}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // more than a service would give it
	defer cancel()
	require.NoError(t, db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < $2)
			INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
			SELECT 'd' || n, 'u' || n, 'android', 'fcm', 'fcm_token', 't' || n, 1, 'active', $1, $1 FROM i`, sqldb.Micros(time.Now()), devices)
		return err
	}))
	best := time.Hour
	for i := range 5 {
		d, err := b.rule("changed").Draft(notifier.Row{
			"event": "e1", "status": strconv.Itoa(i), "rowtime": json.Number(strconv.Itoa(1_700_000_000_001 + i)),
		})
		require.NoError(t, err)
		b.release("changed", d)
		best = min(best, took(b.fanOut))
		require.Equal(t, i+1, b.count(`SELECT COUNT(*) FROM deliveries WHERE rule_id = 'changed'`))
	}
	return best
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
