package notifier

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/devices"
)

// Metrics are the notifier's. Labels come from closed sets: rules of the
// configuration, providers, verdicts, states and reasons.
type Metrics struct {
	runs          *prometheus.CounterVec
	runSeconds    *prometheus.HistogramVec
	sweepsFailed  *prometheus.CounterVec
	rows          *prometheus.CounterVec
	notifications *prometheus.CounterVec
	badRows       *prometheus.CounterVec
	deliveries    *prometheus.CounterVec
	postponed     *prometheus.CounterVec
	attempts      *prometheus.CounterVec
	sendSeconds   *prometheus.HistogramVec
	latency       *prometheus.HistogramVec
	retired       *prometheus.CounterVec
	leasesLost    prometheus.Counter
	reclaimed     prometheus.Counter
	inFlight      *prometheus.GaugeVec
	rate          *prometheus.GaugeVec
	grants        *prometheus.CounterVec
	paused        *prometheus.GaugeVec
	rulePaused    *prometheus.GaugeVec
	stopped       *prometheus.GaugeVec
	outdated      prometheus.Gauge
	clockSkew     prometheus.Gauge
	queued        *prometheus.GaugeVec
	oldestDue     *prometheus.GaugeVec
	removed       *prometheus.CounterVec
	runsHeld      *prometheus.GaugeVec
	provisional   *prometheus.GaugeVec
	holds         *prometheus.CounterVec
	quota         *quotaMetrics
}

// NewMetrics registers the notifier's metrics; reg may be nil in tests.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_runs_total", Help: "Runs by how they ended.",
		}, []string{"rule", "outcome"}),
		runSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_run_duration_seconds", Help: "How long runs took that were released or held.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 8),
		}, []string{"rule"}),
		sweepsFailed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_sweeps_failed_total", Help: "Sweeps that could not read all of their hours; the run goes on without them.",
		}, []string{"rule"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_rows_total", Help: "Rows read from the source, known ones included.",
		}, []string{"rule"}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_notifications_total", Help: "Rows that were news, by what was done: new, adopted (from a failed run), renewed (known, and news again because another rule of the thread has said something else), provisional (held), confirmed (by a row, while it was held), withdrawn (a newer version came while it was held), swept (found by the sweep only), stale (older than what is known).",
		}, []string{"rule", "outcome"}),
		badRows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_bad_rows_total", Help: "Readings of rows that no notification could be made of.",
		}, []string{"rule"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_deliveries_total", Help: "Deliveries by final state and reason.",
		}, []string{"provider", "state", "reason"}),
		postponed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_deliveries_postponed_total", Help: "Times that a gate let a delivery wait, by its reason.",
		}, []string{"provider", "reason"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_attempts_total", Help: "Calls of a provider by verdict and the provider's reason.",
		}, []string{"provider", "verdict", "code"}),
		sendSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_send_duration_seconds", Help: "How long calls of a provider took.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}, []string{"provider"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bugle_event_to_accepted_seconds", Help: "From the event (or, where the rule does not tell its time, from staging) to acceptance by the provider.",
			Buckets: []float64{.25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600},
		}, []string{"rule"}),
		retired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_targets_retired_total", Help: "Targets taken out of use on a provider's verdict.",
		}, []string{"platform"}),
		leasesLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_leases_lost_total", Help: "Results that came after their lease had been lost, and were not recorded.",
		}),
		reclaimed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_leases_reclaimed_total", Help: "Deliveries whose lease lapsed; their outcome is unknown.",
		}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_deliveries_in_flight", Help: "Deliveries claimed and not yet recorded.",
		}, []string{"lane"}),
		rate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_send_rate_limit", Help: "Sends a second of all replicas together, as of this replica's last grant.",
		}, []string{"provider"}),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_quota_grants_total", Help: "Questions for a part of the provider's quota by outcome: granted, empty (others have it, or a pause), failed (the database did not answer).",
		}, []string{"provider", "outcome"}),
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_provider_paused", Help: "1 while nothing is sent to the provider, by cause: blocked (our credentials), breaker (it fails), throttled (it has asked us to wait).",
		}, []string{"provider", "cause"}),
		rulePaused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_rule_paused", Help: "1 while an operator has paused the rule, as of its last tick.",
		}, []string{"rule"}),
		stopped: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_sending_stopped", Help: "1 while an operator has stopped the sending of a rule, or of all (rule=\"\").",
		}, []string{"rule"}),
		outdated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_rules_outdated", Help: "1 while another replica has newer rules, so that this one begins no runs.",
		}),
		clockSkew: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_clock_skew_seconds", Help: "How far this process's clock is ahead of the database's; negative when it is behind.",
		}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_rows_removed_total", Help: "Rows removed from the database because they had been kept long enough, by table.",
		}, []string{"table"}),
	}
	m.queued = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bugle_deliveries_pending", Help: "Deliveries that are queued, due or not, up to 100000; of all replicas together.",
	}, []string{"lane"})
	m.oldestDue = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bugle_deliveries_oldest_due_seconds", Help: "How long the delivery has been due that has waited longest; of all replicas together.",
	}, []string{"lane"})
	m.runsHeld = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bugle_runs_held", Help: "Runs that would make too many deliveries and wait for an operator.",
	}, []string{"rule"})
	m.provisional = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bugle_notifications_provisional", Help: "Notifications that wait for a row that confirms them, or for the end of their hold; the first 10000 of all rules.",
	}, []string{"rule"})
	m.holds = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bugle_holds_ended_total", Help: "Holds of provisional notifications that were released, by why: confirmed (by a row), elapsed (nothing has confirmed it in time).",
	}, []string{"rule", "outcome"})
	m.quota = newQuotaMetrics()
	if reg != nil {
		reg.MustRegister(m.quota.collectors()...)
		reg.MustRegister(m.runsHeld, m.provisional, m.holds)
		reg.MustRegister(m.runs, m.runSeconds, m.sweepsFailed, m.rows, m.notifications, m.badRows, m.deliveries, m.postponed, m.attempts, m.sendSeconds,
			m.latency, m.retired, m.leasesLost, m.reclaimed, m.inFlight, m.rate, m.grants, m.paused, m.rulePaused, m.stopped, m.outdated, m.clockSkew,
			m.queued, m.oldestDue, m.removed)
	}
	return m
}

