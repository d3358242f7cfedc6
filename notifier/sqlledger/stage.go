package sqlledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// known is the latest version of a key.
type known struct {
	id       notifier.NotificationID
	identity string
	version  int
	hash     string
	order    int64
	state    string
	run      notifier.RunID
	seen     int64
	// hold is when its hold ends or ended; 0 when it never was provisional.
	hold, confirmed int64
}

// held tells whether it waits to be confirmed, whatever else it waits for.
func (k *known) held() bool {
	return k.hold > 0 && k.confirmed == 0 && (k.state == "staged" || k.state == "passed" || k.state == "held" || k.state == notifier.NotificationProvisional)
}

// seenEvery is how old the note of when a key was last seen may become before it
// is written anew. Most rows that are read are known, and many at every tick:
// noting each of them each time would be most of what is written.
const seenEvery = time.Hour

// staged is a row of notifications on its way in.
type staged struct {
	Key       string `json:"key"`
	Version   int    `json:"version"`
	Hash      string `json:"hash"`
	Order     int64  `json:"order_value"`
	Thread    string `json:"thread"`
	FollowUp  bool   `json:"follow_up"`
	User      string `json:"user_id"`
	Variant   string `json:"variant"`
	Category  string `json:"category"`
	Row       string `json:"source_row"`
	DueAt     int64  `json:"due_at"`
	ExpiresAt int64  `json:"expires_at"`
	State     string `json:"state"`
	Hold      int64  `json:"hold_until"`
}

