package relay

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// boardMetrics counts what a board does.
type boardMetrics struct {
	records *prometheus.CounterVec
	updates *prometheus.CounterVec
	ended   *prometheus.CounterVec
}

func newBoardMetrics(reg prometheus.Registerer, b *Board) (*boardMetrics, error) {
	m := &boardMetrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_odds_records_total",
			Help: "Records of the odds topic by what became of them on the board.",
		}, []string{"outcome"}),
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_odds_stream_updates_total",
			Help: "Updates for streams: sent, or skipped because a newer one came before the client was ready.",
		}, []string{"outcome"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_odds_streams_ended_total",
			Help: "Streams that ended by reason.",
		}, []string{"reason"}),
	}
	for _, o := range []Outcome{Updated, Removed, Outdated, Unfit} {
		m.records.WithLabelValues(string(o))
	}
	for _, o := range []string{"sent", "skipped"} {
		m.updates.WithLabelValues(o)
	}
	for _, e := range []StreamEnd{EndClient, EndSlow, EndAge, EndStopping} {
		m.ended.WithLabelValues(string(e))
	}
	if reg == nil {
		return m, nil
	}
	streams := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bugle_odds_streams",
		Help: "Streams that are open.",
	}, func() float64 { return float64(b.streams.Load()) })
	events := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bugle_odds_events",
		Help: "Events on the board that have odds.",
	}, func() float64 {
		b.mu.RLock()
		defer b.mu.RUnlock()
		return float64(b.live.Len())
	})
	var errs []error
	for _, c := range []prometheus.Collector{m.records, m.updates, m.ended, streams, events} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register odds metrics: %w", err)
	}
	return m, nil
}
