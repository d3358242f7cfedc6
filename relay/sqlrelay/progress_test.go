package sqlrelay_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

func each(t *testing.T, run func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) { run(t, d.Open(t)) })
	}
}

func mark(source, channel string, offset int64) relay.Mark {
	return relay.Mark{Source: source, Channel: channel, Offset: offset, Epoch: 3}
}

// marks are those of a source whose end is far away, "offset@epoch" by channel.
func marks(t *testing.T, p *sqlrelay.Progress, source string) map[string]string {
	t.Helper()
	got, err := p.Open(t.Context(), source, 1_000_000)
	require.NoError(t, err)
	out := map[string]string{}
	for channel, m := range got {
		require.Equal(t, source, m.Source)
		require.Equal(t, channel, m.Channel)
		out[channel] = fmt.Sprintf("%d@%d", m.Offset, m.Epoch)
	}
	return out
}

// A mark rises and never falls, in whatever order its channel's offsets come.
func TestMarksOnlyRise(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		require.NoError(t, p.Save(t.Context(), nil))
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("c/odds/id/0", "a", 7), mark("c/odds/id/0", "b", 1), mark("c/odds/id/0", "a", 9), mark("c/odds/id/1", "a", 3)}))
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("c/odds/id/0", "a", 8), mark("c/odds/id/0", "b", 2)}))
		require.Equal(t, map[string]string{"a": "9@3", "b": "2@3"}, marks(t, p, "c/odds/id/0"))
		require.Equal(t, map[string]string{"a": "3@3"}, marks(t, p, "c/odds/id/1"))
		require.Empty(t, marks(t, p, "nowhere"))

		// A log that has lost its end goes on below, in a higher epoch.
		later := mark("c/odds/id/0", "a", 5)
		later.Epoch = 4
		require.NoError(t, p.Save(t.Context(), []relay.Mark{later, mark("c/odds/id/0", "a", 10)}))
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("c/odds/id/0", "a", 11)}), "it came late")
		require.Equal(t, map[string]string{"a": "5@4", "b": "2@3"}, marks(t, p, "c/odds/id/0"))
	})
}

// Marks beyond the end of a source would hide what comes there: they are removed,
// and do not keep new ones from being saved.
func TestMarksBeyondTheEndAreRemoved(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("s", "a", 4), mark("s", "b", 5), mark("s", "c", 90), mark("other", "c", 90)}))
		got, err := p.Open(t.Context(), "s", 5)
		require.NoError(t, err)
		require.Equal(t, map[string]relay.Mark{"a": mark("s", "a", 4)}, got)
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("s", "c", 6)}))
		require.Equal(t, map[string]string{"a": "4@3", "c": "6@3"}, marks(t, p, "s"))
		require.Equal(t, map[string]string{"c": "90@3"}, marks(t, p, "other"))
	})
}

// What a restart would begin behind is removed, and nothing else.
func TestForgetKeepsWhatIsOfUse(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("s", "old", 4), mark("s", "at", 5), mark("s", "new", 6), mark("other", "old", 4)}))
		require.NoError(t, p.Forget(t.Context(), "s", 5))
		require.Equal(t, map[string]string{"at": "5@3", "new": "6@3"}, marks(t, p, "s"))
		require.Equal(t, map[string]string{"old": "4@3"}, marks(t, p, "other"))
	})
}

// count is how many rows a table has.
func count(t *testing.T, db *sqldb.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n))
	return n
}

// age makes a source one that was used that long ago.
func age(t *testing.T, db *sqldb.DB, source string, by time.Duration) {
	t.Helper()
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		n, err := sqldb.Exec(ctx, tx, `UPDATE relay_sources SET used_at = used_at - $1 WHERE source = $2`, by.Microseconds(), source)
		require.Equal(t, 1, n)
		return err
	}))
}

// Progress of a source that nobody has had for long goes, in steps; what somebody
// has stays, however old its marks are.
func TestProgressOfWhatIsGoneIsRemoved(t *testing.T) {
	const month = 30 * 24 * time.Hour
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		for _, source := range []string{"gone", "empty", "used", "opened", "young"} {
			require.Empty(t, marks(t, p, source))
			if source != "empty" {
				require.NoError(t, p.Save(t.Context(), []relay.Mark{mark(source, "a", 1), mark(source, "b", 2), mark(source, "c", 3)}))
			}
			age(t, db, source, month+time.Minute)
		}
		age(t, db, "young", -2*time.Minute)
		age(t, db, "empty", time.Minute) // it comes first
		require.NoError(t, p.Use(t.Context(), []string{"used", "used"}))
		require.Len(t, marks(t, p, "opened"), 3)

		var steps []int
		for more := true; more; {
			var n int
			var err error
			n, more, err = p.RemoveGone(t.Context(), month, 2)
			require.NoError(t, err)
			steps = append(steps, n)
		}
		require.Equal(t, []int{0, 2, 1, 0}, steps, "the empty one, two steps of the one that is gone, and nothing more")
		require.Equal(t, 9, count(t, db, "relay_progress"))
		require.Equal(t, 3, count(t, db, "relay_sources"))
		require.Empty(t, marks(t, p, "gone"))
		for _, source := range []string{"used", "opened", "young"} {
			require.Len(t, marks(t, p, source), 3, source)
		}
	})
}