// Stage implements notifier.RunLedger.
func (l *Ledger) Stage(ctx context.Context, run notifier.Run, rule *notifier.Rule, c notifier.Chunk) (res notifier.StageResult, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res = notifier.StageResult{}
		if err := l.hold(ctx, tx, run); err != nil {
			return err
		}
		drafts := newestPerKey(c.Drafts, rule.Ordered())
		latest, err := l.latest(ctx, tx, rule.ID, drafts)
		if err != nil {
			return err
		}
		now, err := l.now(ctx, tx)
		if err != nil {
			return err
		}
		plan := stagePlan{run: run, rule: rule, now: now}
		if plan.spoken, err = l.spoken(ctx, tx, rule, drafts, latest); err != nil {
			return err
		}
		if plan.since, err = l.raisedBound(ctx, tx, run, rule); err != nil {
			return err
		}
		for _, d := range drafts {
			plan.add(d, latest[d.Key])
		}
		bad := append(slices.Clone(c.Bad), plan.bad...)
		res = plan.result
		res.Bad = len(bad)
		if err := l.apply(ctx, tx, plan); err != nil {
			return err
		}
		if err := l.badRows(ctx, tx, rule.ID, bad, now); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE runs SET rows_read = rows_read + $1, staged = staged + $2, adopted = adopted + $3,
			swept = swept + $4, bad_rows = bad_rows + $5 WHERE id = $6`, c.Rows, res.New, res.Adopted, res.Swept, res.Bad, run.ID)
		if err != nil {
			return fmt.Errorf("count rows: %w", err)
		}
		return nil
	})
	return res, err
}

// newestPerKey keeps the newest draft of each key, in the order of their first
// appearance. Without an order the last one read counts as newest.
func newestPerKey(drafts []notifier.Draft, ordered bool) []notifier.Draft {
	at := make(map[string]int, len(drafts))
	out := make([]notifier.Draft, 0, len(drafts))
	for _, d := range drafts {
		i, seen := at[d.Key]
		switch {
		case !seen:
			at[d.Key] = len(out)
			out = append(out, d)
		case !ordered || d.Order > out[i].Order:
			out[i] = d
		}
	}
	return out
}

// stagePlan collects what a chunk changes.
type stagePlan struct {
	run  notifier.Run
	rule *notifier.Rule
	now  int64
	// since is the arrival time before which keys may have been forgotten since the run began;
	// zero when none have been.
	since time.Time
	// spoken is what the rule's peers have said last, by thread.
	spoken map[string]notifier.Spoken
	insert []staged
	adopt  []notifier.NotificationID
	// replaced are the versions that are not the latest any more.
	replaced []notifier.NotificationID
	newer    []newerOrder
	// confirm are those whose hold a row has ended.
	confirm []notifier.NotificationID
	seen    []notifier.NotificationID
	bad     []notifier.BadRowRead
	result  notifier.StageResult
}

// newerOrder notes that an unchanged version was seen with a newer order, so
// that an old row between the two is recognised as stale.
type newerOrder struct {
	ID    int64 `json:"id"`
	Order int64 `json:"order_value"`
}

func (p *stagePlan) add(d notifier.Draft, k *known) {
	if d.Arrival.Before(p.since) {
		return // it may have been announced, and nobody knows any more
	}
	version := 1
	if k != nil {
		// However old the row is, it can still be read, and so can its key not be forgotten.
		if p.now-k.seen > seenEvery.Microseconds() {
			p.seen = append(p.seen, k.id)
		}
		switch {
		case k.identity != p.rule.Identity:
			// Its hash and order are of other columns: they say nothing about this row.
		case k.hash == d.VersionHash && p.spoken[p.rule.Thread(d.Key)].Renews(d, k.id):
			p.result.Renewed++
		case k.hash == d.VersionHash:
			if k.state == "staged" && k.run != p.run.ID {
				p.adopt = append(p.adopt, k.id)
				p.result.Adopted++
			}
			// A confirmation that is older than what is held is none: something has been provisional since.
			if !d.Provisional && k.held() && (d.Order >= k.order || !p.rule.Ordered()) {
				p.confirm = append(p.confirm, k.id)
				p.result.Confirmed++
			}
			if d.Order > k.order {
				p.newer = append(p.newer, newerOrder{ID: int64(k.id), Order: d.Order})
			}
			return
		case p.rule.Ordered() && d.Order <= k.order:
			p.result.Stale++
			return
		}
		version = k.version + 1
	}
	// A text that cannot be made is found now, not when a phone waits for it.
	if bad, ok := errors.AsType[*notifier.BadRow](p.rule.Check(d)); ok {
		p.bad = append(p.bad, notifier.BadRowRead{Row: d.Row, Err: bad})
		return
	}
	row, err := json.Marshal(d.Row)
	if err != nil {
		p.bad = append(p.bad, notifier.BadRowRead{Row: nil, Err: &notifier.BadRow{
			Rule: p.rule.ID, Reason: notifier.BadValue, Detail: "the row cannot be kept as JSON",
		}})
		return
	}
	if k != nil {
		p.replaced = append(p.replaced, k.id)
		if k.held() {
			p.result.Withdrawn++
		}
	}
	if w := p.rule.Watermark; w != nil && p.run.Sweep && !d.Arrival.IsZero() && d.Arrival.Before(p.run.Position.Add(-w.Lookback)) {
		p.result.Swept++
	}
	p.result.New++
	state := "staged"
	undecided := k != nil && (k.state == "staged" || k.state == "passed" || k.state == notifier.NotificationProvisional)
	if p.run.Baseline && d.Arrival.Before(p.run.Position) && !undecided {
		// Read before, by other columns. What has arrived since is news by any, and so is what a run
		// has read that did not come to releasing it.
		state = "baseline"
	}
	hold := sqldb.Micros(p.rule.HeldUntil(d, sqldb.Time(p.now)))
	if hold > 0 && state == "staged" {
		p.result.Provisional++
	}
	p.insert = append(p.insert, staged{
		State: state, Hold: hold,
		Key: d.Key, Version: version, Hash: d.VersionHash, Order: d.Order, Thread: p.rule.Thread(d.Key), User: string(d.User),
		Variant: d.Variant, Category: d.Category, Row: string(row), DueAt: sqldb.Micros(d.DueAt),
		ExpiresAt: sqldb.Micros(p.rule.Expiry(d, sqldb.Time(p.now))),
	})
}

func (l *Ledger) latest(ctx context.Context, tx *sql.Tx, rule string, drafts []notifier.Draft) (map[string]*known, error) {
	if len(drafts) == 0 {
		return nil, nil
	}
	type item struct {
		Key string `json:"key"`
	}
	keys := make([]item, len(drafts))
	for i, d := range drafts {
		keys[i].Key = d.Key
	}
	param, err := sqldb.Batch(keys)
	if err != nil {
		return nil, err
	}
	type pair struct {
		key string
		known
	}
	rows, err := tx.QueryContext(ctx, `SELECT n.key, n.id, n.identity, n.version, n.version_hash, n.order_value, n.state, n.run_id, n.seen_at,
		n.hold_until, n.confirmed_at
		FROM notifications n WHERE n.rule_id = $2 AND n.latest AND n.key IN (SELECT j.key FROM `+l.records("key TEXT")+`)`+
		l.db.Dialect().ForUpdate, param, rule)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (p pair, err error) {
		return p, r.Scan(&p.key, &p.id, &p.identity, &p.version, &p.hash, &p.order, &p.state, &p.run, &p.seen, &p.hold, &p.confirmed)
	})
	if err != nil {
		return nil, fmt.Errorf("read known versions: %w", err)
	}
	out := make(map[string]*known, len(found))
	for _, p := range found {
		out[p.key] = &p.known
	}
	return out, nil
}

// spoken reads what the rule's peers have said of the drafts that are known.
func (l *Ledger) spoken(
	ctx context.Context, tx *sql.Tx, rule *notifier.Rule, drafts []notifier.Draft, latest map[string]*known,
) (map[string]notifier.Spoken, error) {
	var threads []string
	for _, d := range drafts {
		if k := latest[d.Key]; k != nil && k.hash == d.VersionHash && k.identity == rule.Identity {
			threads = append(threads, rule.Thread(d.Key))
		}
	}
	return l.spokenOn(ctx, tx, rule, threads)
}

// spokenOn reads what the rule's peers have said last on threads.
func (l *Ledger) spokenOn(ctx context.Context, q rowsQueryer, rule *notifier.Rule, threads []string) (map[string]notifier.Spoken, error) {
	if len(rule.Peers()) == 0 || len(threads) == 0 {
		return nil, nil
	}
	type item struct {
		Thread string `json:"thread"`
	}
	items := make([]item, len(threads))
	for i, t := range threads {
		items[i].Thread = t
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return nil, err
	}
	type pair struct {
		thread, rule string
		notifier.Spoken
	}
	rows, err := q.QueryContext(ctx, `SELECT n.thread, n.rule_id, n.id, n.order_value FROM notifications n
		WHERE n.thread IN (SELECT j.thread FROM `+l.records("thread TEXT")+`) AND n.rule_id <> $2 AND n.state = 'released'
		  AND (NOT n.shadow OR $3) ORDER BY n.id`, param, rule.ID, rule.Mode == notifier.ModeShadow)
	found, err := sqldb.Collect(rows, err, func(r *sql.Rows) (p pair, err error) { return p, r.Scan(&p.thread, &p.rule, &p.ID, &p.Order) })
	if err != nil {
		return nil, fmt.Errorf("read what peers have said: %w", err)
	}
	out := make(map[string]notifier.Spoken, len(found))
	for _, p := range found {
		if slices.Contains(rule.Peers(), p.rule) {
			out[p.thread] = p.Spoken
		}
	}
	return out, nil
}

// raisedBound returns the arrival time before which the rule reads nothing, when
// that has been raised since the run began, else zero: keys have been forgotten
// whose rows the run may still hold. It must be asked after the known versions
// have been read, because it is raised together with the forgetting.
func (l *Ledger) raisedBound(ctx context.Context, tx *sql.Tx, run notifier.Run, rule *notifier.Rule) (time.Time, error) {
	if rule.Watermark == nil {
		return time.Time{}, nil
	}
	known, err := l.progress(ctx, tx, run.Rule, "")
	if err != nil || known == nil || !known.StartAt.After(run.StartAt) {
		return time.Time{}, err
	}
	return known.StartAt, nil
}

func (l *Ledger) apply(ctx context.Context, tx *sql.Tx, p stagePlan) error {
	if len(p.newer) > 0 {
		param, err := sqldb.Batch(p.newer)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE notifications SET order_value = j.order_value FROM `+l.records("id BIGINT", "order_value BIGINT")+`
			WHERE notifications.id = j.id`, param); err != nil {
			return fmt.Errorf("note newer order: %w", err)
		}
	}
	if len(p.seen) > 0 {
		if err := l.onIDs(ctx, tx, p.seen, `UPDATE notifications SET seen_at = $2 WHERE id IN `, p.now); err != nil {
			return fmt.Errorf("note seen keys: %w", err)
		}
	}
	if len(p.adopt) > 0 {
		if err := l.onIDs(ctx, tx, p.adopt, `UPDATE notifications SET run_id = $2 WHERE id IN `, p.run.ID); err != nil {
			return fmt.Errorf("adopt notifications: %w", err)
		}
	}
	if len(p.confirm) > 0 {
		if err := l.onIDs(ctx, tx, p.confirm, `UPDATE notifications SET confirmed_at = $2,
			hold_until = CASE WHEN hold_until > $2 THEN $2 ELSE hold_until END WHERE id IN `, p.now); err != nil {
			return fmt.Errorf("confirm notifications: %w", err)
		}
	}
	if len(p.replaced) > 0 {
		// A version that a failed run staged and nobody adopted has been overtaken unsent, and so has one
		// that waited to be confirmed, whether or not its run is held too.
		if err := l.onIDs(ctx, tx, p.replaced, `UPDATE notifications SET latest = FALSE,
			state = CASE WHEN state IN ('staged', 'passed', 'provisional') OR state = 'held' AND hold_until > 0 AND confirmed_at = 0 THEN 'superseded' ELSE state END WHERE id IN `); err != nil {
			return fmt.Errorf("replace versions: %w", err)
		}
	}
	if len(p.insert) == 0 {
		return nil
	}
	if err := l.markFollowUps(ctx, tx, p.insert, p.rule.Audience.Kind == notifier.AudienceFollows); err != nil {
		return err
	}
	param, err := sqldb.Batch(p.insert)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO notifications
		(rule_id, identity, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, variant, category,
		 class, urgency, shadow, state, run_id, source_row, due_at, expires_at, created_at, seen_at, hold_until)
		SELECT $2, $9, j.key, j.version, j.hash, j.order_value, TRUE, j.thread, j.follow_up, $3, j.user_id, j.variant,
		 j.category, $4, $5, $8, j.state, $6, j.source_row, j.due_at, j.expires_at, $7, $7, j.hold_until
		FROM `+l.records("key TEXT", "version BIGINT", "hash TEXT", "order_value BIGINT", "thread TEXT", "follow_up BOOLEAN", "user_id TEXT",
		"variant TEXT", "category TEXT", "source_row TEXT", "due_at BIGINT", "expires_at BIGINT", "state TEXT", "hold_until BIGINT")+` WHERE TRUE`,
		param, p.rule.ID, p.rule.Audience.Kind, p.rule.Class, p.rule.Urgency, p.run.ID, p.now, p.rule.Mode == notifier.ModeShadow, p.rule.Identity)
	if err != nil {
		return fmt.Errorf("insert notifications: %w", err)
	}
	return nil
}

// onIDs runs a statement whose end is "IN " for a set of ids, which is $1.
func (l *Ledger) onIDs(ctx context.Context, tx *sql.Tx, set []notifier.NotificationID, query string, args ...any) error {
	param, err := ids(set)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, query+l.idSet(), append([]any{param}, args...)...)
	return err
}

// markFollowUps finds those whose thread has an older notification, of their own
// rule or of the one that it follows.
func (l *Ledger) markFollowUps(ctx context.Context, tx *sql.Tx, insert []staged, follows bool) error {
	param, err := sqldb.Batch(insert)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT n.thread FROM notifications n
		WHERE n.thread IN (SELECT j.thread FROM `+l.records("thread TEXT")+`)`, param)
	threads, err := sqldb.Collect(rows, err, func(r *sql.Rows) (s string, err error) { return s, r.Scan(&s) })
	if err != nil {
		return fmt.Errorf("read threads: %w", err)
	}
	for i := range insert {
		// A follower always has one, even where another replica is just writing it.
		insert[i].FollowUp = follows || slices.Contains(threads, insert[i].Thread)
	}
	return nil
}

