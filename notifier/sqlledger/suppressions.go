package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

var _ notifier.Suppressions = (*Ledger)(nil)

// suppressionRow is a suppression as the database has it.
type suppressionRow struct {
	User  devices.UserID            `json:"user_id"`
	Class notifier.SuppressionClass `json:"class"`
	// Reason is an empty word in no row.
	Reason notifier.Reason `json:"reason"`
	From   int64           `json:"from_at"`
	Until  int64           `json:"until_at"`
	Note   string          `json:"note"`
	SetBy  string          `json:"set_by"`
	SetAt  int64           `json:"set_at"`
	// Imported is 1 of the list of the imports; only the view says so.
	Imported int `json:"imported"`
}

func (r suppressionRow) suppression() notifier.Suppression {
	return notifier.Suppression{
		User: r.User, Reason: r.Reason, Class: r.Class, From: sqldb.Time(r.From), Until: sqldb.Time(r.Until),
		Note: r.Note, Imported: r.Imported == 1, SetBy: r.SetBy, SetAt: sqldb.Time(r.SetAt),
	}
}

// suppressionsOf reads what the view has of a user's suppressions.
func suppressionsOf(user devices.UserID, text string) ([]notifier.Suppression, error) {
	if text == "[]" {
		return nil, nil
	}
	var rows []suppressionRow
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("read suppressions: %w", err)
	}
	out := make([]notifier.Suppression, len(rows))
	for i, r := range rows {
		r.User = user
		out[i] = r.suppression()
	}
	return out, nil
}

// suppressionList is one of the two lists: the operators', or that of the imports. Gates read both.
type suppressionList string

const (
	listOperators suppressionList = "suppressions"
	listImported  suppressionList = "imported_suppressions"
)

func (t suppressionList) from() string {
	return `SELECT s.user_id, s.reason, s.class, s.from_at, s.until_at, s.note, s.set_by, s.set_at FROM ` + string(t) + ` s`
}

func scanSuppression(r *sql.Rows) (notifier.Suppression, error) {
	var s suppressionRow
	err := r.Scan(&s.User, &s.Reason, &s.Class, &s.From, &s.Until, &s.Note, &s.SetBy, &s.SetAt)
	return s.suppression(), err
}

// Suppressions implements notifier.Suppressions: a page of each list, put together.
func (l *Ledger) Suppressions(ctx context.Context, q notifier.SuppressionQuery) ([]notifier.Suppression, error) {
	out, err := list(ctx, l, suppressionsIn(listOperators, q), scanSuppression)
	if err != nil {
		return nil, fmt.Errorf("list suppressions: %w", err)
	}
	imported, err := list(ctx, l, suppressionsIn(listImported, q), scanSuppression)
	if err != nil {
		return nil, fmt.Errorf("list imported suppressions: %w", err)
	}
	for i := range imported {
		imported[i].Imported = true
	}
	out = append(out, imported...)
	slices.SortStableFunc(out, func(a, b notifier.Suppression) int { return compareKeys(a.Key(), b.Key()) })
	return out[:min(len(out), q.Limit)], nil
}

// compareKeys orders as both databases do, byte by byte; what is imported comes after the operators' own.
func compareKeys(a, b notifier.SuppressionKey) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Reason, b.Reason), bit(a.Imported)-bit(b.Imported))
}

func suppressionsIn(t suppressionList, q notifier.SuppressionQuery) *statement {
	var s statement
	s.text(t.from() + ` WHERE TRUE`)
	suppressionsFilter(&s, q)
	switch {
	case q.After == nil:
	case t == listImported && !q.After.Imported:
		s.and(`(s.user_id, s.reason) >= (?, ?)`, string(q.After.User), string(q.After.Reason)) // it comes after the operators' own
	default:
		s.and(`(s.user_id, s.reason) > (?, ?)`, string(q.After.User), string(q.After.Reason))
	}
	s.text(` ORDER BY s.user_id, s.reason`)
	return s.limit(q.Limit)
}

