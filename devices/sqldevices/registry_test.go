package sqldevices_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

func fcm(seed string) devices.Target {
	return devices.Target{Kind: devices.FCMToken, Value: devices.Secret(seed + ":" + strings.Repeat("APA91b", 20))}
}

func activation(target devices.Target) devices.Activation {
	return devices.Activation{
		Platform: devices.Android, Target: target, Locale: "en-GB", TimeZone: "Europe/London", AppVersion: "4.2.0",
	}
}

// queue stands in for what is queued: it writes down each cancellation through
// the transaction that it is given, so that a roll-back takes it back.
type queue struct{ fail error }

func (q *queue) CancelQueued(ctx context.Context, tx *sql.Tx, id devices.ID, reason string) error {
	if q.fail != nil {
		return q.fail
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO cancelled (device_id, reason) VALUES ($1, $2)`, string(id), reason)
	return err
}

// bench is a registry with a clock that moves when told.
type bench struct {
	*sqldevices.Registry
	db    *sqldb.DB
	queue *queue
	clock time.Time
}

func newBench(t *testing.T, d sqldbtest.Database) *bench {
	t.Helper()
	b := &bench{db: d.Open(t), queue: &queue{}, clock: time.Date(2026, 9, 1, 12, 0, 0, 123456789, time.UTC)}
	b.Registry = sqldevices.New(b.db, sqldevices.Config{Canceller: b.queue, Now: func() time.Time { return b.clock }})
	require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE cancelled (device_id TEXT NOT NULL, reason TEXT NOT NULL)`)
		return err
	}))
	return b
}

func (b *bench) activate(t *testing.T, user devices.UserID, id devices.ID, target devices.Target) devices.Device {
	t.Helper()
	d, err := b.Activate(t.Context(), user, id, activation(target))
	require.NoError(t, err)
	stored, err := b.Device(t.Context(), user, id)
	require.NoError(t, err)
	require.Equal(t, stored, d, "what was answered is what is stored")
	return d
}

// cancelled returns "device reason" for each cancellation, and forgets them.
func (b *bench) cancelled(t *testing.T) []string {
	t.Helper()
	var out []string
	require.NoError(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) (err error) {
		rows, err := tx.QueryContext(ctx, `DELETE FROM cancelled RETURNING device_id || ' ' || reason`)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			out = append(out, s)
		}
		return rows.Err()
	}))
	return out
}

func each(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			f(t, newBench(t, d))
		})
	}
}

func TestActivateIsIdempotent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		first := b.activate(t, "ada", "d1", fcm("t1"))
		require.EqualValues(t, 1, first.Generation)
		require.Equal(t, devices.Active, first.State)
		require.Equal(t, b.clock.Truncate(time.Microsecond), first.ActivatedAt)

		b.clock = b.clock.Add(time.Hour)
		require.Equal(t, first, b.activate(t, "ada", "d1", fcm("t1")))

		b.clock = b.clock.Add(devices.ConfirmEvery)
		again := b.activate(t, "ada", "d1", fcm("t1"))
		require.True(t, again.UpdatedAt.After(first.UpdatedAt))
		again.UpdatedAt = first.UpdatedAt
		require.Equal(t, first, again)
		require.Empty(t, b.cancelled(t))
	})
}

func TestEveryFieldSurvivesStorage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		for _, target := range []devices.Target{
			fcm("t1"),
			{Kind: devices.FCMFID, Value: "cAbcdefghij_klmnopq-12"},
			{Kind: devices.AblyDevice, Value: "01J8XGJ3M2N4P5Q6R7S8T9V0WX"},
			{Kind: devices.AblyClient, Value: "Zoë"},
		} {
			a := devices.Activation{Platform: devices.IOS, Target: target, Locale: "zh-Hant-TW", TimeZone: "Asia/Taipei", AppVersion: "5.0 β"}
			d, err := b.Activate(t.Context(), "Zoë", "d1", a)
			require.NoError(t, err)
			got, err := b.Device(t.Context(), "Zoë", "d1")
			require.NoError(t, err)
			require.Equal(t, d, got)
			kept := devices.Activation{
				Platform: got.Platform, Target: got.Target, Locale: got.Locale, TimeZone: got.TimeZone, AppVersion: got.AppVersion,
			}
			require.Equal(t, a, kept)
		}
	})
}

