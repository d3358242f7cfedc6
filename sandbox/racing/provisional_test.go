package racing_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/racing"
)

// Provisional results change nothing for whoever does not announce them, and
// every short run has one; some have a dead heat.
func TestWorldPlaysProvisionalResultsAndDeadHeats(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			o := playWith(t, racing.Config{Seed: seed, Provisional: true}, 60*time.Second, func(*bugle) {})
			require.True(t, o.tally.Clean(), "seed %d: %s\n%v", seed, &o.tally, o.tally.Problems)
			require.Positive(t, o.stats.Provisional, "seed %d", seed)
			require.Contains(t, strings.Join(o.story, "\n"), "photo finish")
			require.Equal(t, seed%3 == 2, o.tally.Announced["bet-settled/DEAD_HEAT"] > 0, "seed %d", seed)
		})
	}
}
