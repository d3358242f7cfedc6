package notifier

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/devices"
)

// quotaLook is how old may be what is shown of a quota. Who sends hears of it
// with every grant; who does not looks.
const quotaLook = 2 * time.Second

// quotaMetrics are those of the providers' quotas. But for the configured rate
// they are of all replicas together, as the database knows them: every replica
// shows the same.
type quotaMetrics struct {
	rate        *prometheus.GaugeVec
	share       *prometheus.GaugeVec
	pausedUntil *prometheus.GaugeVec
	slowed      *prometheus.GaugeVec
	granted     *prometheus.CounterVec
}

func newQuotaMetrics() *quotaMetrics {
	labels := []string{"provider"}
	return &quotaMetrics{
		rate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_quota_rate", Help: "The configured rate: the most sends a second of all replicas together.",
		}, labels),
		share: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_quota_share", Help: "The part of the configured rate, up to 1, that is granted now to all replicas together: less while it climbs after an idle time or a slow-down, 0 while the provider has asked us to wait. Missing while the database does not answer.",
		}, labels),
		pausedUntil: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_quota_paused_until_timestamp_seconds", Help: "Until when nothing is granted because the provider has asked us to wait, by the database's clock; 0 when it has not.",
		}, labels),
		slowed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_quota_slowed_timestamp_seconds", Help: "When the rate was last halved because the provider found us too fast, by the database's clock; 0 when that was never.",
		}, labels),
		granted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_quota_granted_total", Help: "Sends that were granted to all replicas together since this one started. Each replica counts all of them, so they must not be added up.",
		}, labels),
	}
}

func (m *quotaMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.rate, m.share, m.pausedUntil, m.slowed, m.granted}
}

// quotaMeter shows how a provider's quota stands. It is not safe for concurrent use.
type quotaMeter struct {
	provider string
	metrics  *quotaMetrics
	// lookedAt is when it was last read, by our clock; zero when it is not known.
	lookedAt time.Time
	// known says that granted is what had been granted then.
	known   bool
	granted int64
}

func newQuotaMeter(provider devices.Provider, rate float64, m *quotaMetrics) *quotaMeter {
	m.rate.WithLabelValues(string(provider)).Set(rate)
	m.granted.WithLabelValues(string(provider)).Add(0)
	return &quotaMeter{provider: string(provider), metrics: m}
}

// due tells whether what is shown is too old.
func (q *quotaMeter) due(now time.Time) bool { return now.Sub(q.lookedAt) >= quotaLook }

// read shows what was read.
func (q *quotaMeter) read(now time.Time, s Standing) {
	q.metrics.share.WithLabelValues(q.provider).Set(s.Share)
	q.metrics.pausedUntil.WithLabelValues(q.provider).Set(unixSeconds(s.PausedUntil))
	q.metrics.slowed.WithLabelValues(q.provider).Set(unixSeconds(s.SlowedAt))
	// A number that falls is of a database that was restored: counting begins anew.
	if more := s.Granted - q.granted; q.known && more > 0 {
		q.metrics.granted.WithLabelValues(q.provider).Add(float64(more))
	}
	q.lookedAt, q.known, q.granted = now, true, s.Granted
}

// lost shows that it is not known how the quota stands. What was granted
// meanwhile is counted when it is known again.
func (q *quotaMeter) lost() {
	q.lookedAt = time.Time{}
	q.metrics.share.DeleteLabelValues(q.provider)
	q.metrics.pausedUntil.DeleteLabelValues(q.provider)
	q.metrics.slowed.DeleteLabelValues(q.provider)
}

// unixSeconds is 0 for the zero time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
