package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
)

const (
	// eraseStep is how many rows one transaction erases.
	eraseStep = 500
	// eraseWait is how long an erasure waits for what is being sent.
	eraseWait = 20 * time.Second
)

// The words of the audit about users.
const (
	// ActionExport: what is stored about a user was handed out, or the list of suppressions.
	ActionExport Action = "export"
	// ActionErase: what is stored about a user was erased.
	ActionErase Action = "erase"
)

// SubjectUser names a user in the audit.
func SubjectUser(user devices.UserID) string { return "user/" + string(user) }

// UserStore keeps something about users. No record that it hands out holds a target.
type UserStore interface {
	// CountUser counts what is stored about a user, by the kinds that EraseUser reports and those that stay.
	CountUser(ctx context.Context, user devices.UserID) (map[string]int64, error)
	// ExportUser hands out all that is stored about a user, one record after the other.
	ExportUser(ctx context.Context, user devices.UserID, emit func(kind string, record any) error) error
	// EraseUser erases at most limit rows of each kind. It reports how many were erased by kind, how
	// many have to wait (they are in use), and whether there is more to erase at once.
	EraseUser(ctx context.Context, user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool, err error)
}

// UserDeactivator takes a user's devices out of use.
type UserDeactivator interface {
	Directory
	Deactivate(ctx context.Context, user devices.UserID, id devices.ID) error
}

// UserData hands out and erases what is stored about users.
type UserData struct {
	// Devices are taken out of use before anything is erased; required.
	Devices UserDeactivator
	// Stores are erased one after the other: what still needs the devices comes first. Nothing is
	// erased of those behind one in which something has to wait.
	Stores []UserStore
	// Audit is told of each export and erasure; required.
	Audit Auditor
}

// Erasure is what erasing a user came to.
type Erasure struct {
	// Erased counts rows by kind.
	Erased map[string]int64
	// Waiting counts what could not be erased yet, because it is being sent or waits for Kafka.
	Waiting int64
}

// Export hands out all that is stored about a user. It is audited before anything is handed out,
// with how many rows there were of each kind.
func (u UserData) Export(ctx context.Context, by Actor, user devices.UserID, emit func(kind string, record any) error) error {
	before, err := u.count(ctx, user)
	if err != nil {
		return err
	}
	if err := u.Audit.Note(ctx, AuditEntry{Actor: by, Action: ActionExport, Subject: SubjectUser(user), Before: before}); err != nil {
		return fmt.Errorf("audit export: %w", err)
	}
	for _, s := range u.Stores {
		if err := s.ExportUser(ctx, user, emit); err != nil {
			return fmt.Errorf("export user: %w", err)
		}
	}
	return nil
}

// count is what the audit says was there: rows by kind, and nothing of what they say.
func (u UserData) count(ctx context.Context, user devices.UserID) (json.RawMessage, error) {
	all := map[string]int64{}
	for _, s := range u.Stores {
		found, err := s.CountUser(ctx, user)
		if err != nil {
			return nil, fmt.Errorf("count what is stored about user: %w", err)
		}
		for kind, n := range found {
			all[kind] += n
		}
	}
	text, err := json.Marshal(map[string]any{"rows": all})
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	return text, nil
}

// Erase erases what is stored about a user, in small steps. It is audited before it begins and
// when it has ended, both with how many rows there were of each kind. Suppressions and the audit stay: they prove who must not be sent to, and who
// did what. Doing it again erases what has come since. The reason stays in the audit.
func (u UserData) Erase(ctx context.Context, by Actor, user devices.UserID, reason string) (out Erasure, err error) {
	out.Erased = map[string]int64{}
	before, err := u.count(ctx, user)
	if err != nil {
		return out, err
	}
	note := func(after map[string]any) error {
		if reason != "" {
			after["reason"] = reason
		}
		text, err := json.Marshal(after)
		if err != nil {
			return fmt.Errorf("encode audit entry: %w", err)
		}
		return u.Audit.Note(ctx, AuditEntry{Actor: by, Action: ActionErase, Subject: SubjectUser(user), Before: before, After: text})
	}
	if err := note(map[string]any{"state": "begun"}); err != nil {
		return out, fmt.Errorf("audit erasure: %w", err)
	}
	known, err := u.Devices.Devices(ctx, user)
	if err != nil {
		return out, err
	}
	for _, d := range known {
		if err := u.Devices.Deactivate(ctx, user, d.ID); err != nil && !errors.Is(err, devices.ErrUnknownDevice) {
			return out, fmt.Errorf("deactivate device: %w", err)
		}
	}
	until := time.Now().Add(eraseWait)
	for _, s := range u.Stores {
		waiting, err := out.erase(ctx, s, user, until)
		if err != nil {
			return out, err
		}
		if out.Waiting += waiting; waiting > 0 {
			break // what comes after it still needs what waits
		}
	}
	return out, note(map[string]any{"state": "ended", "erased": out.Erased, "waiting": out.Waiting})
}

func (o *Erasure) erase(ctx context.Context, s UserStore, user devices.UserID, until time.Time) (int64, error) {
	for {
		erased, waiting, more, err := s.EraseUser(ctx, user, eraseStep)
		if err != nil {
			return 0, fmt.Errorf("erase user: %w", err)
		}
		for kind, n := range erased {
			o.Erased[kind] += n
		}
		switch {
		case more:
			continue
		case waiting == 0 || time.Now().After(until):
			return waiting, nil
		}
		select {
		case <-ctx.Done():
			return waiting, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}