func TestAUserHasManyDevices(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		for _, id := range []devices.ID{"d1", "d2", "d3"} {
			b.activate(t, "ada", id, fcm("t-"+string(id)))
			b.clock = b.clock.Add(time.Second)
		}
		b.activate(t, "bob", "d4", fcm("t4"))
		found, err := b.Devices(t.Context(), "ada")
		require.NoError(t, err)
		require.Len(t, found, 3)
		require.Equal(t, []devices.ID{"d3", "d2", "d1"}, []devices.ID{found[0].ID, found[1].ID, found[2].ID})
		found, err = b.Devices(t.Context(), "nobody")
		require.NoError(t, err)
		require.Empty(t, found)
	})
}

func TestATokenRotates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		first := b.activate(t, "ada", "d1", fcm("t1"))
		b.clock = b.clock.Add(time.Minute)
		second := b.activate(t, "ada", "d1", fcm("t2"))
		require.Equal(t, first.Generation+1, second.Generation)
		require.Equal(t, first.ActivatedAt, second.ActivatedAt)
		require.Empty(t, b.cancelled(t), "what is queued goes to the new target")
		// The old target is free again.
		b.activate(t, "bob", "d2", fcm("t1"))
		require.Empty(t, b.cancelled(t))
	})
}

func TestATargetMoves(t *testing.T) {
	t.Parallel()
	for _, newOwner := range []devices.UserID{"ada", "bob"} {
		t.Run(string(newOwner), func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b *bench) {
				b.activate(t, "ada", "d1", fcm("t1"))
				b.clock = b.clock.Add(time.Minute)
				b.activate(t, newOwner, "d2", fcm("t1"))
				former, err := b.Device(t.Context(), "ada", "d1")
				require.NoError(t, err)
				require.Equal(t, devices.Inactive, former.State)
				require.EqualValues(t, 1, former.Generation)
				require.Equal(t, b.clock.Truncate(time.Microsecond), former.UpdatedAt)
				require.Equal(t, []string{"d1 target_moved"}, b.cancelled(t))
				// And back again, by whoever holds the installation.
				back := b.activate(t, "ada", "d1", fcm("t1"))
				require.EqualValues(t, 2, back.Generation)
				require.Equal(t, []string{"d2 target_moved"}, b.cancelled(t))
			})
		})
	}
}

func TestTakingADeviceOver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		b.activate(t, "ada", "d1", fcm("t1"))
		_, err := b.Activate(t.Context(), "bob", "d1", activation(fcm("t2")))
		require.ErrorIs(t, err, devices.ErrDeviceTaken)
		require.Equal(t, fault.Conflict, fault.KindOf(err))
		require.Empty(t, b.cancelled(t))

		d := b.activate(t, "bob", "d1", fcm("t1"))
		require.EqualValues(t, 2, d.Generation)
		require.Equal(t, []string{"d1 user_changed"}, b.cancelled(t))
		_, err = b.Device(t.Context(), "ada", "d1")
		require.ErrorIs(t, err, devices.ErrUnknownDevice)
	})
}

func TestARefusedTakeoverDisplacesNobody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		b.activate(t, "ada", "d1", fcm("t1"))
		b.activate(t, "cy", "d2", fcm("t2"))
		_, err := b.Activate(t.Context(), "bob", "d1", activation(fcm("t2")))
		require.ErrorIs(t, err, devices.ErrDeviceTaken)
		kept, err := b.Device(t.Context(), "cy", "d2")
		require.NoError(t, err)
		require.Equal(t, devices.Active, kept.State)
		require.Empty(t, b.cancelled(t))
	})
}

func TestNobodyClaimsAnothersClientID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		client := devices.Target{Kind: devices.AblyClient, Value: "ada"}
		b.activate(t, "ada", "d1", client)
		_, err := b.Activate(t.Context(), "bob", "d2", activation(client))
		require.ErrorIs(t, err, devices.ErrForeignClient)
		kept, err := b.Device(t.Context(), "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, devices.Active, kept.State)
	})
}

func TestDeactivate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		require.ErrorIs(t, b.Deactivate(t.Context(), "ada", "d1"), devices.ErrUnknownDevice)
		b.activate(t, "ada", "d1", fcm("t1"))
		require.ErrorIs(t, b.Deactivate(t.Context(), "bob", "d1"), devices.ErrUnknownDevice)
		require.Empty(t, b.cancelled(t))

		require.NoError(t, b.Deactivate(t.Context(), "ada", "d1"))
		require.Equal(t, []string{"d1 deactivated"}, b.cancelled(t))
		require.NoError(t, b.Deactivate(t.Context(), "ada", "d1"))
		require.Empty(t, b.cancelled(t))
		d, err := b.Device(t.Context(), "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, devices.Inactive, d.State)

		require.EqualValues(t, 2, b.activate(t, "ada", "d1", fcm("t1")).Generation)
	})
}

