package ablypush

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/devices"
)

// senderMetrics are a Sender's; attempts and verdicts are counted by the
// dispatcher.
type senderMetrics struct {
	bodiesCut  prometheus.Counter
	chargeable *prometheus.CounterVec
}

func newSenderMetrics(reg prometheus.Registerer) (senderMetrics, error) {
	m := senderMetrics{
		bodiesCut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_ably_bodies_cut_total",
			Help: "Pushes whose body was shortened to fit what FCM, APNs and Web Push take.",
		}),
		// Ably charges one outbound message for each notification that it delivers (Ably,
		// "Message counting").
		chargeable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_ably_push_chargeable_messages_total", Help: "Pushes that Ably accepted, by kind of target: it charges one outbound message for each notification that it delivers. A push to ably_device is one or, when it fails later, none; one to ably_client is as many as the client has devices, and only Ably knows how many these are.",
		}, []string{"target"}),
	}
	for _, kind := range []devices.TargetKind{devices.AblyDevice, devices.AblyClient} {
		m.chargeable.WithLabelValues(string(kind))
	}
	return m, register(reg, m.bodiesCut, m.chargeable)
}

// watcherMetrics are what a Watcher knows.
type watcherMetrics struct {
	failures *prometheus.CounterVec
	alarm    *prometheus.GaugeVec
	attached prometheus.Gauge
	retired  prometheus.Counter
}

func newWatcherMetrics(reg prometheus.Registerer) (watcherMetrics, error) {
	m := watcherMetrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_ably_push_failures_total",
			Help: "Failures that Ably reported after it had accepted a push, by its error code; other and unreadable for what has none that is known.",
		}, []string{"code"}),
		alarm: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bugle_ably_push_alarm",
			Help: "1 while Ably reports that a push transport is not configured (103006) or its credentials are refused (103008).",
		}, []string{"code"}),
		attached: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_ably_push_log_attached",
			Help: "1 while the log of push failures is being received.",
		}),
		retired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_ably_push_retired_total",
			Help: "Targets retired because Ably reported that their push token is dead.",
		}),
	}
	for _, code := range FailureCodes() {
		m.failures.WithLabelValues(code)
	}
	for _, code := range []int{failureNotConfigured, failureCredentials} {
		m.alarm.WithLabelValues(label(code))
	}
	return m, register(reg, m.failures, m.alarm, m.attached, m.retired)
}

// register registers collectors where reg is not nil.
func register(reg prometheus.Registerer, cs ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	var errs []error
	for _, c := range cs {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
