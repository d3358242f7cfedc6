package console

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPauseIsAsOldAsItsSamplesSay(t *testing.T) {
	t.Parallel()
	key := series{metricPaused, "fcm", "breaker"}
	begin := time.Unix(1_000_000, 0)
	past := func(values ...float64) history {
		var h history
		for i, v := range values {
			s := sample{at: begin.Add(time.Duration(i) * time.Second), values: map[series]float64{key: v}}
			if v < 0 { // it was not there
				s.values = nil
			}
			h.samples = append(h.samples, s)
		}
		return h
	}
	for _, tt := range []struct {
		h      history
		at     time.Time
		longer bool
	}{
		{past(), time.Time{}, false},
		{past(0, 0), time.Time{}, false},
		{past(1, 0, 1, 1), begin.Add(2 * time.Second), false},
		{past(-1, 1), begin.Add(time.Second), false},
		{past(1, 1, 1), begin, true},
		{past(1, 1, 0), time.Time{}, false}, // it began after the newest sample
	} {
		at, longer := tt.h.since(key)
		require.Equal(t, tt.at, at)
		require.Equal(t, tt.longer, longer)
	}
}

func TestAClockThatIsPutBackLeavesNoSamplesOfTheFuture(t *testing.T) {
	t.Parallel()
	var s samples
	at := time.Unix(1_000_000, 0)
	for _, second := range []int{0, 3, 6, 9, 4, 7} {
		s.add(at.Add(time.Duration(second)*time.Second), nil)
	}
	var got []int
	for _, x := range s.all() {
		got = append(got, int(x.at.Sub(at).Seconds()))
	}
	require.Equal(t, []int{0, 3, 4, 7}, got)
}