func TestRetire(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		retire := func(generation int64) bool {
			ok, err := b.Retire(t.Context(), "d1", generation, "unregistered")
			require.NoError(t, err)
			return ok
		}
		require.False(t, retire(1), "unknown")
		b.activate(t, "ada", "d1", fcm("t1"))
		b.activate(t, "ada", "d1", fcm("t2"))
		require.False(t, retire(1), "the verdict is about a former target")
		require.False(t, retire(3), "a generation yet to come")
		require.True(t, retire(2))
		require.False(t, retire(2), "already retired")
		d, err := b.Device(t.Context(), "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, devices.Retired, d.State)
		require.Equal(t, "unregistered", d.RetiredReason)
		require.EqualValues(t, 2, d.Generation)
		require.Empty(t, b.cancelled(t))

		require.NoError(t, b.Deactivate(t.Context(), "ada", "d1"), "nothing left to do")
		d = b.activate(t, "ada", "d1", fcm("t3"))
		require.Equal(t, devices.Active, d.State)
		require.Empty(t, d.RetiredReason)
		require.EqualValues(t, 3, d.Generation)

		require.NoError(t, b.Deactivate(t.Context(), "ada", "d1"))
		require.False(t, retire(3), "inactive is the user's word")
	})
}

func TestAFailedCancelTakesEverythingBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		before := b.activate(t, "ada", "d1", fcm("t1"))
		b.queue.fail = errors.New("ledger is broken")
		require.ErrorIs(t, b.Deactivate(t.Context(), "ada", "d1"), b.queue.fail)
		_, err := b.Activate(t.Context(), "bob", "d1", activation(fcm("t1")))
		require.ErrorIs(t, err, b.queue.fail)
		_, err = b.Activate(t.Context(), "bob", "d2", activation(fcm("t1")))
		require.ErrorIs(t, err, b.queue.fail)
		require.NotContains(t, err.Error(), "APA91b")
		after, err := b.Device(t.Context(), "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, before, after)
		_, err = b.Device(t.Context(), "bob", "d2")
		require.ErrorIs(t, err, devices.ErrUnknownDevice)
	})
}

func TestInvalidInputReachesNoTable(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			user devices.UserID
			id   devices.ID
			a    devices.Activation
		}{
			{"", "d1", activation(fcm("t1"))},
			{"ada", "../d1", activation(fcm("t1"))},
			{"ada", "d1", devices.Activation{}},
		} {
			_, err := b.Activate(t.Context(), tc.user, tc.id, tc.a)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		}
		found, err := b.Devices(t.Context(), "ada")
		require.NoError(t, err)
		require.Empty(t, found)
	})
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		got, err := b.Preferences(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, devices.Preferences{Muted: []string{}, OptedIn: []string{}}, got)

		want := devices.Preferences{Muted: []string{"loss", "win"}, OptedIn: []string{}}
		got, err = b.SetPreferences(t.Context(), "ada", devices.Preferences{Muted: []string{"win", "loss", "win"}})
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = b.SetPreferences(t.Context(), "ada", devices.Preferences{Muted: []string{"NO"}})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		got, err = b.Preferences(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, want, got)

		_, err = b.SetPreferences(t.Context(), "ada", devices.Preferences{OptedIn: []string{"tips"}})
		require.NoError(t, err)
		got, err = b.Preferences(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, devices.Preferences{Muted: []string{}, OptedIn: []string{"tips"}}, got)
		got, err = b.Preferences(t.Context(), "bob")
		require.NoError(t, err)
		require.Empty(t, got.OptedIn)

		night := &devices.Quiet{From: 22 * 60, To: 8 * 60, TimeZone: "Europe/London"}
		for _, step := range []struct{ set, want *devices.Quiet }{{night, night}, {nil, night}, {&devices.Quiet{From: 60, To: 120}, &devices.Quiet{From: 60, To: 120}}, {&devices.Quiet{}, nil}, {nil, nil}} {
			got, err = b.SetPreferences(t.Context(), "ada", devices.Preferences{Muted: []string{"win"}, Quiet: step.set})
			require.NoError(t, err)
			require.Equal(t, devices.Preferences{Muted: []string{"win"}, OptedIn: []string{}, Quiet: step.want}, got)
			stored, err := b.Preferences(t.Context(), "ada")
			require.NoError(t, err)
			require.Equal(t, got, stored)
		}
	})
}

