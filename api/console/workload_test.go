package console_test

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// workload are metrics of a service at work, as the notifier, the relay and bets
// have them; tests say what was done. Nothing has a series before.
type workload struct {
	registry                               *prometheus.Registry
	attempts, news, relayed, bets, refused *prometheus.CounterVec
	latency                                *prometheus.HistogramVec
	paused, rate                           *prometheus.GaugeVec
	quota                                  quotaload
}

// newWorkload lends its metrics the words of those that there are: what two
// registries say of one metric is taken together only when it has the same.
func newWorkload(t testing.TB, there prometheus.Gatherer) *workload {
	t.Helper()
	families, err := there.Gather()
	require.NoError(t, err)
	help := func(name string) string {
		for _, f := range families {
			if f.GetName() == name {
				return f.GetHelp()
			}
		}
		return "x"
	}
	counter := func(name string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help(name)}, labels)
	}
	gauge := func(name string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help(name)}, labels)
	}
	w := &workload{
		registry: prometheus.NewRegistry(),
		attempts: counter("bugle_attempts_total", "provider", "verdict", "code"),
		news:     counter("bugle_notifications_total", "rule", "outcome"),
		relayed:  counter("bugle_relay_records_total", "topic", "fate"),
		bets:     counter("bugle_bets_accepted_total", "authenticated"),
		refused:  counter("bugle_bets_refused_total", "reason"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_event_to_accepted_seconds", Help: "x", Buckets: []float64{.25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600},
		}, []string{"rule"}),
		paused: gauge("bugle_provider_paused", "provider", "cause"),
		rate:   gauge("bugle_send_rate_limit", "provider"),
	}
	w.registry.MustRegister(w.attempts, w.news, w.relayed, w.bets, w.refused, w.latency, w.paused, w.rate)
	w.quota = newQuotaload(counter, gauge)
	w.registry.MustRegister(w.quota.rate, w.quota.share, w.quota.until, w.quota.slowed, w.quota.granted, w.quota.published, w.quota.budget, w.quota.holds)
	w.quota.rate.WithLabelValues("fcm").Set(100)
	w.quota.granted.WithLabelValues("fcm").Add(0)
	return w
}

// pastQuarter gives a world the last quarter of an hour: a quiet start, a race
// that is settled, and a provider that has failed for a while.
func (w *world) pastQuarter(t testing.TB) {
	t.Helper()
	const every = 3 * time.Second
	now := time.Now()
	wave := func(i, at, wide int, high float64) float64 {
		x := float64(i-at) / float64(wide)
		return math.Round(high * math.Exp(-x*x))
	}
	for i := range 301 {
		sent := wave(i, 110, 14, 1200) + wave(i, 225, 20, 700) + 36 + 12*math.Round(math.Sin(float64(i)/9)+1)
		down := i > 150 && i < 176
		w.work.rate.WithLabelValues("fcm").Set(600)
		w.work.rate.WithLabelValues("ably").Set(50)
		w.work.paused.WithLabelValues("ably", "breaker").Set(map[bool]float64{true: 1}[down])
		w.work.attempts.WithLabelValues("fcm", "sent", "").Add(sent)
		w.work.attempts.WithLabelValues("fcm", "gone", "UNREGISTERED").Add(math.Round(sent / 60))
		if !down {
			w.work.attempts.WithLabelValues("ably", "sent", "").Add(math.Round(sent / 9))
		} else if i < 156 {
			w.work.attempts.WithLabelValues("ably", "unknown", "timeout").Add(40)
		}
		if i > 215 && i < 235 {
			w.work.attempts.WithLabelValues("fcm", "retry", "QUOTA_EXCEEDED").Add(90)
		}
		w.quotaAt(now, i, sent, sent/9, down)
		w.work.news.WithLabelValues("bet-settled", "new").Add(sent / 3)
		if i%20 == 0 {
			w.work.news.WithLabelValues("race-soon", "new").Add(900)
		}
		slow := 1.0
		if down {
			slow = 4
		}
		for n := range 40 {
			w.work.latency.WithLabelValues("bet-settled").Observe(slow * (0.4 + float64(n*n)/700 + 0.3*math.Sin(float64(i)/12)))
		}
		w.work.relayed.WithLabelValues("odds", "published").Add(420 + math.Round(90*math.Sin(float64(i)/15)) + wave(i, 110, 14, 300))
		w.work.relayed.WithLabelValues("odds", "conflated").Add(wave(i, 110, 14, 500) + float64(i%3))
		w.work.bets.WithLabelValues("true").Add(60 + math.Round(20*math.Sin(float64(i)/21)) + wave(i, 95, 12, 180))
		w.work.refused.WithLabelValues("bad_json").Add(float64(i % 2))
		w.pending.WithLabelValues("fcm/high").Set(wave(i, 118, 16, 9000) + wave(i, 233, 24, 4300) + 40)
		w.pending.WithLabelValues("ably/high").Set(wave(i, 176, 16, 3000) + 11)
		w.oldest.WithLabelValues("fcm/high").Set(wave(i, 122, 14, 14) + 1)
		w.oldest.WithLabelValues("ably/high").Set(wave(i, 176, 14, 75))
		w.lag.WithLabelValues("odds", "0").Set(30 + wave(i, 112, 12, 2600))
		require.NoError(t, w.pages.Remember(now.Add(time.Duration(i-300)*every)))
	}
}

