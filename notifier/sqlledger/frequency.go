package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// reserveUsers is how many requests one transaction decides: each locks its user, and PostgreSQL
// has room for some thousands of locks.
const reserveUsers = 200

// The verdicts as they are stored.
const (
	verdictAdmitted = "admitted"
	verdictDropped  = "dropped"
	verdictExpired  = "expired"
)

// frequencyRow is a verdict as the database has it.
type frequencyRow struct {
	User         devices.UserID          `json:"user_id"`
	Notification notifier.NotificationID `json:"notification_id"`
	Category     string                  `json:"category"`
	Class        notifier.Class          `json:"class"`
	Verdict      string                  `json:"verdict"`
	At           int64                   `json:"-"`
}

// Reserve implements notifier.FrequencyLedger.
func (l *Ledger) Reserve(
	ctx context.Context, caps notifier.FrequencyCaps, requests []notifier.FrequencyRequest,
) ([]notifier.FrequencyVerdict, error) {
	out := make([]notifier.FrequencyVerdict, 0, len(requests))
	for part := range slices.Chunk(requests, reserveUsers) {
		verdicts, err := l.reserve(ctx, caps, part)
		if err != nil {
			return nil, fmt.Errorf("reserve: %w", err)
		}
		out = append(out, verdicts...)
	}
	return out, nil
}

