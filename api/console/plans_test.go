package console_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

const (
	// manyRows is how many rows lie behind the pages.
	manyRows = 10_000
	// rowsOfStatement bounds what one statement for a page may read, in rows: the newest thousand bad
	// rows, among which a user is looked for, and some pages of others.
	rowsOfStatement = 1200
	// statementsOfPage bounds how many statements a page asks: that must not grow with what it lists.
	statementsOfPage = 20
)

// pagesOf are the addresses that are looked at for each route with a page, those
// that have most behind them and those of the pages that follow.
func pagesOf() map[string][]string {
	crowd := "2020-01-01T00:00"
	return map[string][]string{
		"/":                   {"/"},
		"/live":               {"/live"},
		"/rules":              {"/rules"},
		"/rules/{id}":         {"/rules/bet-settled"},
		"/rules/{id}/preview": {"/rules/bet-settled/preview"},
		"/runs": {
			"/runs", "/runs?before=5000", "/runs?rule=bet-settled", "/runs?rule=bet-settled&state=released", "/runs?state=held", "/runs?state=failed&rule=bet-settled",
		},
		"/runs/{id}":          {"/runs/12", "/runs/15", "/runs/15?after=5000"},
		"/bad-rows":           {"/bad-rows", "/bad-rows?rule=bet-settled", "/bad-rows?at=5000&after_rule=bet-settled&hash=h-5000", "/bad-rows?rule=bet-settled&at=5000&hash=h-5000"},
		"/notifications/{id}": {"/notifications/41", "/notifications/41?user=crowd", "/notifications/41?device=d-5000", "/notifications/41?after=d-5000", "/notifications/15000"},
		"/deliveries": {
			"/deliveries", "/deliveries?at=5000&delivery=5000", "/deliveries?rule=bet-settled", "/deliveries?state=rejected", "/deliveries?state=rejected&rule=bet-settled&reason=QUOTA",
			"/deliveries?rule=bet-settled&provider=fcm&since=" + crowd,
		},
		"/deliveries/requeue": {"/deliveries/requeue?state=rejected", "/deliveries/requeue?rule=bet-settled&reason=QUOTA"},
		"/deliveries/{id}":    {"/deliveries/7"},
		"/users": {
			"/users", "/users?id=ann", "/users?id=busy", "/users?id=busy&at=5000000&delivery=15000&notification=20000", "/users?id=lonely", "/users?id=lonely&notification=20001",
			"/users?id=u-5000", "/users?id=nobody", "/users?id=d-5000",
		},
		"/suppressions": {
			"/suppressions", "/suppressions?after_user=u-5000&after_reason=cool_off", "/suppressions?user=u-5000", "/suppressions?reason=cool_off",
		},
		"/push": {"/push", "/push?device=d-5000"},
		"/audit": {
			"/audit", "/audit?before=5000", "/audit?actor=bob", "/audit?action=pause", "/audit?subject=rule/r-5000", "/audit?actor=bob&action=pause",
			"/audit?since=2020-01-01T00:00", "/audit?until=1970-01-01T01:00", "/audit?since=1970-01-01T01:00&until=1970-01-01T02:00&actor=bob",
		},
		"/audit/export": {"/audit/export?subject=rule/r-5000", "/audit/export?actor=bob&since=1970-01-07T20:00"},
		"/presence": {
			"/presence", "/presence?client=u-5000", "/presence?channel=ch-5", "/presence?page=Page", "/presence?page=Page&channel=ch-5",
			"/presence?after_client=u-5000&after_channel=ch&after_connection=c",
		},
	}
}