// quotaload are the metrics of quotas: the providers', of all replicas, and the relay's.
type quotaload struct {
	rate, share, until, slowed, budget *prometheus.GaugeVec
	granted, published, holds          *prometheus.CounterVec
}

func newQuotaload(counter func(string, ...string) *prometheus.CounterVec, gauge func(string, ...string) *prometheus.GaugeVec) quotaload {
	return quotaload{
		rate: gauge("bugle_quota_rate", "provider"), share: gauge("bugle_quota_share", "provider"),
		until: gauge("bugle_quota_paused_until_timestamp_seconds", "provider"), slowed: gauge("bugle_quota_slowed_timestamp_seconds", "provider"),
		granted: counter("bugle_quota_granted_total", "provider"), budget: gauge("bugle_relay_rate_limit", "limit"),
		published: counter("bugle_relay_attempts_total", "verdict"), holds: counter("bugle_relay_holds_total", "cause"),
	}
}

// quotaAt is the i-th of the last 300 samples of quotas: FCM finds us too fast and
// asks all to wait, twice as much is sent by the others as by this replica, and
// the relay comes near its limit.
func (w *world) quotaAt(now time.Time, i int, fcm, ably float64, down bool) {
	q := w.work.quota
	share, until := 1.0, 0.0
	slowed := now.Add(-85 * 3 * time.Second)
	switch {
	case i >= 215 && i < 225:
		share, until = 0, float64(now.Add(-75*3*time.Second).Unix())
	case i >= 225 && i < 235:
		share = 0.5 + float64(i-225)/20
	}
	q.rate.WithLabelValues("fcm").Set(1000)
	q.share.WithLabelValues("fcm").Set(share)
	q.until.WithLabelValues("fcm").Set(until)
	if i >= 215 {
		q.slowed.WithLabelValues("fcm").Set(float64(slowed.Unix()))
	}
	if share > 0 {
		q.granted.WithLabelValues("fcm").Add(min(2.2*fcm, 3000*share))
	}
	q.rate.WithLabelValues("ably").Set(50)
	q.share.WithLabelValues("ably").Set(1)
	q.until.WithLabelValues("ably").Set(0)
	q.slowed.WithLabelValues("ably").Set(0)
	if !down {
		q.granted.WithLabelValues("ably").Add(min(6*ably, 147))
	}
	q.budget.WithLabelValues("requests").Set(300)
	q.budget.WithLabelValues("messages").Set(2000)
	q.published.WithLabelValues("accepted").Add(420 + math.Round(90*math.Sin(float64(i)/15)) + min(400, math.Round(300*math.Exp(-float64((i-110)*(i-110))/200))))
	q.holds.WithLabelValues("account").Add(map[bool]float64{true: 1}[i == 112])
}