func (l *Ledger) badRows(ctx context.Context, tx *sql.Tx, rule string, bad []notifier.BadRowRead, now int64) error {
	type item struct {
		Hash   string `json:"hash"`
		Reason string `json:"reason"`
		Detail string `json:"detail"`
		Row    string `json:"source_row"`
	}
	items := make([]item, 0, len(bad))
	seen := make(map[string]bool, len(bad))
	for _, b := range bad {
		row, err := json.Marshal(b.Row)
		if err != nil {
			row = []byte("null")
		}
		sum := sha256.Sum256(row)
		hash := hex.EncodeToString(sum[:16])
		if !seen[hash] {
			seen[hash] = true
			items = append(items, item{Hash: hash, Reason: string(b.Err.Reason), Detail: b.Err.Detail, Row: string(row)})
		}
	}
	if len(items) == 0 {
		return nil
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO bad_rows (rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen)
		SELECT $2, j.hash, j.reason, j.detail, j.source_row, 1, $3, $3
		FROM `+l.records("hash TEXT", "reason TEXT", "detail TEXT", "source_row TEXT")+` WHERE TRUE
		ON CONFLICT (rule_id, row_hash) DO UPDATE SET times_read = bad_rows.times_read + 1, last_seen = excluded.last_seen,
		 reason = excluded.reason, detail = excluded.detail`, param, rule, now)
	if err != nil {
		return fmt.Errorf("set bad rows aside: %w", err)
	}
	return nil
}
