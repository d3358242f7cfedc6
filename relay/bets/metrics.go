package bets

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of the bets. Labels come from closed sets.
type Metrics struct {
	webhooks   *prometheus.CounterVec
	accepted   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	duplicates prometheus.Counter
	ignored    *prometheus.CounterVec
	sightings  prometheus.Counter
	produced   *prometheus.CounterVec
	failures   *prometheus.CounterVec
	lost       prometheus.Counter
	rows       *prometheus.GaugeVec
	oldest     *prometheus.GaugeVec
	latency    *prometheus.HistogramVec
	removed    *prometheus.CounterVec
}

// NewMetrics registers the metrics; reg may be nil in tests.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_webhooks_total",
			Help: "Webhooks of Ably by verdict: taken, unknown_key, bad_signature, failed (the database; Ably tries again).",
		}, []string{"verdict"}),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_accepted_total", Help: "Bets that were kept, by whether Ably knew the publisher as the user.",
		}, []string{"authenticated"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_refused_total", Help: "Messages that are no bets and became dead letters, by reason.",
		}, []string{"reason"}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_bets_duplicates_total", Help: "Messages that had been kept before.",
		}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_ignored_total", Help: "What webhooks brought that is neither a bet nor anybody's presence, by reason.",
		}, []string{"reason"}),
		sightings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_bets_presence_total", Help: "Presence messages taken.",
		}),
		produced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_produced_total", Help: "Records that Kafka has acknowledged, by kind: bet or dead (a dead letter).",
		}, []string{"kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_produce_failures_total", Help: "Records that Kafka has refused, by kind; they are tried again.",
		}, []string{"kind"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_bets_leases_lost_total", Help: "Records produced whose lease had been lost: another replica may produce them once more.",
		}),
		rows: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_bets_outbox_rows", Help: "Rows that wait to be produced, by kind, counted up to 100,000.",
		}, []string{"kind"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_bets_outbox_oldest_seconds", Help: "How long the row has waited that has waited longest, by kind.",
		}, []string{"kind"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_bets_outbox_seconds", Help: "From the commit of a row to the acknowledgement of Kafka, by kind.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 10),
		}, []string{"kind"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bets_rows_removed_total", Help: "Rows removed because they had been kept long enough, by table.",
		}, []string{"table"}),
	}
	m.begin()
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.webhooks, m.accepted, m.refused, m.duplicates, m.ignored, m.sightings, m.produced, m.failures, m.lost, m.rows, m.oldest, m.latency, m.removed,
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of bets: %w", err)
	}
	return m, nil
}

// begin makes every series, so that an alert sees a first increase.
func (m *Metrics) begin() {
	for _, v := range []string{verdictTaken, verdictKey, verdictSignature, verdictFailed} {
		m.webhooks.WithLabelValues(v)
	}
	for _, authenticated := range []bool{false, true} {
		m.accepted.WithLabelValues(boolLabel(authenticated))
	}
	for _, reason := range Reasons() {
		m.refused.WithLabelValues(string(reason))
	}
	for _, why := range ignoredReasons() {
		m.ignored.WithLabelValues(why)
	}
	for _, kind := range Kinds() {
		m.produced.WithLabelValues(string(kind))
		m.failures.WithLabelValues(string(kind))
		m.latency.WithLabelValues(string(kind))
	}
	m.count(Removed{})
}

func (m *Metrics) count(r Removed) {
	m.removed.WithLabelValues("bets").Add(float64(r.Bets))
	m.removed.WithLabelValues("presence").Add(float64(r.Presence))
}
