package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// rulesOf steps from rule to rule along the index of the queue instead of
// reading all that is queued.
const rulesOf = `WITH RECURSIVE r (rule_id) AS (
	SELECT MIN(rule_id) FROM deliveries WHERE state = 'queued' AND provider = $1 AND urgency = $2
	UNION ALL
	SELECT (SELECT MIN(d.rule_id) FROM deliveries d
		WHERE d.state = 'queued' AND d.provider = $1 AND d.urgency = $2 AND d.rule_id > r.rule_id)
	FROM r WHERE r.rule_id IS NOT NULL)`

const rulesQuery = rulesOf + ` SELECT r.rule_id FROM r WHERE r.rule_id IS NOT NULL AND ` + notStopped

// dueQuery counts what is due, up to a limit for each rule, along the same index.
// The order says which index that is: another one knows nothing of lanes.
const dueQuery = rulesOf + `
	SELECT COALESCE(SUM((SELECT COUNT(*) FROM (SELECT 1 FROM deliveries d
		WHERE d.state = 'queued' AND d.provider = $1 AND d.urgency = $2 AND d.rule_id = r.rule_id AND d.due_at <= $3
		ORDER BY d.due_at LIMIT $4) AS due)), 0) FROM r WHERE r.rule_id IS NOT NULL AND ` + notStopped

// Rules implements notifier.Queue.
func (l *Ledger) Rules(ctx context.Context, lane notifier.LaneID) ([]string, error) {
	rows, err := l.db.SQL().QueryContext(ctx, rulesQuery, lane.Provider, lane.Urgency)
	out, err := sqldb.Collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
	if err != nil {
		return nil, fmt.Errorf("list rules of lane %s: %w", lane, err)
	}
	return out, nil
}

// claimQuery leases what is due. What is picked is materialized, because a join
// may run a subquery again, which would lock more than the limit.
func (l *Ledger) claimQuery() string {
	return `WITH due AS MATERIALIZED (SELECT d.id FROM deliveries d
		WHERE d.state = 'queued' AND d.provider = $3 AND d.urgency = $4 AND d.rule_id = $5 AND d.due_at <= $6
		  AND (NOT d.follow_up OR NOT EXISTS (SELECT 1 FROM notifications n JOIN notifications o ON o.thread = n.thread AND o.id < n.id
			JOIN deliveries x ON x.notification_id = o.id AND x.device_id = d.device_id
			WHERE n.id = d.notification_id AND ` + besideIndex("x.state") + ` = 'leased'))
		ORDER BY d.due_at, d.id LIMIT $7` + l.db.Dialect().SkipLocked + `)
		UPDATE deliveries SET state = 'leased', owner = $1, lease_until = $2, claims = deliveries.claims + 1 FROM due
		WHERE deliveries.id = due.id
		RETURNING deliveries.id, deliveries.claims`
}

// Backlog implements notifier.Queue. The longest due is found rule by rule, at the
// head of each one's part of the index.
func (l *Ledger) Backlog(ctx context.Context, lane notifier.LaneID) (b notifier.Backlog, err error) {
	var oldest, clock int64
	asked := time.Now()
	err = l.db.SQL().QueryRowContext(ctx, rulesOf+` SELECT
		(SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 'queued' AND provider = $1 AND urgency = $2
			ORDER BY rule_id, due_at LIMIT $3) q),
		COALESCE((SELECT MIN((SELECT MIN(d.due_at) FROM deliveries d
			WHERE d.state = 'queued' AND d.provider = $1 AND d.urgency = $2 AND d.rule_id = r.rule_id)) FROM r WHERE r.rule_id IS NOT NULL), 0),
		`+l.db.Dialect().Clock, lane.Provider, lane.Urgency, notifier.BacklogCounted).Scan(&b.Queued, &oldest, &clock)
	if err != nil {
		return b, fmt.Errorf("read backlog of lane %s: %w", lane, err)
	}
	if clock == 0 {
		clock = sqldb.Micros(asked)
	}
	if oldest != 0 {
		b.Oldest = max(0, time.Duration(clock-oldest)*time.Microsecond)
	}
	return b, nil
}

