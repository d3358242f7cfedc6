package sqldevices

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
)

// Preferences returns what the user has set, with empty lists for a user who
// has set nothing.
func (r *Registry) Preferences(ctx context.Context, user devices.UserID) (devices.Preferences, error) {
	var muted, optedIn, quiet string
	err := r.db.SQL().QueryRowContext(ctx, `SELECT muted, opted_in, quiet FROM preferences WHERE user_id = $1`, string(user)).
		Scan(&muted, &optedIn, &quiet)
	if errors.Is(err, sql.ErrNoRows) {
		return devices.Preferences{Muted: []string{}, OptedIn: []string{}}, nil
	}
	var p devices.Preferences
	if err == nil {
		err = errors.Join(json.Unmarshal([]byte(muted), &p.Muted), json.Unmarshal([]byte(optedIn), &p.OptedIn))
	}
	if err == nil {
		p.Quiet, err = quietOf(quiet)
	}
	if err != nil {
		return devices.Preferences{}, fmt.Errorf("read preferences: %w", err)
	}
	return p, nil
}

func quietOf(text string) (*devices.Quiet, error) {
	if text == "" {
		return nil, nil
	}
	var q devices.Quiet
	if err := json.Unmarshal([]byte(text), &q); err != nil {
		return nil, fmt.Errorf("read quiet hours: %w", err)
	}
	return &q, nil
}

// SetPreferences replaces the user's preferences and returns them as stored:
// sorted and without duplicates. Without quiet hours (nil) it leaves those that
// are stored. It returns Invalid faults.
func (r *Registry) SetPreferences(ctx context.Context, user devices.UserID, p devices.Preferences) (devices.Preferences, error) {
	if err := user.Validate(); err != nil {
		return devices.Preferences{}, err
	}
	p, err := p.Normalize()
	if err != nil {
		return devices.Preferences{}, err
	}
	muted, err := json.Marshal(p.Muted)
	if err != nil {
		return devices.Preferences{}, fmt.Errorf("encode preferences: %w", err)
	}
	optedIn, err := json.Marshal(p.OptedIn)
	if err != nil {
		return devices.Preferences{}, fmt.Errorf("encode preferences: %w", err)
	}
	quiet := ""
	if p.Quiet != nil && !p.Quiet.None() {
		text, err := json.Marshal(p.Quiet)
		if err != nil {
			return devices.Preferences{}, fmt.Errorf("encode preferences: %w", err)
		}
		quiet = string(text)
	}
	const q = `INSERT INTO preferences (user_id, muted, opted_in, updated_at, quiet) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id) DO UPDATE SET
			muted = excluded.muted, opted_in = excluded.opted_in, updated_at = excluded.updated_at,
			quiet = CASE WHEN $6 THEN preferences.quiet ELSE excluded.quiet END
		RETURNING quiet`
	err = r.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := r.stamp(ctx, tx)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, q, string(user), string(muted), string(optedIn), sqldb.Micros(now), quiet, p.Quiet == nil).Scan(&quiet)
	})
	if err == nil {
		p.Quiet, err = quietOf(quiet)
	}
	if err != nil {
		return devices.Preferences{}, fmt.Errorf("store preferences: %w", err)
	}
	return p, nil
}