// provider shows a provider's gauges from the start: an alarm on a series that
// does not exist yet misses its first value.
func (m *Metrics) provider(name devices.Provider) {
	for _, cause := range []string{causeBlocked, causeBreaker, causeThrottled} {
		m.paused.WithLabelValues(string(name), cause).Set(0)
	}
	for _, outcome := range []string{outcomeGranted, outcomeEmpty, outcomeFailed} {
		m.grants.WithLabelValues(string(name), outcome).Add(0)
	}
}

// rule shows a rule's counters of trouble from the start, for the same reason.
func (m *Metrics) rule(id string) {
	m.sweepsFailed.WithLabelValues(id).Add(0)
	m.badRows.WithLabelValues(id).Add(0)
	m.runs.WithLabelValues(id, string(RunFailed)).Add(0)
}

func (m *Metrics) staged(rule string, r StageResult) {
	add := func(outcome string, n int) {
		if n > 0 {
			m.notifications.WithLabelValues(rule, outcome).Add(float64(n))
		}
	}
	add("new", r.New)
	add("adopted", r.Adopted)
	add("renewed", r.Renewed)
	add("provisional", r.Provisional)
	add("confirmed", r.Confirmed)
	add("withdrawn", r.Withdrawn)
	add("swept", r.Swept)
	add("stale", r.Stale)
	if r.Bad > 0 {
		m.badRows.WithLabelValues(rule).Add(float64(r.Bad))
	}
}

func (m *Metrics) ruleIsPaused(rule string, paused bool) {
	m.rulePaused.WithLabelValues(rule).Set(oneIf(paused))
}

// stops shows what is stopped, and all sending in any case. What is not known
// stays as it was: a stop must not look lifted because the database is away.
func (m *Metrics) stops(stops []Stop) {
	m.stopped.Reset()
	m.stopped.WithLabelValues("").Set(0)
	for _, s := range stops {
		m.stopped.WithLabelValues(s.Rule).Set(1)
	}
}

func (m *Metrics) backlog(lane LaneID, b Backlog, known bool) {
	if !known {
		m.queued.DeleteLabelValues(lane.String())
		m.oldestDue.DeleteLabelValues(lane.String())
		return
	}
	m.queued.WithLabelValues(lane.String()).Set(float64(b.Queued))
	m.oldestDue.WithLabelValues(lane.String()).Set(b.Oldest.Seconds())
}

// unreleased shows what waits to be released. What is not known is not shown.
func (m *Metrics) unreleased(waiting map[string]Unreleased, known bool) {
	m.runsHeld.Reset()
	m.provisional.Reset()
	if !known {
		return
	}
	for rule, h := range waiting {
		m.runsHeld.WithLabelValues(rule).Set(float64(h.Runs))
		m.provisional.WithLabelValues(rule).Set(float64(h.Provisional))
	}
}

func (m *Metrics) holdsEnded(ended []EndedHolds) {
	for _, e := range ended {
		m.holds.WithLabelValues(e.Rule, "confirmed").Add(float64(e.Confirmed))
		m.holds.WithLabelValues(e.Rule, "elapsed").Add(float64(e.Elapsed))
	}
}

func (m *Metrics) setOutdated(outdated bool) { m.outdated.Set(oneIf(outdated)) }

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// tables counts rows that were removed. A table's series is there from the start.
func (m *Metrics) tables(r Removed) {
	for _, t := range r.tables() {
		m.removed.WithLabelValues(t.table).Add(float64(t.rows))
	}
}
