package sqldevices_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

// modelDevice is as much of a device as the invariants are about.
type modelDevice struct {
	user       devices.UserID
	target     devices.Target
	generation int64
	state      devices.State
}

// model is the registry in a few lines, written from the contract and not from
// the code: a map of devices.
type model map[devices.ID]modelDevice

func (m model) activate(user devices.UserID, id devices.ID, target devices.Target) error {
	d, known := m[id]
	switch {
	case target.Kind == devices.AblyClient && target.Value.Reveal() != string(user):
		return devices.ErrForeignClient
	case known && d.user != user && d.target != target:
		return devices.ErrDeviceTaken
	}
	for other, o := range m {
		if other != id && o.state == devices.Active && o.target.Provider() == target.Provider() && o.target.Value == target.Value {
			o.state = devices.Inactive
			m[other] = o
		}
	}
	if !known || d.user != user || d.target != target || d.state != devices.Active {
		d.generation++
	}
	m[id] = modelDevice{user: user, target: target, generation: d.generation, state: devices.Active}
	return nil
}

func (m model) deactivate(user devices.UserID, id devices.ID) error {
	d, known := m[id]
	if !known || d.user != user {
		return devices.ErrUnknownDevice
	}
	if d.state == devices.Active {
		d.state = devices.Inactive
		m[id] = d
	}
	return nil
}

func (m model) retire(id devices.ID, generation int64) bool {
	d, known := m[id]
	if !known || d.state != devices.Active || d.generation != generation {
		return false
	}
	d.state = devices.Retired
	m[id] = d
	return true
}

func TestRegistryBehavesLikeTheModel(t *testing.T) {
	t.Parallel()
	for _, kind := range sqldbtest.Databases(t) {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			db := kind.Open(t)
			rapid.Check(t, func(rt *rapid.T) { compare(rt, db) })
		})
	}
}

func compare(t *rapid.T, db *sqldb.DB) {
	ctx := context.Background()
	require.NoError(t, db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM devices`)
		return err
	}))
	clock := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	registry := sqldevices.New(db, sqldevices.Config{Now: func() time.Time { return clock }})
	users := rapid.SampledFrom([]devices.UserID{"ada", "bob", "cy"})
	ids := rapid.SampledFrom([]devices.ID{"d1", "d2", "d3"})
	targets := rapid.SampledFrom([]devices.Target{
		fcm("t1"),
		fcm("t2"),
		{Kind: devices.AblyClient, Value: "ada"},
		{Kind: devices.AblyDevice, Value: "ada"},
		{Kind: devices.AblyDevice, Value: "x"},
		// The same value with another provider is another place.
		{Kind: devices.AblyDevice, Value: fcm("t1").Value},
	})
	want, before := model{}, map[devices.ID]devices.Device{}

	t.Repeat(map[string]func(*rapid.T){
		"activate": func(t *rapid.T) {
			user, id, target := users.Draw(t, "user"), ids.Draw(t, "id"), targets.Draw(t, "target")
			wantErr := want.activate(user, id, target)
			got, err := registry.Activate(ctx, user, id, activation(target))
			require.ErrorIs(t, err, wantErr)
			if err == nil {
				require.Equal(t, devices.Active, got.State)
				require.Equal(t, user, got.User)
			}
		},
		"deactivate": func(t *rapid.T) {
			user, id := users.Draw(t, "user"), ids.Draw(t, "id")
			wantErr := want.deactivate(user, id)
			require.ErrorIs(t, registry.Deactivate(ctx, user, id), wantErr)
		},
		"retire": func(t *rapid.T) {
			id, generation := ids.Draw(t, "id"), rapid.Int64Range(1, 6).Draw(t, "generation")
			wantRetired := want.retire(id, generation)
			got, err := registry.Retire(ctx, id, generation, "unregistered")
			require.NoError(t, err)
			require.Equal(t, wantRetired, got)
		},
		"time passes": func(t *rapid.T) {
			clock = clock.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "by")))
		},
		"": func(t *rapid.T) { // after each of them
			got := map[devices.ID]devices.Device{}
			for _, user := range []devices.UserID{"ada", "bob", "cy"} {
				found, err := registry.Devices(ctx, user)
				require.NoError(t, err)
				for _, d := range found {
					got[d.ID] = d
				}
			}
			seen := model{}
			for id, d := range got {
				seen[id] = modelDevice{user: d.User, target: d.Target, generation: d.Generation, state: d.State}
			}
			require.Equal(t, want, seen)
			for target, n := range countActive(t, db) {
				require.Equal(t, 1, n, target)
			}
			for id, was := range before {
				now, ok := got[id]
				require.True(t, ok, "a device is never forgotten")
				require.GreaterOrEqual(t, now.Generation, was.Generation)
				if now.Target != was.Target || now.User != was.User {
					require.Greater(t, now.Generation, was.Generation)
				}
				require.False(t, now.UpdatedAt.Before(was.UpdatedAt))
				require.Equal(t, now.State == devices.Retired, now.RetiredReason != "", "%s: %s %q", id, now.State, now.RetiredReason)
			}
			before = got
		},
	})
}
