package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// The states that stand in the audit, before and after.
type (
	pauseState struct {
		Paused bool   `json:"paused"`
		Reason string `json:"reason,omitempty"`
	}
	stopState struct {
		Stopped bool   `json:"stopped"`
		Reason  string `json:"reason,omitempty"`
	}
	runState struct {
		State notifier.RunState `json:"state"`
		// Notifications counts what was released or discarded.
		Notifications int `json:"notifications,omitempty"`
	}
	ranNow struct {
		Run    notifier.RunID `json:"run"`
		TickAt time.Time      `json:"tick_at"`
	}
	deliveryState struct {
		State  notifier.DeliveryState `json:"state"`
		Reason string                 `json:"reason,omitempty"`
	}
	exportState struct {
		User   devices.UserID   `json:"user,omitempty"`
		Reason notifier.Reason  `json:"reason,omitempty"`
		Rows   map[string]int64 `json:"rows"`
	}
	deactivatedState struct {
		State  devices.State  `json:"state"`
		User   devices.UserID `json:"user,omitempty"`
		Reason string         `json:"reason,omitempty"`
	}
	stoppedState struct {
		State notifier.DeliveryState `json:"state"`
		*notifier.Stopped
	}
	suppressionState struct {
		Class notifier.SuppressionClass `json:"class"`
		From  *time.Time                `json:"from,omitempty"`
		Until *time.Time                `json:"until,omitempty"`
		Note  string                    `json:"note,omitempty"`
		SetBy string                    `json:"set_by,omitempty"`
		SetAt *time.Time                `json:"set_at,omitempty"`
		// Shortened says that it stops less than what was in force before it.
		Shortened bool `json:"shortened,omitempty"`
	}
)

// note writes an audit entry within the transaction of the change. It is the
// only place that writes the table, and nothing ever changes or deletes there.
func (l *Ledger) note(ctx context.Context, tx *sql.Tx, by notifier.Actor, action notifier.Action, subject string, before, after any) error {
	n, err := noteOf(action, subject, before, after)
	if err != nil {
		return err
	}
	return l.noteAll(ctx, tx, by, []note{n})
}

// note is an entry on its way in.
type note struct {
	Action  notifier.Action `json:"action"`
	Subject string          `json:"subject"`
	Before  string          `json:"before_state"`
	After   string          `json:"after_state"`
}

func noteOf(action notifier.Action, subject string, before, after any) (note, error) {
	b, err := json.Marshal(before)
	if err != nil {
		return note{}, fmt.Errorf("encode audit entry: %w", err)
	}
	a, err := json.Marshal(after)
	if err != nil {
		return note{}, fmt.Errorf("encode audit entry: %w", err)
	}
	return note{Action: action, Subject: storable(subject), Before: string(b), After: string(a)}, nil
}