// fill puts that many rows behind everything, and all of it behind the same few:
// one user who was told it all and one who was told nothing, one notification to
// everybody, one run, one rule, one thread.
func (w *world) fill(t testing.TB) {
	t.Helper()
	later := time.Now().Add(time.Hour).UnixMicro()
	for _, query := range []string{
		`INSERT INTO devices (id, user_id, platform, provider, target_kind, target_value, generation, state, activated_at, updated_at)
			SELECT 'd-' || i, 'u-' || i, 'android', 'fcm', 'fcm_token', 't-' || i, 1, 'active', 1, 1 FROM n`,
		`INSERT INTO preferences (user_id, updated_at) SELECT 'u-' || i, 1 FROM n`,
		`INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at, planned)
			SELECT 100 + i, 'bet-settled', i, CASE WHEN i % 3 = 0 THEN 'held' WHEN i % 3 = 1 THEN 'failed' ELSE 'released' END, FALSE, 0, 0, 'g', 'x', 0, 1, 0 FROM n`,
		`INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at, released_at, fanned_at)
			SELECT 10000 + 2 * i, 'bet-settled', 'busy-' || i, 1, 'h', 1, TRUE, 'busy-' || (i / 5), FALSE, 'user', 'busy', 'win', 'transactional', 'high', 'released', 15, '{}', $1 + 0 * i, i * 1000, i * 1000, 1 FROM n`,
		`INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at)
			SELECT 10001 + 2 * i, 'bet-settled', 'lonely-' || i, 1, 'h', 1, TRUE, 'lonely-' || i, FALSE, 'user', 'lonely', 'win', 'transactional', 'high', 'held', 100 + i, '{}', $1 + 0 * i, i * 1000 FROM n`,
		`INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
			SELECT 10000 + i, 10000 + 2 * i, 'd-busy', 'busy', 'bet-settled', 'fcm', 'high', FALSE, 'sent', '', 1, $1 + 0 * i, i * 1000, 1 FROM n`,
		`INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
			SELECT 30000 + i, 41, 'd-' || i, 'crowd', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', 'QUOTA', 1, $1 + 0 * i, i * 1000, 1 FROM n`,
		`INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict) SELECT 10000 + i, 1, 'x', 1, 1, 'sent' FROM n`,
		`INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict) SELECT 30000 + i, 1, 'x', 1, 1, 'rejected' FROM n`,
		`INSERT INTO suppressions (user_id, reason, class, set_by, set_at) SELECT 'u-' || i, 'cool_off', 'service', 'x', 1 FROM n`,
		`INSERT INTO imported_suppressions (user_id, reason, class, set_by, set_at) SELECT 'u-' || i, 'cool_off', 'service', 'x', 1 FROM n`,
		`INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id)
			SELECT i * 60000000, 'bob', 'pause', 'rule/r-' || i, 'null', '{}', 'q' FROM n`,
		`INSERT INTO frequency (user_id, notification_id, category, class, verdict, at) SELECT 'busy', i, 'race', 'marketing', 'admitted', i FROM n`,
		`INSERT INTO presence (client_id, channel, connection_id, page, here, since, seen_at, serial, expires_at)
			SELECT 'u-' || i, 'ch-' || (i % 10), 'c', 'Page', TRUE, 1, 1, 1, $1 + 0 * i FROM n`,
		`INSERT INTO bad_rows (rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen) SELECT 'bet-settled', 'h-' || i, 'null_key', '', '{}', 1, i, i FROM n`,
	} {
		var args []any
		if strings.Contains(query, "$1") {
			args = []any{later}
		}
		into, from, _ := strings.Cut(query, "SELECT ")
		w.exec(t, into+`WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT `+from, args...)
	}
	if w.db.Dialect().Name != "sqlite" {
		w.analyze(t)
	}
}

// analyze does what PostgreSQL does by itself after a while.
func (w *world) analyze(t testing.TB) {
	t.Helper()
	_, err := w.db.SQL().ExecContext(t.Context(), `ANALYZE`)
	require.NoError(t, err)
}

// The more there is, the longer nothing takes: every statement of every page
// steps down an index or stops at a limit, and no page asks one for each row that
// it shows. go test ./api/console -run NoPageReads -v shows the plans.
func TestNoPageReadsMoreThanItShows(t *testing.T) {
	t.Parallel()
	// What has few rows by its nature, or is no table: what a statement brings along, and inner queries.
	limited := regexp.MustCompile(`\bLIMIT \$?\d+\b`)
	small := []string{"replicas", "rules_in_force", "stops", "rule_controls", "watermarks", "suppression_imports", "b", "f", "i", "s", "j", "json_each", "CONSTANT", "(subquery-1)", "(subquery-2)", "c"}
	for _, kind := range sqldbtest.Databases(t) {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			db, watch := kind.Watch(t)
			w := newWorldOn(t, db, time.Hour) // no samples and no stream in between
			w.fill(t)
			b := w.signedIn(t)
			pages := pagesOf()
			seen := map[string]bool{}
			var wrong []string
			for _, rt := range consoleRoutes(t, w) {
				// The stream sends what the overview shows.
				if rt.method != http.MethodGet || isOpen(rt.pattern) || rt.pattern == "/live/stream" {
					continue
				}
				require.NotEmpty(t, pages[rt.pattern], "the page of %s is to be looked at too", rt.pattern)
				for _, address := range pages[rt.pattern] {
					began := time.Now()
					statements := watch.During(func() {
						res, body := b.get(t, address)
						require.Contains(t, []int{http.StatusOK, http.StatusSeeOther}, res.StatusCode, "%s: %s", address, text(body))
					})
					t.Logf("%s: %d statements in %s", address, len(statements), time.Since(began).Round(time.Millisecond))
					require.LessOrEqual(t, len(statements), statementsOfPage, address)
					for _, s := range statements {
						sqlText := strings.Join(strings.Fields(s.SQL), " ")
						require.Regexp(t, `^(SELECT|WITH)\b`, sqlText, "%s: a page changes nothing", address)
						shape := sqlText + "\n" + address
						if seen[shape] {
							continue
						}
						seen[shape] = true
						p := sqldbtest.Explain(t, db, s)
						told := address + "\n" + sqlText + "\n" + p.Text
						t.Log(told)
						ends := limited.MatchString(sqlText) && !p.Sorts
						if strings.Contains(sqlText, "COUNT(") && ends {
							// It reads what it counts, in at most two tables, until the count ends.
							require.LessOrEqual(t, p.Rows, 3*manyRows+rowsOfStatement, told)
							continue
						}
						if p.Rows > rowsOfStatement {
							wrong = append(wrong, "too much is read: "+told)
						}
						for _, table := range p.Scans {
							if !slices.Contains(small, table) && !ends {
								wrong = append(wrong, table+" is read as a whole: "+told)
							}
						}
					}
				}
			}
			require.Empty(t, strings.Join(wrong, "\n"))
		})
	}
}
