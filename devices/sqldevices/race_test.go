package sqldevices_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

// loser makes the first transactions meet a unique index, as if another
// process had got there first.
type loser struct{ losses int }

func (l *loser) CancelQueued(ctx context.Context, tx *sql.Tx, id devices.ID, _ string) error {
	if l.losses == 0 {
		return nil
	}
	l.losses--
	_, err := tx.ExecContext(ctx, `INSERT INTO devices SELECT * FROM devices WHERE id = $1`, string(id))
	return err
}

func TestTheLoserOfARaceStartsAgain(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			l := &loser{}
			registry := sqldevices.New(d.Open(t), sqldevices.Config{Canceller: l})
			_, err := registry.Activate(t.Context(), "ada", "d1", activation(fcm("t1")))
			require.NoError(t, err)
			l.losses = 3
			got, err := registry.Activate(t.Context(), "bob", "d1", activation(fcm("t1")))
			require.NoError(t, err)
			require.EqualValues(t, 2, got.Generation, "lost tries leave nothing behind")
			require.Zero(t, l.losses)

			l.losses = 1000
			_, err = registry.Activate(t.Context(), "ada", "d1", activation(fcm("t1")))
			require.Error(t, err, "not for ever")
			require.NotContains(t, err.Error(), "APA91b")
		})
	}
}

// Many devices of many users claim one target at once, and two devices swap
// theirs: whoever wins, the target ends active on exactly one device, nobody
// meets an error that is not about ownership, and nobody waits for ever.
func TestManyClaimOneTargetAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		const claimants, rounds = 8, 5
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			failed []error
		)
		claim := func(user devices.UserID, id devices.ID, target devices.Target) {
			_, err := b.Activate(t.Context(), user, id, activation(target))
			if err != nil && !errors.Is(err, devices.ErrDeviceTaken) {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		}
		for i := range claimants {
			name := string(rune('a' + i))
			wg.Go(func() {
				for r := range rounds {
					claim(devices.UserID("user-"+name), devices.ID("own-"+name), fcm("contested"))
					claim(devices.UserID("user-"+name), "shared", fcm("contested"))
					swap := []devices.Target{fcm("left"), fcm("right")}
					claim("ada", "swap-1", swap[(i+r)%2])
					claim("ada", "swap-2", swap[(i+r+1)%2])
				}
			})
		}
		wg.Wait()
		require.Empty(t, failed)
		for target, n := range countActive(t, b.db) {
			require.Equal(t, 1, n, target)
		}
		require.Contains(t, countActive(t, b.db), fcm("contested").Value.Reveal())
	})
}

// countActive returns how many devices each target is active on.
func countActive(t require.TestingT, db *sqldb.DB) map[string]int {
	out := map[string]int{}
	ctx := context.Background()
	rows, err := db.SQL().QueryContext(ctx, `SELECT provider, target_value, COUNT(*) FROM devices WHERE state = 'active' GROUP BY provider, target_value`)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var provider, value string
		var n int
		require.NoError(t, rows.Scan(&provider, &value, &n))
		out[value] = n
	}
	require.NoError(t, rows.Err())
	return out
}
