package console

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
)

const (
	// DefaultEvery is how often a sample is taken, and the overview renewed.
	DefaultEvery = 3 * time.Second
	// samplesKept is how many samples there are besides the newest: with
	// DefaultEvery, those of a quarter of an hour.
	samplesKept = 300
)

// series is a metric with the values of the labels that are told apart; what
// differs in others is added up.
type series struct{ metric, first, second string }

// histogram is how many observations were at most as large as each bound, the
// last of which is infinite.
type histogram struct {
	bounds []float64
	counts []float64
}

// sample is what the metrics of this replica said at one moment, as far as
// charts show them. It is not changed any more.
type sample struct {
	at         time.Time
	values     map[series]float64
	histograms map[series]histogram
}

// labelsFollowed names the metrics that are kept, with the labels that tell
// their series apart.
func labelsFollowed() map[string][2]string {
	return map[string][2]string{
		metricAttempts:      {"provider", "verdict"},
		metricNotifications: {"rule", "outcome"},
		metricLatency:       {"rule"},
		metricPending:       {"lane"},
		metricOldest:        {"lane"},
		metricPaused:        {"provider", "cause"},
		metricRelayRecords:  {"fate"},
		metricRelayLag:      {},
		metricBetsAccepted:  {},
		metricBetsRefused:   {},

		metricQuotaRate:        {"provider"},
		metricQuotaShare:       {"provider"},
		metricQuotaPausedUntil: {"provider"},
		metricQuotaSlowed:      {"provider"},
		metricQuotaGranted:     {"provider"},
		metricRelayAttempts:    {},
		metricRelayLimit:       {"limit"},
		metricRelayHeld:        {"cause"},
		metricRelayHolds:       {"cause"},
	}
}

// The metrics that charts are made of.
const (
	metricAttempts      = "bugle_attempts_total"
	metricNotifications = "bugle_notifications_total"
	metricLatency       = "bugle_event_to_accepted_seconds"
	metricPending       = "bugle_deliveries_pending"
	metricOldest        = "bugle_deliveries_oldest_due_seconds"
	metricPaused        = "bugle_provider_paused"
	metricRelayRecords  = "bugle_relay_records_total"
	metricRelayLag      = "bugle_relay_lag_records"
	metricBetsAccepted  = "bugle_bets_accepted_total"
	metricBetsRefused   = "bugle_bets_refused_total"

	metricQuotaRate        = "bugle_quota_rate"
	metricQuotaShare       = "bugle_quota_share"
	metricQuotaPausedUntil = "bugle_quota_paused_until_timestamp_seconds"
	metricQuotaSlowed      = "bugle_quota_slowed_timestamp_seconds"
	metricQuotaGranted     = "bugle_quota_granted_total"
	metricRelayAttempts    = "bugle_relay_attempts_total"
	metricRelayLimit       = "bugle_relay_rate_limit"
	metricRelayHeld        = "bugle_relay_held"
	metricRelayHolds       = "bugle_relay_holds_total"
)

// sampleOf takes a sample. What has not changed since the one before is shared
// with it, so that rules at rest cost little.
func sampleOf(at time.Time, families []*dto.MetricFamily, before sample) sample {
	out := sample{at: at, values: map[series]float64{}, histograms: map[series]histogram{}}
	followed := labelsFollowed()
	for _, f := range families {
		labels, ok := followed[f.GetName()]
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			key := series{f.GetName(), label(m, labels[0]), label(m, labels[1])}
			switch {
			case key.metric == metricNotifications && !isNews(key.second): // no chart shows it
			case m.GetHistogram() != nil:
				out.histograms[key] = out.histograms[key].plus(histogramOf(m.GetHistogram()))
			case m.GetCounter() != nil:
				out.values[key] += m.GetCounter().GetValue()
			default:
				out.values[key] += m.GetGauge().GetValue()
			}
		}
	}
	for key, now := range out.histograms {
		if last := before.histograms[key]; slices.Equal(last.counts, now.counts) && slices.Equal(last.bounds, now.bounds) {
			out.histograms[key] = last
		}
	}
	return out
}

// isNews tells whether an outcome of bugle_notifications_total is something to
// announce: a version that was not known, or that a run took over from a failed one.
func isNews(outcome string) bool { return outcome == "new" || outcome == "adopted" }

func histogramOf(h *dto.Histogram) (out histogram) {
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) {
			continue
		}
		out.bounds = append(out.bounds, b.GetUpperBound())
		out.counts = append(out.counts, float64(b.GetCumulativeCount()))
	}
	out.bounds = append(out.bounds, math.Inf(1))
	out.counts = append(out.counts, float64(h.GetSampleCount()))
	return out
}

// plus adds up two histograms of the same bounds. Of others, which no metric of
// ours has, it keeps the first.
func (h histogram) plus(o histogram) histogram {
	if h.bounds == nil {
		return o
	}
	if !slices.Equal(h.bounds, o.bounds) {
		return h
	}
	out := histogram{bounds: h.bounds, counts: slices.Clone(h.counts)}
	for i, n := range o.counts {
		out.counts[i] += n
	}
	return out
}

// samples are the newest ones, the oldest first.
type samples struct {
	mu   sync.Mutex
	list []sample
}

func (s *samples) add(at time.Time, families []*dto.MetricFamily) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A clock that was put back has made samples of the future: a line would run back through them.
	last := len(s.list)
	for last > 0 && !s.list[last-1].at.Before(at) {
		last--
	}
	var before sample
	if last > 0 {
		before = s.list[last-1]
	}
	x := sampleOf(at, families, before)
	from := max(0, last-samplesKept)
	// A list that was handed out stays as it is.
	s.list = append(slices.Clone(s.list[from:last]), x)
}

// all returns the samples, which the caller must not change.
func (s *samples) all() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// keepSampling takes samples until ctx ends.
func (c *Console) keepSampling(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	var failed string
	for {
		families, err := c.gatherer.Gather()
		if err != nil && err.Error() != failed {
			c.log.Warn().Err(err).Msg("metrics not gathered for the charts")
			failed = err.Error()
		}
		if err == nil {
			failed = ""
		}
		if len(families) > 0 {
			c.samples.add(time.Now(), families)
		}
		c.watch.due()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