// Due implements notifier.Queue.
func (l *Ledger) Due(ctx context.Context, lane notifier.LaneID, limit int) (n int, err error) {
	now, err := l.now(ctx, l.db.SQL())
	if err != nil {
		return 0, err
	}
	err = l.db.SQL().QueryRowContext(ctx, dueQuery, lane.Provider, lane.Urgency, now, limit).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count what is due on lane %s: %w", lane, err)
	}
	return min(n, limit), nil
}

// Claim implements notifier.Queue.
func (l *Ledger) Claim(ctx context.Context, req notifier.ClaimRequest) (out []notifier.Claim, err error) {
	// By our own clock, and from before the database's lease begins: ours never ends later.
	until := time.Now().Add(req.Lease)
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, l.claimQuery(), req.Owner, now+req.Lease.Microseconds(), req.Lane.Provider, req.Lane.Urgency, req.Rule, now, req.Limit)
		out, err = sqldb.Collect(rows, err, func(r *sql.Rows) (c notifier.Claim, err error) {
			c.Until = until
			return c, r.Scan(&c.ID, &c.No)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	return out, nil
}

// View implements notifier.Queue.
func (l *Ledger) View(ctx context.Context, claims []notifier.Claim) ([]notifier.View, error) {
	byID := make(map[notifier.DeliveryID]notifier.Claim, len(claims))
	set := make([]notifier.DeliveryID, len(claims))
	for i, c := range claims {
		byID[c.ID], set[i] = c, c.ID
	}
	param, err := ids(set)
	if err != nil {
		return nil, err
	}
	readAt := time.Now()
	decoded := map[notifier.NotificationID]notifier.Row{} // many deliveries share one row
	rows, err := l.db.SQL().QueryContext(ctx, l.viewQuery(), param)
	out, err := sqldb.Collect(rows, err, func(r *sql.Rows) (notifier.View, error) { return scanView(r, readAt, decoded) })
	if err != nil {
		return nil, fmt.Errorf("read views: %w", err)
	}
	for i := range out {
		out[i].Claim = byID[out[i].Claim.ID]
	}
	return out, nil
}

// viewQuery reads all that the gates need in one statement, and so at one moment: a list that
// cannot be read fails the whole of it, and nothing is sent.
func (l *Ledger) viewQuery() string {
	return `SELECT ` + l.db.Dialect().Clock + `, d.id, d.user_id, d.expires_at, d.attempts, d.unknowns,
		n.id, n.rule_id, n.key, n.version, n.version_hash, n.order_value, n.user_id, n.variant, n.category, n.class, n.thread,
		n.source_row, n.due_at, n.created_at,
		COALESCE(v.id, ''), COALESCE(v.user_id, ''), COALESCE(v.platform, ''), COALESCE(v.target_kind, ''), COALESCE(v.target_value, ''),
		COALESCE(v.generation, 0), COALESCE(v.state, ''), COALESCE(v.locale, ''), COALESCE(v.time_zone, ''),
		COALESCE(p.muted, '[]'), COALESCE(p.opted_in, '[]'), COALESCE(p.quiet, ''),
		COALESCE((SELECT f.generation FROM rules_in_force f), ''), COALESCE((SELECT f.since FROM rules_in_force f), 0),
		EXISTS (SELECT 1 FROM notifications x WHERE x.thread = n.thread AND x.id > n.id AND x.state = 'released' AND (n.shadow OR NOT x.shadow)),
		CASE WHEN d.follow_up THEN EXISTS (SELECT 1 FROM notifications o
			JOIN deliveries x ON x.notification_id = o.id AND x.device_id = d.device_id
			WHERE o.thread = n.thread AND o.id < n.id AND x.user_id = d.user_id
			  AND (x.state IN ('sent', 'unconfirmed') OR x.unknowns > 0)) ELSE FALSE END,
		CASE WHEN d.follow_up THEN ` + unchanged + ` ELSE FALSE END,
		(SELECT ` + l.db.Dialect().Objects("s.reason", "s.class", "s.from_at", "s.until_at", "s.set_by", "s.set_at", "s.imported") + `
			FROM (SELECT o.reason, o.class, o.from_at, o.until_at, o.set_by, o.set_at, 0 AS imported FROM suppressions o WHERE o.user_id = d.user_id
				UNION ALL SELECT i.reason, i.class, i.from_at, i.until_at, i.set_by, i.set_at, 1 FROM imported_suppressions i WHERE i.user_id = d.user_id) s),
		EXISTS (SELECT 1 FROM stops t WHERE t.rule_id IN ('', n.rule_id)),
		EXISTS (SELECT 1 FROM suppression_imports i WHERE i.succeeded_at > 0)
		FROM ` + l.records("id BIGINT") + ` CROSS JOIN deliveries d
		CROSS JOIN notifications n
		LEFT JOIN devices v ON v.id = d.device_id
		LEFT JOIN preferences p ON p.user_id = v.user_id
		WHERE d.id = j.id AND n.id = d.notification_id`
}

// unchanged is true of a delivery d of a notification n whose very version was
// sent to its device before, with nothing else told or perhaps told in between: an
// attempt whose outcome is not known leaves open what the user sees.
const unchanged = `EXISTS (SELECT 1 FROM notifications o
	JOIN deliveries x ON x.notification_id = o.id AND x.device_id = d.device_id
	WHERE o.thread = n.thread AND o.id < n.id AND x.user_id = d.user_id AND x.state = 'sent'
	  AND o.rule_id = n.rule_id AND o.identity = n.identity AND o.version_hash = n.version_hash
	  AND NOT EXISTS (SELECT 1 FROM notifications b
		JOIN deliveries y ON y.notification_id = b.id AND y.device_id = d.device_id
		WHERE b.thread = n.thread AND b.id > o.id AND b.id < n.id AND y.user_id = d.user_id
		  AND (y.state IN ('sent', 'unconfirmed') OR y.unknowns > 0)
		  AND (b.rule_id <> n.rule_id OR b.identity <> n.identity OR b.version_hash <> n.version_hash)))`

func scanView(r *sql.Rows, readAt time.Time, decoded map[notifier.NotificationID]notifier.Row) (notifier.View, error) {
	v := notifier.View{ReadAt: readAt}
	var clock, expires, due, created, inForceSince int64
	var row, muted, optedIn, quiet, target, suppressions string
	d := &v.Device
	err := r.Scan(&clock, &v.Claim.ID, &v.User, &expires, &v.Attempts, &v.Unknowns,
		&v.Notification.ID, &v.Rule, &v.Key, &v.Version, &v.VersionHash, &v.Order, &v.Notification.User, &v.Variant, &v.Category,
		&v.Class, &v.Thread, &row, &due, &created,
		&d.ID, &d.User, &d.Platform, &d.Target.Kind, &target, &d.Generation, &d.State, &d.Locale, &d.TimeZone,
		&muted, &optedIn, &quiet, &v.RulesInForce, &inForceSince, &v.Newer, &v.Told, &v.Unchanged, &suppressions, &v.Stopped, &v.Imported)
	if err != nil {
		return v, err
	}
	d.Target.Value = devices.Secret(target)
	if clock != 0 {
		v.Skew = sqldb.Time(clock).Sub(readAt)
	}
	v.ExpiresAt, v.DueAt, v.CreatedAt = sqldb.Time(expires), sqldb.Time(due), sqldb.Time(created)
	v.Draft.ExpiresAt, v.RulesInForceSince = v.ExpiresAt, sqldb.Time(inForceSince)
	if v.Suppressions, err = suppressionsOf(v.User, suppressions); err != nil {
		return v, err // no delivery's own fault: it waits until the list makes sense
	}
	v.Unreadable = errors.Join(
		json.Unmarshal([]byte(muted), &v.Preferences.Muted),
		json.Unmarshal([]byte(optedIn), &v.Preferences.OptedIn),
	)
	if quiet != "" {
		v.Unreadable = errors.Join(v.Unreadable, json.Unmarshal([]byte(quiet), &v.Preferences.Quiet))
	}
	var known bool
	if v.Row, known = decoded[v.Notification.ID]; !known {
		dec := json.NewDecoder(strings.NewReader(row))
		dec.UseNumber() // BIGINT and DECIMAL stay exact
		if err := dec.Decode(&v.Row); err != nil {
			v.Unreadable = errors.Join(v.Unreadable, err)
			return v, nil
		}
		decoded[v.Notification.ID] = v.Row
	}
	return v, nil
}

// recorded is a result on its way in.
type recorded struct {
	ID       int64  `json:"id"`
	No       int64  `json:"no"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	DueAt    int64  `json:"due_at"`
	Provider string `json:"provider"`
	Counted  int    `json:"counted"`  // 0 or 1, to be added
	Unknown  int    `json:"unknowns"` // likewise
}

// attempted is an attempt on its way in.
type attempted struct {
	ID         int64  `json:"id"`
	Generation int64  `json:"generation"`
	StartedAt  int64  `json:"started_at"`
	EndedAt    int64  `json:"ended_at"`
	Verdict    string `json:"verdict"`
	Code       string `json:"code"`
	Status     int    `json:"status"`
	ProviderID string `json:"provider_id"`
}

// recordQuery writes results where the lease, which is the fence, still holds:
// state, owner and number must be those of the claim. The index of what is leased
// is no way to the rows, because every claim leaves a dead entry in it.
func (l *Ledger) recordQuery() string {
	return `UPDATE deliveries SET
		state = j.state, reason = j.reason,
		due_at = CASE WHEN j.state = 'queued' THEN j.due_at ELSE deliveries.due_at END,
		provider = CASE WHEN j.provider = '' THEN deliveries.provider ELSE j.provider END,
		attempts = deliveries.attempts + j.counted, unknowns = deliveries.unknowns + j.unknowns,
		finished_at = CASE WHEN j.state = 'queued' THEN 0 ELSE CAST($2 AS BIGINT) END
		FROM ` + l.records("id BIGINT", "no BIGINT", "state TEXT", "reason TEXT", "due_at BIGINT", "provider TEXT", "counted BIGINT", "unknowns BIGINT") + `
		WHERE deliveries.id = j.id AND deliveries.claims = j.no
		  AND deliveries.owner = $3 AND ` + besideIndex("deliveries.state") + ` = 'leased'
		RETURNING deliveries.id`
}

// Record implements notifier.Queue.
func (l *Ledger) Record(ctx context.Context, owner string, results []notifier.Result) (lost int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		// The dispatcher speaks by its own clock, the queue goes by the database's.
		skew := time.Until(sqldb.Time(now)).Truncate(time.Millisecond)
		items := make([]recorded, len(results))
		for i, r := range results {
			items[i] = recorded{
				ID: int64(r.Claim.ID), No: r.Claim.No, State: string(r.State), Reason: storable(r.Reason), DueAt: shifted(r.DueAt, skew),
				Provider: string(r.Provider), Counted: bit(r.Counted), Unknown: bit(r.Unknown),
			}
		}
		param, err := sqldb.Batch(items)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, l.recordQuery(), param, now, owner)
		written, err := sqldb.Collect(rows, err, func(r *sql.Rows) (id notifier.DeliveryID, err error) { return id, r.Scan(&id) })
		if err != nil {
			return fmt.Errorf("update deliveries: %w", err)
		}
		lost = len(results) - len(written)
		if err := l.attempts(ctx, tx, owner, results, written, skew); err != nil {
			return err
		}
		if err := l.giveBack(ctx, tx, results, written); err != nil {
			return err
		}
		return l.noteStopped(ctx, tx, results, written)
	})
	if err != nil {
		return 0, fmt.Errorf("record results: %w", err)
	}
	return lost, nil
}

// shifted is a time by the database's clock, 0 for the zero time.
func shifted(t time.Time, skew time.Duration) int64 {
	if t.IsZero() {
		return 0
	}
	return sqldb.Micros(t.Add(skew))
}

func (l *Ledger) attempts(
	ctx context.Context, tx *sql.Tx, owner string, results []notifier.Result, written []notifier.DeliveryID, skew time.Duration,
) error {
	ours := make(map[notifier.DeliveryID]bool, len(written))
	for _, id := range written {
		ours[id] = true
	}
	var items []attempted
	for _, r := range results {
		if a := r.Attempt; a != nil && ours[r.Claim.ID] {
			items = append(items, attempted{
				ID: int64(r.Claim.ID), Generation: a.Generation, StartedAt: shifted(a.StartedAt, skew), EndedAt: shifted(a.EndedAt, skew),
				Verdict: string(a.Verdict), Code: storable(a.Code), Status: a.Status, ProviderID: storable(a.ProviderID),
			})
		}
	}
	if len(items) == 0 {
		return nil
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO attempts
		(delivery_id, generation, owner, started_at, ended_at, verdict, code, status, provider_id)
		SELECT j.id, j.generation, $2, j.started_at, j.ended_at, j.verdict, j.code, j.status, j.provider_id
		FROM `+l.records("id BIGINT", "generation BIGINT", "started_at BIGINT", "ended_at BIGINT", "verdict TEXT", "code TEXT", "status BIGINT",
		"provider_id TEXT")+` WHERE TRUE`, param, owner)
	if err != nil {
		return fmt.Errorf("insert attempts: %w", err)
	}
	return nil
}

