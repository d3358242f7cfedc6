package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
)

// The states that stand in the audit, before and after.
type (
	pauseState struct {
		Paused bool   `json:"paused"`
		Reason string `json:"reason,omitempty"`
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
)

// note writes an audit entry within the transaction of the change. It is the
// only place that writes the table, and nothing ever changes or deletes there.
func (l *Ledger) note(ctx context.Context, tx *sql.Tx, by notifier.Actor, action notifier.Action, subject string, before, after any) error {
	b, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	a, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	now, err := l.now(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, now, by.Name, action, subject, string(b), string(a), by.RequestID)
	if err != nil {
		return fmt.Errorf("insert audit entry: %w", err)
	}
	return nil
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
	out, err := list(ctx, l, auditStatement(q), scanAudit)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	return out, nil
}

func auditStatement(q notifier.AuditQuery) *statement {
	var s statement
	s.text(`SELECT id, at, actor, action, subject, before_state, after_state, request_id FROM audit WHERE TRUE`)
	switch {
	case q.Forward:
		s.and(`id > ?`, q.After)
		s.text(` ORDER BY id`)
	default:
		if q.Before > 0 {
			s.and(`id < ?`, q.Before)
		}
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