// normalized returns suppressions by their keys, and the keys in order; of two with the same key the last one counts.
func normalized(set []notifier.Suppression) (map[notifier.SuppressionKey]notifier.Suppression, []notifier.SuppressionKey, error) {
	wanted := make(map[notifier.SuppressionKey]notifier.Suppression, len(set))
	var keys []notifier.SuppressionKey
	for _, s := range set {
		s, err := s.Normalize()
		if err != nil {
			return nil, nil, err
		}
		key := notifier.SuppressionKey{User: s.User, Reason: s.Reason}
		if _, twice := wanted[key]; !twice {
			keys = append(keys, key)
		}
		wanted[key] = s
	}
	return wanted, keys, nil
}

// Suppress implements notifier.Suppressions.
func (l *Ledger) Suppress(
	ctx context.Context, by notifier.Actor, set []notifier.Suppression, how notifier.Shortening,
) (done notifier.SuppressReport, err error) {
	wanted, keys, err := normalized(set)
	if err != nil {
		return done, err
	}
	err = l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		done, err = l.setSuppressions(ctx, tx, listOperators, by, wanted, keys, how)
		return err
	})
	if err != nil {
		return notifier.SuppressReport{}, fmt.Errorf("suppress: %w", err)
	}
	return done, nil
}

// setSuppressions writes what is not in the list as it is wanted, as far as it may be shortened.
func (l *Ledger) setSuppressions(
	ctx context.Context, tx *sql.Tx, t suppressionList, by notifier.Actor,
	wanted map[notifier.SuppressionKey]notifier.Suppression, keys []notifier.SuppressionKey, how notifier.Shortening,
) (done notifier.SuppressReport, err error) {
	known, err := l.lockSuppressions(ctx, tx, t, keys)
	if err != nil {
		return done, err
	}
	now, err := l.now(ctx, tx)
	if err != nil {
		return done, err
	}
	var rows []suppressionRow
	var notes []note
	for _, key := range keys {
		s, before, shorter := wanted[key], any(nil), false
		if k, ok := known[key]; ok {
			set, kept, err := how.In(s, k, sqldb.Time(now))
			if err != nil {
				return done, err
			}
			if s = set; kept {
				done.Kept = append(done.Kept, key)
			}
			if k.Same(s) {
				continue // the first one to say it stays on record
			}
			before, shorter = suppressionStateOf(k), s.Shortens(k, sqldb.Time(now))
		}
		after := suppressionStateOf(s)
		after.Shortened = shorter
		n, err := noteOf(notifier.ActionSuppress, notifier.SubjectSuppression(key), before, after)
		if err != nil {
			return done, err
		}
		notes = append(notes, n)
		rows = append(rows, suppressionRow{
			User: s.User, Reason: s.Reason, Class: s.Class, From: sqldb.Micros(s.From), Until: sqldb.Micros(s.Until), Note: s.Note,
		})
	}
	if len(rows) == 0 {
		return done, nil
	}
	param, err := sqldb.Batch(rows)
	if err != nil {
		return done, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO `+string(t)+` (user_id, reason, class, from_at, until_at, note, set_by, set_at)
		SELECT j.user_id, j.reason, j.class, j.from_at, j.until_at, j.note, $2, $3
		FROM `+l.records("user_id TEXT", "reason TEXT", "class TEXT", "from_at BIGINT", "until_at BIGINT", "note TEXT")+` WHERE TRUE
		ON CONFLICT (user_id, reason) DO UPDATE SET class = excluded.class, from_at = excluded.from_at, until_at = excluded.until_at,
			note = excluded.note, set_by = excluded.set_by, set_at = excluded.set_at`, param, by.Name, now)
	if err != nil {
		return done, fmt.Errorf("write suppressions: %w", err)
	}
	done.Changed = len(rows)
	return done, l.noteAll(ctx, tx, by, notes)
}

// NoteExport implements notifier.Suppressions.
func (l *Ledger) NoteExport(ctx context.Context, by notifier.Actor, q notifier.SuppressionQuery) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		of := exportState{User: q.User, Reason: q.Reason, Rows: map[string]int64{}}
		for _, t := range []suppressionList{listOperators, listImported} {
			var s statement
			s.text(`SELECT COUNT(*) FROM ` + string(t) + ` s WHERE TRUE`)
			suppressionsFilter(&s, q)
			var n int64
			if err := tx.QueryRowContext(ctx, s.sql.String(), s.args...).Scan(&n); err != nil {
				return fmt.Errorf("count %s: %w", t, err)
			}
			of.Rows[string(t)] = n
		}
		return l.note(ctx, tx, by, notifier.ActionExport, notifier.SubjectSuppressions, of, nil)
	})
	if err != nil {
		return fmt.Errorf("audit export of suppressions: %w", err)
	}
	return nil
}

func suppressionsFilter(s *statement, q notifier.SuppressionQuery) {
	if q.User != "" {
		s.and(`s.user_id = ?`, string(q.User))
	}
	if q.Reason != "" {
		s.and(`s.reason = ?`, string(q.Reason))
	}
}

// lockSuppressions returns what is known of the keys. Whoever changes the list waits here for the
// others: what was before a change, in the audit, is what was.
func (l *Ledger) lockSuppressions(
	ctx context.Context, tx *sql.Tx, t suppressionList, keys []notifier.SuppressionKey,
) (map[notifier.SuppressionKey]notifier.Suppression, error) {
	if err := l.db.Lock(ctx, tx, "suppressions"); err != nil {
		return nil, err
	}
	param, err := keyBatch(keys)
	if err != nil {
		return nil, err
	}
	found, err := tx.QueryContext(ctx, t.from()+` JOIN `+l.records("user_id TEXT", "reason TEXT")+
		` ON s.user_id = j.user_id AND s.reason = j.reason`, param)
	known, err := sqldb.Collect(found, err, scanSuppression)
	if err != nil {
		return nil, fmt.Errorf("read suppressions: %w", err)
	}
	out := make(map[notifier.SuppressionKey]notifier.Suppression, len(known))
	for _, s := range known {
		out[notifier.SuppressionKey{User: s.User, Reason: s.Reason}] = s
	}
	return out, nil
}

// keyBatch is keys as the parameter of a statement.
func keyBatch(keys []notifier.SuppressionKey) (string, error) {
	rows := make([]suppressionRow, len(keys))
	for i, k := range keys {
		rows[i] = suppressionRow{User: k.User, Reason: k.Reason}
	}
	return sqldb.Batch(rows)
}

// Unsuppress implements notifier.Suppressions.
func (l *Ledger) Unsuppress(ctx context.Context, by notifier.Actor, key notifier.SuppressionKey) error {
	err := l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		known, err := l.lockSuppressions(ctx, tx, listOperators, []notifier.SuppressionKey{key})
		if err != nil {
			return err
		}
		before, ok := known[key]
		if !ok {
			return notifier.ErrUnknownSuppression
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM suppressions WHERE user_id = $1 AND reason = $2`, string(key.User), string(key.Reason))
		if err != nil {
			return fmt.Errorf("delete suppression: %w", err)
		}
		return l.note(ctx, tx, by, notifier.ActionUnsuppress, notifier.SubjectSuppression(key), suppressionStateOf(before), nil)
	})
	if err != nil && !errors.Is(err, notifier.ErrUnknownSuppression) {
		return fmt.Errorf("take suppression back: %w", err)
	}
	return err
}

func suppressionStateOf(s notifier.Suppression) suppressionState {
	return suppressionState{
		Class: s.Class, From: orNil(s.From), Until: orNil(s.Until), Note: s.Note, SetBy: s.SetBy, SetAt: orNil(s.SetAt),
	}
}

// orNil is the time, nil for the zero time.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
