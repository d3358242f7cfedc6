package notifier_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fill makes the database as if its disk were full; free undoes that.
func (w *world) fill() {
	w.t.Helper()
	var pages int
	require.NoError(w.t, w.db.SQL().QueryRowContext(w.t.Context(), `PRAGMA page_count`).Scan(&pages))
	w.pragma(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
}

func (w *world) free() {
	w.t.Helper()
	w.pragma(`PRAGMA max_page_count = 1000000`)
}

func (w *world) pragma(query string) {
	w.t.Helper()
	require.NoError(w.t, w.db.Tx(w.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		var n int
		return tx.QueryRowContext(ctx, query).Scan(&n)
	}))
}

func TestAFullDiskLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 20 {
			w.device(fmt.Sprintf("d%02d", i), fmt.Sprintf("u%02d", i))
		}
		stop := w.replica(rulesYAML, "replica-1")
		time.Sleep(3 * time.Second)
		settled := 0
		settle := func(n int) {
			for range n {
				// Long ids, so that there is no room left for even one of them.
				w.settle(fmt.Sprintf("bet-%03d-%0500d", settled, 0), fmt.Sprintf("u%02d", settled%20), "WON")
				settled++
				time.Sleep(50 * time.Millisecond)
			}
		}
		settle(20)
		w.fill()
		settle(60)
		full := len(w.accepted())
		require.Less(t, full, 80, "the disk is full, so that not all can have gone out")
		time.Sleep(30 * time.Second)
		w.free()
		settle(20)
		time.Sleep(90 * time.Second) // leases lapse in a minute
		stop()
		got := w.accepted()
		require.Len(t, got, 100)
		for i := 1; i < len(got); i++ {
			require.NotEqual(t, got[i-1], got[i])
		}
		require.Equal(t, map[string]int{"sent": 100}, w.states())
	})
}
