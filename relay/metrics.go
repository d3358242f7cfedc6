package relay

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// feedMetrics are the feed's. Labels are topics of the configuration, partitions,
// and words and codes from closed sets.
type feedMetrics struct {
	records     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	seconds     prometheus.Histogram
	delay       *prometheus.HistogramVec
	lag         *prometheus.GaugeVec
	waiting     *prometheus.GaugeVec
	paused      *prometheus.GaugeVec
	channels    prometheus.Gauge
	held        *prometheus.GaugeVec
	commits     *prometheus.CounterVec
	limits      *prometheus.GaugeVec
	holds       *prometheus.CounterVec
	chargeable  prometheus.Counter
	holding     string // the cause that is shown
}

func newFeedMetrics(reg prometheus.Registerer) (*feedMetrics, error) {
	m := &feedMetrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_relay_records_total",
			Help: "Records of the odds topics by what became of them: published, conflated, stale, known (published before a restart), tombstone, dead_lettered.",
		}, []string{"topic", "fate"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_relay_dead_letters_total", Help: "Records sent to the dead-letter topic, by code.",
		}, []string{"topic", "code"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_relay_attempts_total", Help: "Publishes to Ably by what the answer means.",
		}, []string{"verdict"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bugle_relay_publish_duration_seconds", Help: "How long publishes to Ably took, whatever their answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_relay_record_to_accepted_seconds", Help: "From the record's time in Kafka to its acceptance by Ably.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 14),
		}, []string{"topic"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_relay_lag_records", Help: "Offsets between what is done and the end of each partition of this replica.",
		}, []string{"topic", "partition"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_relay_records_waiting", Help: "Records that were read and are not done.",
		}, []string{"topic", "partition"}),
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_relay_partition_paused", Help: "1 while a partition is not read because too many of its records wait.",
		}, []string{"topic", "partition"}),
		channels: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_relay_channels", Help: "Channels that were published to lately.",
		}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_relay_held", Help: "1 while nothing is published but probes, by cause.",
		}, []string{"cause"}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_relay_commits_total", Help: "Commits of offsets by outcome.",
		}, []string{"outcome"}),
		limits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_relay_rate_limit", Help: "What this replica may publish to Ably a second, by what is counted: messages, requests. Each message is a request, so bugle_relay_attempts_total is the use of both. Missing where no limit is configured.",
		}, []string{"limit"}),
		holds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_relay_holds_total", Help: "Times that nothing was published but probes, by cause.",
		}, []string{"cause"}),
		// Ably charges one inbound message for each publish, and one outbound for each
		// subscriber that receives it, in steps of 5 KiB (Ably, "Message counting"). A
		// repeat of a message counts here only once, as what was accepted.
		chargeable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_relay_chargeable_messages_total", Help: "Messages that Ably accepted and charges as inbound ones; what subscribers receive of them it charges as well, and only Ably knows how many these are.",
		}),
	}
	for _, v := range Verdicts() {
		m.attempts.WithLabelValues(string(v))
	}
	for _, cause := range []string{holdCredentials, holdAccount, holdTrouble} {
		m.held.WithLabelValues(cause)
		m.holds.WithLabelValues(cause)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.records, m.deadLetters, m.attempts, m.seconds, m.delay, m.lag, m.waiting, m.paused, m.channels, m.held, m.commits,
		m.limits, m.holds, m.chargeable,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// limit shows how much may be published a second; 0 is no limit, and not shown.
func (m *feedMetrics) limit(messages, requests float64) {
	for name, rate := range map[string]float64{"messages": messages, "requests": requests} {
		if rate > 0 {
			m.limits.WithLabelValues(name).Set(rate)
		}
	}
}

// hold shows a hold. One whose reason alone has changed is the same.
func (m *feedMetrics) hold(h hold) {
	if h.cause != "" && h.cause != m.holding {
		m.holds.WithLabelValues(h.cause).Inc()
	}
	m.holding = h.cause
	for _, cause := range []string{holdCredentials, holdAccount, holdTrouble} {
		value := 0.0
		if cause == h.cause {
			value = 1
		}
		m.held.WithLabelValues(cause).Set(value)
	}
}

// look sets what is told of a partition.
func (m *feedMetrics) look(p *partition) {
	number := strconv.Itoa(int(p.partition))
	if done := p.prefix.commit(); done >= 0 {
		m.lag.WithLabelValues(p.topic, number).Set(float64(max(p.highWatermark-done, 0)))
	}
	m.waiting.WithLabelValues(p.topic, number).Set(float64(p.prefix.pending))
	paused := 0.0
	if p.paused {
		paused = 1
	}
	m.paused.WithLabelValues(p.topic, number).Set(paused)
}

// leave removes what is told of a partition.
func (m *feedMetrics) leave(p *partition) {
	number := strconv.Itoa(int(p.partition))
	for _, g := range []*prometheus.GaugeVec{m.lag, m.waiting, m.paused} {
		g.DeleteLabelValues(p.topic, number)
	}
}
