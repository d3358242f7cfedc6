package console

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// told makes a history of what a counter said, one sample a second; a value
// below 0 is a sample in which it did not stand.
func told(values ...float64) history {
	h := history{every: time.Second}
	for i, v := range values {
		s := sample{at: time.Unix(int64(i), 0), values: map[series]float64{}, histograms: map[series]histogram{}}
		if v >= 0 {
			s.values[series{metricAttempts, "fcm", "sent"}] = v
		}
		h.samples = append(h.samples, s)
	}
	return h
}

func sentRates(h history, window int) []float64 {
	return h.rates(second(metricAttempts), window, time.Second)["sent"]
}

func requireNumbers(t *testing.T, want, got []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, math.IsNaN(want[i]), math.IsNaN(got[i]), "%d: %v", i, got)
		if !math.IsNaN(want[i]) {
			require.InDelta(t, want[i], got[i], 1e-9, "%d: %v", i, got)
		}
	}
}

func TestARateIsTheGrowthWithinItsWindow(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for name, tt := range map[string]struct {
		values []float64
		window int
		want   []float64
	}{
		"one sample says nothing": {[]float64{5}, 3, []float64{nan}},
		"steady":                  {[]float64{100, 110, 120, 130}, 2, []float64{nan, 10, 10, 10}},
		"a burst fades":           {[]float64{0, 9, 9, 9, 9}, 3, []float64{nan, 9, 4.5, 3, 0}},
		"a reset is no loss":      {[]float64{50, 60, 4, 10}, 1, []float64{nan, 10, 4, 6}},
		"a first count is growth": {[]float64{-1, -1, 7, 7}, 1, []float64{nan, 0, 7, 0}},
		"a series that has gone":  {[]float64{5, -1, 2}, 1, []float64{nan, 0, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireNumbers(t, tt.want, sentRates(told(tt.values...), tt.window))
		})
	}
	require.Empty(t, history{}.rates(second(metricAttempts), 3, time.Second))
}

// A minute in which nothing was measured counts with all of its length.
func TestAGapIsSpreadOverItsLength(t *testing.T) {
	t.Parallel()
	h := told(0, 10, 70, 80)
	for i := 2; i < 4; i++ {
		h.samples[i].at = h.samples[i].at.Add(59 * time.Second)
	}
	requireNumbers(t, []float64{math.NaN(), 10, 1, 10}, sentRates(h, 1))
	require.Equal(t, []int{100 - 62, 100 - 61, 100 - 1, 100}, []int{
		h.place(h.samples[0].at), h.place(h.samples[1].at), h.place(h.samples[2].at), h.place(h.samples[3].at),
	})
}

func TestRatesAreNeverNegative(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := told(rapid.SliceOfN(rapid.Float64Range(-1, 1e6), 2, 40).Draw(t, "values")...)
		for i, r := range sentRates(h, rapid.IntRange(1, 30).Draw(t, "window")) {
			if i > 0 && (math.IsNaN(r) || r < -1e-6) {
				t.Fatalf("%d: %v", i, r)
			}
		}
	})
}

func buckets(counts ...float64) histogram {
	return histogram{bounds: []float64{1, 2, 4, math.Inf(1)}, counts: counts}
}

// The expected values are those of Prometheus's histogram_quantile.
func TestQuantilesLieWithinTheirBuckets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		h       histogram
		q, want float64
	}{
		"nothing":                     {histogram{}, .95, math.NaN()},
		"nothing was seen":            {buckets(0, 0, 0, 0), .95, math.NaN()},
		"the first begins at nothing": {buckets(10, 10, 10, 10), .5, .5},
		"between bounds":              {buckets(0, 10, 20, 20), .75, 3},
		"at a bound":                  {buckets(10, 20, 20, 20), .5, 1},
		"an empty bucket":             {buckets(10, 10, 20, 20), .75, 3},
		"beyond the last bound":       {buckets(0, 0, 0, 5), .95, 4},
		"no finite bound":             {histogram{bounds: []float64{math.Inf(1)}, counts: []float64{3}}, .5, math.NaN()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireNumbers(t, []float64{tt.want}, []float64{tt.h.quantile(tt.q)})
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		var counts []float64
		n := 0.0
		for range 4 {
			n += float64(rapid.IntRange(0, 9).Draw(t, "in"))
			counts = append(counts, n)
		}
		h := buckets(counts...)
		low, high := rapid.Float64Range(0, 1).Draw(t, "q"), rapid.Float64Range(0, 1).Draw(t, "q")
		if low > high {
			low, high = high, low
		}
		a, b := h.quantile(low), h.quantile(high)
		if math.IsNaN(a) != (n == 0) || a > b || a < 0 || b > 4 {
			t.Fatalf("%v: %v is %v, %v is %v", counts, low, a, high, b)
		}
	})
}

// Only what was observed within the window counts, of all rules together, and a
// histogram that begins anew takes nothing away.
func TestQuantilesAreThoseOfTheWindow(t *testing.T) {
	t.Parallel()
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricLatency, Help: "x", Buckets: []float64{1, 2, 4}}, []string{"rule"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(latency)
	var kept samples
	h := history{every: time.Second}
	look := func() {
		families, err := reg.Gather()
		require.NoError(t, err)
		kept.add(time.Unix(int64(len(h.samples)), 0), families)
		h.samples = kept.all()
	}
	observe := func(rule string, times int, v float64) {
		for range times {
			latency.WithLabelValues(rule).Observe(v)
		}
	}
	look()
	observe("a", 10, .5)
	look()
	observe("a", 5, 1.5)
	observe("b", 5, 3)
	look()
	look()
	look()
	latency.Reset()
	observe("a", 2, .5)
	look()
	all := func(s series) (string, bool) { return "", s.metric == metricLatency }
	nan := math.NaN()
	requireNumbers(t, []float64{nan, .5, 2, nan, nan, .5}, h.quantiles(all, 1, .5)[0])
	requireNumbers(t, []float64{nan, .5, 1, 2, nan, .5}, h.quantiles(all, 2, .5)[0])
}
