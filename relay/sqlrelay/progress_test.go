package sqlrelay_test

import (
	"testing"

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
	return relay.Mark{Source: source, Channel: channel, Offset: offset}
}

// A mark rises and never falls, in whatever order its channel's offsets come.
func TestMarksOnlyRise(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		require.NoError(t, p.Save(t.Context(), nil))
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("c/odds/id/0", "a", 7), mark("c/odds/id/0", "b", 1), mark("c/odds/id/0", "a", 9), mark("c/odds/id/1", "a", 3)}))
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("c/odds/id/0", "a", 8), mark("c/odds/id/0", "b", 2)}))
		marks, err := p.Marks(t.Context(), "c/odds/id/0")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"a": 9, "b": 2}, marks)
		marks, err = p.Marks(t.Context(), "c/odds/id/1")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"a": 3}, marks)
		marks, err = p.Marks(t.Context(), "nowhere")
		require.NoError(t, err)
		require.Empty(t, marks)
	})
}

// What a restart would begin behind is removed, and nothing else.
func TestForgetKeepsWhatIsOfUse(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		p := sqlrelay.NewProgress(db)
		require.NoError(t, p.Save(t.Context(), []relay.Mark{mark("s", "old", 4), mark("s", "at", 5), mark("s", "new", 6), mark("other", "old", 4)}))
		require.NoError(t, p.Forget(t.Context(), "s", 5))
		marks, err := p.Marks(t.Context(), "s")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"at": 5, "new": 6}, marks)
		marks, err = p.Marks(t.Context(), "other")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"old": 4}, marks)
	})
}