func TestALateReportDoesNotRetireAnAblyDeviceThatItsAppHasRenewedSince(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		// Ably's device id stays when the app gives it a new push token.
		target := devices.Target{Kind: devices.AblyDevice, Value: "01J8XGJ3M2N4P5Q6R7S8T9V0WX"}
		b.activate(t, "ada", "d1", target)
		b.clock = b.clock.Add(2 * time.Hour)
		failed := b.clock
		b.clock = b.clock.Add(10 * time.Minute)
		b.activate(t, "ada", "d1", target)
		b.clock = b.clock.Add(20 * time.Minute)

		retired, err := b.RetireTarget(t.Context(), target, failed, "ably_token_invalid")
		require.NoError(t, err)
		require.False(t, retired, "the report is about the token before")
		retired, err = b.RetireTarget(t.Context(), target, b.clock, "ably_token_invalid")
		require.NoError(t, err)
		require.True(t, retired)
	})
}

// audit writes what it is told through the transaction that it is given.
type audit struct{ fail error }

func (a *audit) NoteDeactivation(ctx context.Context, tx *sql.Tx, by devices.Operator, reason string, before, after devices.Device) error {
	if a.fail != nil {
		return a.fail
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO cancelled (device_id, reason) VALUES ($1, $2)`, string(before.ID),
		fmt.Sprintf("%s by %s (%s): %s>%s", reason, by.Name, by.RequestID, before.State, after.State))
	return err
}

func TestAnOperatorDeactivatesADeviceUntilItsAppActivatesIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		alice, books := devices.Operator{Name: "alice", RequestID: "r1"}, &audit{}
		_, err := b.DeactivateBy(t.Context(), alice, "d1", "lost")
		require.ErrorContains(t, err, "no audit", "nobody may do it unseen")
		office := sqldevices.New(b.db, sqldevices.Config{Canceller: b.queue, Auditor: books, Now: func() time.Time { return b.clock }})
		_, err = office.DeactivateBy(t.Context(), alice, "d1", "lost")
		require.ErrorIs(t, err, devices.ErrUnknownDevice)
		_, err = office.DeactivateBy(t.Context(), alice, "no id", "lost")
		require.Equal(t, fault.Invalid, fault.KindOf(err))

		first := b.activate(t, "ada", "d1", fcm("t1"))
		other := b.activate(t, "ada", "d2", fcm("t2"))
		b.clock = b.clock.Add(time.Hour)
		full := errors.New("the disk is full")
		books.fail = full
		_, err = office.DeactivateBy(t.Context(), alice, "d1", "lost")
		require.ErrorIs(t, err, full)
		require.Empty(t, b.cancelled(t))
		stored, err := b.Device(t.Context(), "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, first, stored, "no change without its audit")

		books.fail = nil
		got, err := office.DeactivateBy(t.Context(), alice, "d1", "lost")
		require.NoError(t, err)
		want := first
		want.State, want.UpdatedAt = devices.Inactive, b.clock.Truncate(time.Microsecond)
		require.Equal(t, want, got)
		require.ElementsMatch(t, []string{"d1 deactivated", "d1 lost by alice (r1): active>inactive"}, b.cancelled(t))
		stored, err = b.Device(t.Context(), "ada", "d2")
		require.NoError(t, err)
		require.Equal(t, other, stored, "the user's other devices are not concerned")

		again, err := office.DeactivateBy(t.Context(), alice, "d1", "lost")
		require.NoError(t, err)
		require.Equal(t, want, again)
		_, err = b.Retire(t.Context(), "d2", 1, "unregistered")
		require.NoError(t, err)
		retired, err := office.DeactivateBy(t.Context(), alice, "d2", "")
		require.NoError(t, err)
		require.Equal(t, devices.Retired, retired.State, "what is dead is not made inactive")
		require.Empty(t, b.cancelled(t))

		revived := b.activate(t, "ada", "d1", fcm("t1"))
		require.Equal(t, devices.Active, revived.State)
		require.Equal(t, first.Generation+1, revived.Generation)
	})
}
