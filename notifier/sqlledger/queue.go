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

// Rules implements notifier.Queue. It steps from rule to rule along the index
// of the queue instead of reading all that is queued.
func (l *Ledger) Rules(ctx context.Context, lane notifier.LaneID) ([]string, error) {
	rows, err := l.db.SQL().QueryContext(ctx, `WITH RECURSIVE r (rule_id) AS (
		SELECT MIN(rule_id) FROM deliveries WHERE state = 'queued' AND provider = $1 AND urgency = $2
		UNION ALL
		SELECT (SELECT MIN(d.rule_id) FROM deliveries d
			WHERE d.state = 'queued' AND d.provider = $1 AND d.urgency = $2 AND d.rule_id > r.rule_id)
		FROM r WHERE r.rule_id IS NOT NULL)
		SELECT rule_id FROM r WHERE rule_id IS NOT NULL`, lane.Provider, lane.Urgency)
	out, err := collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
	if err != nil {
		return nil, fmt.Errorf("list rules of lane %s: %w", lane, err)
	}
	return out, nil
}

// Claim implements notifier.Queue.
func (l *Ledger) Claim(ctx context.Context, req notifier.ClaimRequest) (out []notifier.Claim, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := l.now()
		until := now + req.Lease.Microseconds()
		rows, err := tx.QueryContext(ctx, `UPDATE deliveries SET state = 'leased', owner = $1, lease_until = $2, claims = claims + 1
			WHERE id IN (SELECT d.id FROM deliveries d
				WHERE d.state = 'queued' AND d.provider = $3 AND d.urgency = $4 AND d.rule_id = $5 AND d.due_at <= $6
				  AND (NOT d.follow_up OR NOT EXISTS (SELECT 1 FROM notifications n JOIN notifications o ON o.thread = n.thread AND o.id < n.id
					JOIN deliveries x ON x.notification_id = o.id AND x.device_id = d.device_id
					WHERE n.id = d.notification_id AND x.state = 'leased'))
				ORDER BY d.due_at, d.id LIMIT $7`+l.db.Dialect().SkipLocked+`)
			RETURNING id, claims`, req.Owner, until, req.Lane.Provider, req.Lane.Urgency, req.Rule, now, req.Limit)
		out, err = collect(rows, err, func(r *sql.Rows) (c notifier.Claim, err error) {
			c.Until = sqldb.Time(until)
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
	rows, err := l.db.SQL().QueryContext(ctx, `SELECT d.id, d.user_id, d.expires_at, d.attempts, d.unknowns,
		n.id, n.rule_id, n.key, n.version, n.version_hash, n.order_value, n.user_id, n.variant, n.category, n.class, n.thread,
		n.source_row, n.due_at, n.created_at,
		COALESCE(v.id, ''), COALESCE(v.user_id, ''), COALESCE(v.platform, ''), COALESCE(v.target_kind, ''), COALESCE(v.target_value, ''),
		COALESCE(v.generation, 0), COALESCE(v.state, ''), COALESCE(v.locale, ''), COALESCE(v.time_zone, ''),
		COALESCE(p.muted, '[]'), COALESCE(p.opted_in, '[]'),
		EXISTS (SELECT 1 FROM notifications x WHERE x.thread = n.thread AND x.id > n.id AND x.state = 'released' AND (n.shadow OR NOT x.shadow)),
		CASE WHEN d.follow_up THEN EXISTS (SELECT 1 FROM notifications o
			JOIN deliveries x ON x.notification_id = o.id AND x.device_id = d.device_id
			WHERE o.thread = n.thread AND o.id < n.id AND x.user_id = d.user_id
			  AND (x.state IN ('sent', 'unconfirmed') OR x.unknowns > 0)) ELSE FALSE END
		FROM `+l.each+` CROSS JOIN deliveries d
		CROSS JOIN notifications n
		LEFT JOIN devices v ON v.id = d.device_id
		LEFT JOIN preferences p ON p.user_id = v.user_id
		WHERE d.id = CAST(j.value ->> 'id' AS BIGINT) AND n.id = d.notification_id`, param)
	out, err := collect(rows, err, func(r *sql.Rows) (notifier.View, error) { return scanView(r, readAt, decoded) })
	if err != nil {
		return nil, fmt.Errorf("read views: %w", err)
	}
	for i := range out {
		out[i].Claim = byID[out[i].Claim.ID]
	}
	return out, nil
}

func scanView(r *sql.Rows, readAt time.Time, decoded map[notifier.NotificationID]notifier.Row) (notifier.View, error) {
	v := notifier.View{ReadAt: readAt}
	var expires, due, created int64
	var row, muted, optedIn, target string
	d := &v.Device
	err := r.Scan(&v.Claim.ID, &v.User, &expires, &v.Attempts, &v.Unknowns,
		&v.Notification.ID, &v.Rule, &v.Key, &v.Version, &v.VersionHash, &v.Order, &v.Notification.User, &v.Variant, &v.Category,
		&v.Class, &v.Thread, &row, &due, &created,
		&d.ID, &d.User, &d.Platform, &d.Target.Kind, &target, &d.Generation, &d.State, &d.Locale, &d.TimeZone,
		&muted, &optedIn, &v.Newer, &v.Told)
	if err != nil {
		return v, err
	}
	d.Target.Value = devices.Secret(target)
	v.ExpiresAt, v.DueAt, v.CreatedAt = sqldb.Time(expires), sqldb.Time(due), sqldb.Time(created)
	v.Draft.ExpiresAt = v.ExpiresAt
	v.Unreadable = errors.Join(
		json.Unmarshal([]byte(muted), &v.Preferences.Muted),
		json.Unmarshal([]byte(optedIn), &v.Preferences.OptedIn),
	)
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
	Counted  int    `json:"counted"`
	Unknown  int    `json:"unknown"`
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

// Record implements notifier.Queue.
func (l *Ledger) Record(ctx context.Context, owner string, results []notifier.Result) (lost int, err error) {
	items := make([]recorded, len(results))
	for i, r := range results {
		items[i] = recorded{
			ID: int64(r.Claim.ID), No: r.Claim.No, State: string(r.State), Reason: r.Reason, DueAt: sqldb.Micros(r.DueAt),
			Provider: string(r.Provider), Counted: bit(r.Counted), Unknown: bit(r.Unknown),
		}
	}
	param, err := batch(items)
	if err != nil {
		return 0, err
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := l.now()
		// The lease is the fence: state, owner and number must still be those of the claim.
		rows, err := tx.QueryContext(ctx, `UPDATE deliveries SET
			state = j.value ->> 'state', reason = j.value ->> 'reason',
			due_at = CASE WHEN j.value ->> 'state' = 'queued' THEN CAST(j.value ->> 'due_at' AS BIGINT) ELSE due_at END,
			provider = CASE WHEN j.value ->> 'provider' = '' THEN provider ELSE j.value ->> 'provider' END,
			attempts = attempts + CAST(j.value ->> 'counted' AS BIGINT), unknowns = unknowns + CAST(j.value ->> 'unknown' AS BIGINT),
			finished_at = CASE WHEN j.value ->> 'state' = 'queued' THEN 0 ELSE $2 END
			FROM `+l.each+`
			WHERE deliveries.id = CAST(j.value ->> 'id' AS BIGINT) AND deliveries.claims = CAST(j.value ->> 'no' AS BIGINT)
			  AND deliveries.owner = $3 AND deliveries.state = 'leased'
			RETURNING deliveries.id`, param, now, owner)
		written, err := collect(rows, err, func(r *sql.Rows) (id notifier.DeliveryID, err error) { return id, r.Scan(&id) })
		if err != nil {
			return fmt.Errorf("update deliveries: %w", err)
		}
		lost = len(results) - len(written)
		return l.attempts(ctx, tx, owner, results, written)
	})
	if err != nil {
		return 0, fmt.Errorf("record results: %w", err)
	}
	return lost, nil
}

func (l *Ledger) attempts(ctx context.Context, tx *sql.Tx, owner string, results []notifier.Result, written []notifier.DeliveryID) error {
	ours := make(map[notifier.DeliveryID]bool, len(written))
	for _, id := range written {
		ours[id] = true
	}
	var items []attempted
	for _, r := range results {
		if a := r.Attempt; a != nil && ours[r.Claim.ID] {
			items = append(items, attempted{
				ID: int64(r.Claim.ID), Generation: a.Generation, StartedAt: sqldb.Micros(a.StartedAt), EndedAt: sqldb.Micros(a.EndedAt),
				Verdict: string(a.Verdict), Code: a.Code, Status: a.Status, ProviderID: a.ProviderID,
			})
		}
	}
	if len(items) == 0 {
		return nil
	}
	param, err := batch(items)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO attempts
		(delivery_id, generation, owner, started_at, ended_at, verdict, code, status, provider_id)
		SELECT CAST(j.value ->> 'id' AS BIGINT), CAST(j.value ->> 'generation' AS BIGINT), $2, CAST(j.value ->> 'started_at' AS BIGINT),
		 CAST(j.value ->> 'ended_at' AS BIGINT), j.value ->> 'verdict', j.value ->> 'code', CAST(j.value ->> 'status' AS BIGINT),
		 j.value ->> 'provider_id' FROM `+l.each+` WHERE TRUE`, param, owner)
	if err != nil {
		return fmt.Errorf("insert attempts: %w", err)
	}
	return nil
}

// Reclaim implements notifier.Queue.
func (l *Ledger) Reclaim(ctx context.Context, limit int) (n int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err = exec(ctx, tx, `UPDATE deliveries SET state = 'queued', due_at = $1, unknowns = unknowns + 1, attempts = attempts + 1
			WHERE id IN (SELECT id FROM deliveries WHERE state = 'leased' AND lease_until <= $1 LIMIT $2`+l.db.Dialect().SkipLocked+`)`,
			l.now(), limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reclaim lapsed leases: %w", err)
	}
	return n, nil
}

// Expire implements notifier.Queue.
func (l *Ledger) Expire(ctx context.Context, limit int) (n int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err = exec(ctx, tx, `UPDATE deliveries SET state = CASE WHEN unknowns > 0 THEN 'unconfirmed' ELSE 'expired' END,
			reason = $3, finished_at = $1
			WHERE id IN (SELECT id FROM deliveries WHERE state = 'queued' AND expires_at <= $1 LIMIT $2`+l.db.Dialect().SkipLocked+`)`,
			l.now(), limit, notifier.ReasonTTL)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("expire deliveries: %w", err)
	}
	return n, nil
}

// CancelQueued ends what is queued for a device, within the transaction that
// changed its owner or deactivated it.
func (l *Ledger) CancelQueued(ctx context.Context, tx *sql.Tx, device devices.ID, reason string) error {
	_, err := tx.ExecContext(ctx, `UPDATE deliveries SET state = 'cancelled', reason = $1, finished_at = $2
		WHERE device_id = $3 AND state = 'queued'`, reason, l.now(), device)
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