// noteAll writes entries at the end of a transaction. Transactions that write the audit follow one
// another from here to their commits: whoever reads it forward, by id, must miss none that
// commits later with a smaller one.
func (l *Ledger) noteAll(ctx context.Context, tx *sql.Tx, by notifier.Actor, notes []note) error {
	param, err := sqldb.Batch(notes)
	if err != nil {
		return err
	}
	if err := l.db.Lock(ctx, tx, "audit"); err != nil {
		return err
	}
	now, err := l.now(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id)
		SELECT $2, $3, j.action, j.subject, j.before_state, j.after_state, $4
		FROM `+l.records("action TEXT", "subject TEXT", "before_state TEXT", "after_state TEXT")+` WHERE TRUE`,
		param, now, by.Name, by.RequestID)
	if err != nil {
		return fmt.Errorf("insert audit entries: %w", err)
	}
	return nil
}

// noteStopped writes down what suppressions have stopped, in the transaction that ends the deliveries.
func (l *Ledger) noteStopped(ctx context.Context, tx *sql.Tx, results []notifier.Result, written []notifier.DeliveryID) error {
	var notes []note
	for _, r := range results {
		if r.Stopped == nil || !slices.Contains(written, r.Claim.ID) {
			continue
		}
		n, err := noteOf(notifier.ActionStopped, notifier.SubjectDelivery(r.Claim.ID), deliveryState{State: notifier.Leased},
			stoppedState{State: r.State, Stopped: r.Stopped})
		if err != nil {
			return err
		}
		notes = append(notes, n)
	}
	if len(notes) == 0 {
		return nil
	}
	return l.noteAll(ctx, tx, notifier.Actor{}, notes)
}

// NoteDeactivation writes down that an operator has deactivated a device, in the transaction that does.
func (l *Ledger) NoteDeactivation(ctx context.Context, tx *sql.Tx, by devices.Operator, reason string, before, after devices.Device) error {
	return l.note(ctx, tx, notifier.Actor(by), notifier.ActionDeactivate, notifier.SubjectDevice(before.ID),
		deactivatedState{State: before.State, User: before.User}, deactivatedState{State: after.State, Reason: reason})
}

// Note implements notifier.Auditor.
func (l *Ledger) Note(ctx context.Context, e notifier.AuditEntry) error {
	return l.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return l.note(ctx, tx, e.Actor, e.Action, e.Subject, orNull(e.Before), orNull(e.After))
	})
}

func orNull(m json.RawMessage) json.RawMessage {
	if len(m) == 0 {
		return json.RawMessage("null")
	}
	return m
}

// Audit returns a page of the audit.
func (l *Ledger) Audit(ctx context.Context, q notifier.AuditQuery) ([]notifier.AuditEntry, error) {
	ids, err := l.auditIDs(ctx, q.AuditFilter)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	out, err := list(ctx, l, auditStatement(q, ids), scanAudit)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	return out, nil
}

// clockSteps is by how much the time of the audit's entries may go back while their ids go on: the
// clock of a database is set now and then.
const clockSteps = time.Hour

// auditIDs are the ids among which the entries of a time are, both included.
type auditIDs struct{ first, last int64 }

func allAuditIDs() auditIDs { return auditIDs{last: math.MaxInt64} }

// auditIDs finds the ids of a filter's time: the list goes along the ids, and of two bounds on one
// side of it (these, and where the page before ended) SQLite would use one alone, and read from it
// again for every page.
func (l *Ledger) auditIDs(ctx context.Context, f notifier.AuditFilter) (auditIDs, error) {
	out := allAuditIDs()
	if !f.Since.IsZero() {
		err := l.db.SQL().QueryRowContext(ctx, `SELECT COALESCE((SELECT id FROM audit WHERE at >= $1 ORDER BY at, id LIMIT 1), 9223372036854775807)`,
			sqldb.Micros(f.Since.Add(-clockSteps))).Scan(&out.first)
		if err != nil {
			return out, fmt.Errorf("find begin: %w", err)
		}
	}
	if !f.Until.IsZero() {
		err := l.db.SQL().QueryRowContext(ctx, `SELECT COALESCE((SELECT id FROM audit WHERE at < $1 ORDER BY at DESC, id DESC LIMIT 1), 0)`,
			sqldb.Micros(f.Until.Add(clockSteps))).Scan(&out.last)
		if err != nil {
			return out, fmt.Errorf("find end: %w", err)
		}
	}
	return out, nil
}

// auditStatement leads the query along the index of the subject, the actor or the action, and else
// along the ids, with at most one bound on each side.
func auditStatement(q notifier.AuditQuery, ids auditIDs) *statement {
	var s statement
	s.text(`SELECT id, at, actor, action, subject, before_state, after_state, request_id FROM audit WHERE TRUE`)
	led := false
	lead := func(column, value string) {
		if value == "" {
			return
		}
		if led {
			s.and(besideLead(column), value)
			return
		}
		led = true
		s.and(column+` = ?`, value)
	}
	lead("subject", q.Subject)
	lead("actor", q.Actor)
	lead("action", string(q.Action))
	if !q.Since.IsZero() {
		s.and(`at + 0 >= ?`, sqldb.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		s.and(`at + 0 < ?`, sqldb.Micros(q.Until))
	}
	if q.Forward {
		ids.first = max(ids.first, q.After+1)
	} else if q.Before > 0 {
		ids.last = min(ids.last, q.Before-1)
	}
	if ids.first > 0 {
		s.and(`id >= ?`, ids.first)
	}
	if ids.last < math.MaxInt64 {
		s.and(`id <= ?`, ids.last)
	}
	if q.Forward {
		s.text(` ORDER BY id`)
	} else {
		s.text(` ORDER BY id DESC`)
	}
	return s.limit(q.Limit)
}

func scanAudit(r *sql.Rows) (e notifier.AuditEntry, err error) {
	var at int64
	var before, after string
	err = r.Scan(&e.ID, &at, &e.Actor.Name, &e.Action, &e.Subject, &before, &after, &e.Actor.RequestID)
	e.At, e.Before, e.After = sqldb.Time(at), json.RawMessage(before), json.RawMessage(after)
	return e, err
}