func (l *Ledger) reclaimQuery() string {
	return `UPDATE deliveries SET state = 'queued', due_at = $1, unknowns = unknowns + 1, attempts = attempts + 1
		WHERE id IN (SELECT id FROM deliveries WHERE state = 'leased' AND lease_until <= $1 LIMIT $2` + l.db.Dialect().SkipLocked + `)`
}

// Reclaim implements notifier.Queue.
func (l *Ledger) Reclaim(ctx context.Context, limit int) (n int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		n, err = sqldb.Exec(ctx, tx, l.reclaimQuery(), now, limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reclaim lapsed leases: %w", err)
	}
	return n, nil
}

// Disown implements notifier.Queue. A lease that has lapsed is left to Reclaim:
// what became of it is not known.
func (l *Ledger) Disown(ctx context.Context, owner string, lane notifier.LaneID, held []notifier.DeliveryID) (n int, err error) {
	param, err := ids(held)
	if err != nil {
		return 0, err
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		n, err = sqldb.Exec(ctx, tx, `UPDATE deliveries SET state = 'queued', due_at = $2
			WHERE state = 'leased' AND lease_until > $2 AND owner = $3 AND provider = $4 AND urgency = $5 AND id NOT IN `+l.idSet(),
			param, now, owner, lane.Provider, lane.Urgency)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("disown deliveries: %w", err)
	}
	return n, nil
}