func (l *Ledger) reserve(
	ctx context.Context, caps notifier.FrequencyCaps, requests []notifier.FrequencyRequest,
) (out []notifier.FrequencyVerdict, err error) {
	users := make([]string, len(requests))
	for i, r := range requests {
		users[i] = "frequency " + string(r.User)
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out = make([]notifier.FrequencyVerdict, len(requests))
		if err := l.db.LockAll(ctx, tx, users); err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		decided, before, err := l.frequencyOf(ctx, tx, requests, now-caps.Window().Microseconds())
		if err != nil {
			return err
		}
		var news []frequencyRow
		for i, r := range requests {
			key := notifier.FrequencyKey{User: r.User, Notification: r.Notification}
			if v, ok := decided[key]; ok {
				out[i] = v
				continue
			}
			v := caps.Admit(sqldb.Time(now), r, before[r.User])
			out[i] = v
			if !v.Until.IsZero() {
				continue // nothing is decided yet
			}
			decided[key] = v
			row := frequencyRow{User: r.User, Notification: r.Notification, Category: r.Category, Class: r.Class, Verdict: verdictName(v)}
			news = append(news, row)
			if row.Verdict == verdictAdmitted {
				before[r.User] = append(before[r.User], notifier.Admitted{Category: r.Category, Class: r.Class, At: sqldb.Time(now)})
			}
		}
		if len(news) == 0 {
			return nil
		}
		param, err := sqldb.Batch(news)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO frequency (user_id, notification_id, category, class, verdict, at)
			SELECT j.user_id, j.notification_id, j.category, j.class, j.verdict, $2
			FROM `+l.records("user_id TEXT", "notification_id BIGINT", "category TEXT", "class TEXT", "verdict TEXT")+` WHERE TRUE`, param, now)
		if err != nil {
			return fmt.Errorf("write verdicts: %w", err)
		}
		return nil
	})
	return out, err
}

// frequencyQuery reads what was decided about the requests, and what counts for their users since
// $2. Of what was refused, and of what counts no more, a user may have much: it is not read.
func (l *Ledger) frequencyQuery() string {
	records := l.records("user_id TEXT", "notification_id BIGINT")
	const columns = `f.user_id, f.notification_id, f.category, f.class, f.verdict, f.at`
	return `SELECT ` + columns + ` FROM ` + records + ` CROSS JOIN frequency f
		WHERE f.user_id = j.user_id AND f.notification_id = j.notification_id
		UNION SELECT ` + columns + ` FROM (SELECT DISTINCT j.user_id FROM ` + records + `) u CROSS JOIN frequency f
		WHERE f.user_id = u.user_id AND f.verdict = 'admitted' AND f.at > $2`
}

// frequencyOf returns what was decided about the requests, and what each of their users was told since.
func (l *Ledger) frequencyOf(
	ctx context.Context, tx *sql.Tx, requests []notifier.FrequencyRequest, since int64,
) (map[notifier.FrequencyKey]notifier.FrequencyVerdict, map[devices.UserID][]notifier.Admitted, error) {
	wanted := make(map[notifier.FrequencyKey]bool, len(requests))
	keys := make([]frequencyRow, len(requests))
	for i, r := range requests {
		wanted[notifier.FrequencyKey{User: r.User, Notification: r.Notification}] = true
		keys[i].User, keys[i].Notification = r.User, r.Notification
	}
	param, err := sqldb.Batch(keys)
	if err != nil {
		return nil, nil, err
	}
	rows, err := tx.QueryContext(ctx, l.frequencyQuery(), param, since)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (f frequencyRow, err error) {
		return f, r.Scan(&f.User, &f.Notification, &f.Category, &f.Class, &f.Verdict, &f.At)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read verdicts: %w", err)
	}
	decided := map[notifier.FrequencyKey]notifier.FrequencyVerdict{}
	before := map[devices.UserID][]notifier.Admitted{}
	for _, f := range found {
		if key := (notifier.FrequencyKey{User: f.User, Notification: f.Notification}); wanted[key] {
			decided[key] = verdictOf(f.Verdict)
		}
		if f.Verdict == verdictAdmitted && f.At > since {
			before[f.User] = append(before[f.User], notifier.Admitted{Category: f.Category, Class: f.Class, At: sqldb.Time(f.At)})
		}
	}
	return decided, before, nil
}

func verdictName(v notifier.FrequencyVerdict) string {
	switch v.State {
	case notifier.Suppressed:
		return verdictDropped
	case notifier.Expired:
		return verdictExpired
	default:
		return verdictAdmitted
	}
}

func verdictOf(name string) notifier.FrequencyVerdict {
	switch name {
	case verdictAdmitted:
		return notifier.FrequencyVerdict{}
	case verdictExpired:
		return notifier.FrequencyVerdict{State: notifier.Expired}
	default:
		return notifier.FrequencyVerdict{State: notifier.Suppressed}
	}
}

// giveBackQuery takes back what was counted for notifications of which no device of the user was
// told after all, may have been, or still can be. It goes by the user, who has few deliveries; the
// notification may have millions.
func (l *Ledger) giveBackQuery() string {
	return `DELETE FROM frequency WHERE ` + besideIndex("verdict") + ` = 'admitted'
		AND (user_id, notification_id) IN (SELECT j.user_id, j.notification_id FROM ` + l.records("user_id TEXT", "notification_id BIGINT") + `)
		AND NOT EXISTS (SELECT 1 FROM deliveries x WHERE x.user_id = frequency.user_id AND x.notification_id + 0 = frequency.notification_id
			AND (x.unknowns > 0 OR x.state IN ('queued', 'leased', 'sent', 'unconfirmed')))`
}

// giveBack makes room again for what was admitted and not sent.
func (l *Ledger) giveBack(ctx context.Context, tx *sql.Tx, results []notifier.Result, written []notifier.DeliveryID) error {
	var rows []frequencyRow
	for _, r := range results {
		if r.Unused != nil && slices.Contains(written, r.Claim.ID) {
			rows = append(rows, frequencyRow{User: r.Unused.User, Notification: r.Unused.Notification})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	param, err := sqldb.Batch(rows)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, l.giveBackQuery(), param); err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	return nil
}

// oldFrequency picks verdicts that count nowhere any more, oldest first.
const oldFrequency = `SELECT user_id, notification_id FROM frequency WHERE at < $1 ORDER BY at LIMIT $2`

// RemoveFrequency implements notifier.RetentionLedger.
func (l *Ledger) RemoveFrequency(ctx context.Context, keep time.Duration, limit int) (r notifier.Removed, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = notifier.Removed{}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		r.Frequency, err = sqldb.Exec(ctx, tx, `DELETE FROM frequency WHERE (user_id, notification_id) IN (`+oldFrequency+l.db.Dialect().SkipLocked+`)`,
			now-keep.Microseconds(), limit)
		r.More = r.Frequency == limit
		return err
	})
	if err != nil {
		return notifier.Removed{}, fmt.Errorf("remove frequency: %w", err)
	}
	return r, nil
}
