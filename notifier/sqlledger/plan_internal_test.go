package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// planCase is a statement, and the indexes that its plan must name.
type planCase struct {
	query string
	args  []any
	want  []string
}

var errUndo = errors.New("undo")

// planRows is how many rows the tables have whose plans are looked at. docs/scale.md
// has those at a million: go test ./notifier/sqlledger -count=1 -parallel 1 -run NoStatement -v -args -rows 1000000.
var planRows = flag.Int("rows", 150_000, "rows of the tables whose plans are looked at")

// planStep is how many of them one statement makes: a session's statements are bounded.
const planStep = 100_000

// The queue must cost the same however much has been sent before: every statement
// of the hot path steps down an index.
func TestNoStatementOfTheQueueScansATableOnPostgres(t *testing.T) {
	t.Parallel()
	l := New(sqldbtest.Postgres(t))
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	rows := *planRows
	for _, query := range []string{
		`INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
			SELECT 'd' || i, 'u' || i, 'android', 'fcm', 'fcm_token', 't' || i, 1, 'active', 1, 1 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO notifications (rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at, released_at, fanned_at, seen_at)
			SELECT 'r', 'k' || i, 1, 'h', 1, i % 10 > 0, 'th' || i, FALSE, 'user', 'u' || i, 'win', 'service', 'high', 'released', 1, '{}', 9, i, 1, 1, i
			FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at, finished_at)
			SELECT i, 'd' || i, 'u' || i, 'r', 'fcm', 'high', FALSE, 'sent', i, 9, i, 9 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO deliveries (notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
			SELECT i, 'd' || i + 1, 'u' || i, 'r', 'fcm', 'high', FALSE, 'queued', i, 9, i FROM generate_series(CAST($1 AS BIGINT), $2) i WHERE i <= (SELECT COUNT(*) FROM notifications) / 10`,
		`INSERT INTO preferences (user_id, updated_at) SELECT 'u' || i, 1 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO suppressions (user_id, reason, class, set_by, set_at)
			SELECT 'u' || i, 'cool_off', 'service', 'x', 1 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO imported_suppressions (user_id, reason, class, set_by, set_at)
			SELECT 'u' || i, 'cool_off', 'service', 'x', 1 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO frequency (user_id, notification_id, category, class, verdict, at)
			SELECT 'u' || i, i, 'race', 'marketing', 'admitted', i FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO inbox_reads (user_id, notification_id, read_at) SELECT 'u' || i, i, i FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict, code, status)
			SELECT i, 1, 'x', i, i, 'sent', '', 200 FROM generate_series(CAST($1 AS BIGINT), $2) i`,
		`INSERT INTO runs (rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at, planned)
			SELECT 'r', i, 'released', FALSE, 0, 0, 'g', 'x', 0, 1, CASE WHEN i % 1000 = 0 THEN i ELSE 0 END FROM generate_series(CAST($1 AS BIGINT), $2) i`,
	} {
		for first := 1; first <= rows; first += planStep {
			require.NoError(t, l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, query, first, min(rows, first+planStep-1))
				return err
			}))
		}
	}
	_, err := l.db.SQL().ExecContext(ctx, `ANALYZE`)
	require.NoError(t, err)

	skip := l.db.Dialect().SkipLocked
	requeued := notifier.RequeueFilter{Rule: "r", State: notifier.Rejected, Limit: 500}
	further := notifier.RequeueFilter{Rule: "r", After: &notifier.RequeueCursor{CreatedAt: sqldb.Time(2), ID: 7}, Limit: 500}
	bound := func(s *statement) string { return s.sql.String() }
	cases := map[string]planCase{
		"claim":             {l.claimQuery(), []any{"me", 1, "fcm", "high", "r", 5000, 250}, []string{"using deliveries_queue", "using deliveries_pkey"}},
		"view":              {l.viewQuery(), []any{viewIDs()}, []string{"suppressions_pkey", "imported_suppressions_pkey", "deliveries_pkey", "notifications_pkey", "devices_pkey", "preferences_pkey"}},
		"record":            {l.recordQuery(), []any{`[{"id":1,"no":1,"state":"sent"}]`, 1, "me"}, []string{"using deliveries_pkey"}},
		"frequency":         {l.frequencyQuery(), []any{`[{"user_id":"u1","notification_id":1},{"user_id":"u2","notification_id":2}]`, 1000}, []string{"frequency_pkey", "frequency_admitted"}},
		"give back":         {l.giveBackQuery(), []any{`[{"user_id":"u1","notification_id":1}]`}, []string{"frequency_pkey", "Index Cond: (user_id = frequency.user_id)"}},
		"old verdicts":      {oldFrequency + skip, []any{1000, 500}, []string{"frequency_at"}},
		"reclaim":           {l.reclaimQuery(), []any{5, 1000}, []string{"using deliveries_leased"}},
		"expire":            {l.expireQuery(), []any{5, 1000, "stopped", "not_imported", "ttl"}, []string{"using deliveries_expiry"}},
		"fan out":           {fanQuery(notifier.AudienceAll, true), []any{10, 1, "d14", "d1401"}, []string{"devices_pkey", "notifications_pkey"}},
		"follow":            {fanQuery(notifier.AudienceFollows, true), []any{10, 1, "d1", "d9"}, []string{"notifications_thread", "deliveries_notification_id_device_id_key"}},
		"history":           {largestQuery, []any{"r", 20}, []string{"runs_planned"}},
		"due":               {dueQuery, []any{"fcm", "high", 5000, 500}, []string{"deliveries_queue"}},
		"old deliveries":    {oldDeliveries + skip, []any{1000, 500}, []string{"deliveries_created"}},
		"replaced versions": {replacedVersions + skip, []any{1000, 500}, []string{"notifications_replaced"}},
		"unseen keys":       {unseenKeys + skip, []any{"r", 1000, 10, 500}, []string{"notifications_seen"}},
		"unreleased":        {unreleasedQuery, []any{10}, []string{"notifications_provisional"}},
		"rules queued":      {rulesQuery, []any{"fcm", "high"}, []string{"deliveries_queue"}},
		"undelivered":       {bound(undeliveredStatement("u7", 9, 0, 50)), undeliveredStatement("u7", 9, 0, 50).args, []string{"notifications_user", "deliveries_notification_id_device_id_key"}},
		"requeue":           {bound(l.requeueUpdate(requeued, 5)), l.requeueUpdate(requeued, 5).args, []string{"deliveries_unsent"}},
		"requeue further":   {bound(l.requeueUpdate(further, 5)), l.requeueUpdate(further, 5).args, []string{"deliveries_unsent"}},
		"requeue counted":   {bound(requeueCount(requeued, 5, true)), requeueCount(requeued, 5, true).args, []string{"deliveries_unsent"}},
		"cancel of a user":  {cancelOfUser(), []any{notifier.ReasonErased, 1, "u7"}, []string{"deliveries_user"}},
		"ended of a user":   {endedOfUser + skip, []any{"u7", 500}, []string{"deliveries_user"}},
	}
	for _, step := range eraseSteps() {
		cases["erase "+step.kind] = planCase{step.query, []any{"u7", 500}, map[string][]string{
			"notifications": {"notifications_user"}, "inbox_reads": {"inbox_reads_pkey"}, "frequency": {"frequency_pkey"},
		}[step.kind]}
	}
	for _, table := range userTables() {
		cases["export "+table.kind] = planCase{table.query, []any{"u7"}, nil}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var plan string
			require.ErrorIs(t, l.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				rows, err := tx.QueryContext(ctx, `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) `+c.query, c.args...)
				lines, err := sqldb.Collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
				require.NoError(t, err)
				plan = strings.Join(lines, "\n")
				return errUndo
			}), errUndo)
			t.Log(plan)
			require.NotRegexp(t, `Seq Scan on (deliveries|devices|notifications|suppressions|imported_suppressions|preferences|frequency|inbox_reads|attempts)`, plan, plan)
			if name != "expire" {
				require.NotContains(t, plan, "deliveries_expiry", plan)
			}
			for _, want := range c.want {
				require.Contains(t, plan, want)
			}
		})
	}
}

// viewIDs is a batch of deliveries as a claim makes it.
func viewIDs() string {
	set := make([]notifier.DeliveryID, 64)
	for i := range set {
		set[i] = notifier.DeliveryID(i + 1)
	}
	text, _ := ids(set) // numbers only
	return text
}
