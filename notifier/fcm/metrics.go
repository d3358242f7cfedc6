package fcm

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what only this adapter knows; attempts and verdicts are counted
// by the dispatcher.
type metrics struct {
	tokenFetches *prometheus.CounterVec
	bodiesCut    prometheus.Counter
}

// newMetrics makes the metrics and registers them where reg is not nil.
func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		tokenFetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_fcm_token_fetches_total",
			Help: "Requests for an access token by outcome: ok, token_unavailable or credentials_refused.",
		}, []string{"outcome"}),
		bodiesCut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bugle_fcm_bodies_cut_total",
			Help: "Messages whose body was shortened to fit FCM's 4096 bytes.",
		}),
	}
	for _, outcome := range []string{"ok", CodeTokenUnavailable, CodeCredentialsRefused} {
		m.tokenFetches.WithLabelValues(outcome)
	}
	if reg == nil {
		return m, nil
	}
	if err := errors.Join(reg.Register(m.tokenFetches), reg.Register(m.bodiesCut)); err != nil {
		return metrics{}, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}
