package console

import (
	"math"
	"slices"
	"time"
)

// The windows of what charts show, in samples; with DefaultEvery, a quarter of a
// minute and a minute. A rate per second follows quickly; what comes in ticks or
// is rare wants a longer look to mean something.
const (
	shortWindow = 5
	longWindow  = 20
)

// history is what charts read: samples, the oldest first, taken every so often.
type history struct {
	samples []sample
	every   time.Duration
}

func (c *Console) history() history { return history{c.samples.all(), c.every} }

// pick says which series count, and by which name they are shown; those of one
// name are added up.
type pick func(series) (name string, ok bool)

// first picks a metric by its first label.
func first(metric string) pick {
	return func(s series) (string, bool) { return s.first, s.metric == metric }
}

// second picks a metric by its second label.
func second(metric string) pick {
	return func(s series) (string, bool) { return s.second, s.metric == metric }
}

// whole picks all of a metric under one name.
func whole(metric, name string) pick {
	return func(s series) (string, bool) { return name, s.metric == metric }
}

// values returns what each name said at each sample; NaN where it said nothing.
func (h history) values(p pick) map[string][]float64 {
	out := map[string][]float64{}
	for i, s := range h.samples {
		for key, value := range s.values {
			name, ok := p(key)
			if !ok {
				continue
			}
			if out[name] == nil {
				out[name] = slices.Repeat([]float64{math.NaN()}, len(h.samples))
			}
			if math.IsNaN(out[name][i]) {
				out[name][i] = 0
			}
			out[name][i] += value
		}
	}
	return out
}

// rates returns how fast the counters of each name grew at each sample, in units
// of per, over the window before it; NaN at the first, before which there is nothing.
func (h history) rates(p pick, window int, per time.Duration) map[string][]float64 {
	grown := map[string][]float64{} // since the sample before
	for i, s := range h.samples {
		for key := range s.values {
			name, ok := p(key)
			if !ok {
				continue
			}
			if grown[name] == nil {
				grown[name] = make([]float64, len(h.samples))
			}
			if i > 0 {
				grown[name][i] += increase(h.samples[i-1].values[key], s.values[key])
			}
		}
	}
	out := make(map[string][]float64, len(grown))
	for name, steps := range grown {
		rates := make([]float64, len(h.samples))
		sum := make([]float64, len(h.samples))
		for i := range h.samples {
			if i == 0 {
				rates[i] = math.NaN()
				continue
			}
			sum[i] = sum[i-1] + steps[i]
			from := h.windowStart(i, window)
			rates[i] = (sum[i] - sum[from]) / h.samples[i].at.Sub(h.samples[from].at).Seconds() * per.Seconds()
		}
		out[name] = rates
	}
	return out
}

// windowStart is the oldest sample of the window that ends with i, and at least
// the one before it.
func (h history) windowStart(i, window int) int {
	// A sample may be a little late.
	long := time.Duration(window)*h.every + h.every/2
	from := max(i-1, 0)
	for from > 0 && h.samples[i].at.Sub(h.samples[from-1].at) <= long {
		from--
	}
	return from
}

// increase is by how much a counter grew. One that is lower than it was began
// anew, at nothing. One that was not there was nothing: a series begins with
// its first count, in the process that counts here.
func increase(before, after float64) float64 {
	if after < before {
		return after
	}
	return after - before
}

// quantiles returns, for each of the shares qs and at each sample, below what that
// share of the observations was that were made in the window before it; NaN where
// there were none.
func (h history) quantiles(p pick, window int, qs ...float64) [][]float64 {
	seen := h.observed(p)
	out := make([][]float64, len(qs))
	for k := range qs {
		out[k] = slices.Repeat([]float64{math.NaN()}, len(h.samples))
	}
	for i := 1; i < len(h.samples); i++ {
		within := seen[i].since(seen[h.windowStart(i, window)])
		for k, q := range qs {
			out[k][i] = within.quantile(q)
		}
	}
	return out
}

// observed returns what was observed from the first sample up to each.
func (h history) observed(p pick) []histogram {
	out := make([]histogram, len(h.samples))
	for i, s := range h.samples {
		if i == 0 {
			continue
		}
		out[i] = out[i-1]
		for key, now := range s.histograms {
			if _, ok := p(key); !ok {
				continue
			}
			if before := h.samples[i-1].histograms[key]; before.total() != now.total() {
				out[i] = out[i].plus(now.since(before))
			}
		}
	}
	return out
}

// since is what was observed after an earlier state. One that had seen more, or
// had other bounds, is of a histogram that has begun anew.
func (h histogram) since(before histogram) histogram {
	if !slices.Equal(h.bounds, before.bounds) {
		return h
	}
	out := histogram{bounds: h.bounds, counts: make([]float64, len(h.counts))}
	for i, n := range h.counts {
		if n < before.counts[i] {
			return h
		}
		out.counts[i] = n - before.counts[i]
	}
	return out
}

// total is how many observations there were.
func (h histogram) total() float64 {
	if len(h.counts) == 0 {
		return 0
	}
	return h.counts[len(h.counts)-1]
}

// quantile is below what the share q of the observations is, as Prometheus's
// histogram_quantile tells it: within a bucket they are taken to be spread
// evenly, the first begins at 0, and of what is above the last finite bound only
// that bound is known. NaN when there are none.
func (h histogram) quantile(q float64) float64 {
	if h.total() == 0 {
		return math.NaN()
	}
	rank := q * h.total()
	i := slices.IndexFunc(h.counts, func(n float64) bool { return n >= rank })
	if math.IsInf(h.bounds[i], 1) {
		if i == 0 {
			return math.NaN()
		}
		return h.bounds[i-1]
	}
	var low, below float64
	if i > 0 {
		low, below = h.bounds[i-1], h.counts[i-1]
	}
	in := h.counts[i] - below
	if in == 0 {
		return low
	}
	return low + (h.bounds[i]-low)*(rank-below)/in
}