func (l *Ledger) expireQuery() string {
	return `UPDATE deliveries SET state = CASE WHEN unknowns > 0 THEN 'unconfirmed' ELSE 'expired' END, finished_at = $1,
		reason = CASE WHEN EXISTS (SELECT 1 FROM stops s WHERE s.rule_id IN ('', deliveries.rule_id)) THEN $3
			WHEN reason = $4 AND NOT EXISTS (SELECT 1 FROM suppression_imports i WHERE i.succeeded_at > 0) THEN $4 ELSE $5 END
		WHERE id IN (SELECT id FROM deliveries WHERE state = 'queued' AND expires_at > 0 AND expires_at <= $1 LIMIT $2` + l.db.Dialect().SkipLocked + `)
		RETURNING reason`
}

// Expire implements notifier.Queue.
func (l *Ledger) Expire(ctx context.Context, limit int) (ended map[notifier.Reason]int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		ended = map[notifier.Reason]int{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, l.expireQuery(), now, limit, notifier.ReasonStopped, notifier.ReasonNotImported, notifier.ReasonTTL)
		found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (s notifier.Reason, err error) { return s, r.Scan(&s) })
		for _, reason := range found {
			ended[reason]++
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("expire deliveries: %w", err)
	}
	return ended, nil
}

// CancelQueued ends what is queued for a device, within the transaction that
// changed its owner or deactivated it.
func (l *Ledger) CancelQueued(ctx context.Context, tx *sql.Tx, device devices.ID, reason string) error {
	now, err := l.now(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE deliveries SET state = 'cancelled', reason = $1, finished_at = $2
		WHERE device_id = $3 AND device_id <> '' AND state = 'queued'`, reason, now, device)
	if err != nil {
		return fmt.Errorf("cancel deliveries of device: %w", err)
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
