package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// horizonTimeout bounds what a scrape waits for the database.
const horizonTimeout = 2 * time.Second

// databaseMetrics asks the database at each scrape. What cannot be told is left
// out, so that an alert sees an absent series and not an old value.
type databaseMetrics struct {
	db                          *sqldb.DB
	connections, limit, waited  *prometheus.Desc
	xminAge, transaction, waits *prometheus.Desc
}

func newDatabaseMetrics(db *sqldb.DB) *databaseMetrics {
	return &databaseMetrics{
		db:          db,
		connections: prometheus.NewDesc("bugle_database_connections", "Connections of this replica by state.", []string{"state"}, nil),
		limit:       prometheus.NewDesc("bugle_database_connections_limit", "The most connections that this replica may open; 0 for no limit.", nil, nil),
		waited:      prometheus.NewDesc("bugle_database_connection_wait_seconds_total", "How long this replica has waited for a free connection.", nil, nil),
		waits:       prometheus.NewDesc("bugle_database_connections_waited_total", "How often this replica has waited for a free connection.", nil, nil),
		xminAge:     prometheus.NewDesc("bugle_database_xmin_age_transactions", "Age of the oldest snapshot of the database, which keeps rows from being vacuumed. PostgreSQL only.", nil, nil),
		transaction: prometheus.NewDesc("bugle_database_oldest_transaction_seconds", "How long the oldest transaction of the database has been open. PostgreSQL only.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *databaseMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connections, m.limit, m.waited, m.waits, m.xminAge, m.transaction} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *databaseMetrics) Collect(ch chan<- prometheus.Metric) {
	stats := m.db.SQL().Stats()
	ch <- prometheus.MustNewConstMetric(m.connections, prometheus.GaugeValue, float64(stats.InUse), "in_use")
	ch <- prometheus.MustNewConstMetric(m.connections, prometheus.GaugeValue, float64(stats.Idle), "idle")
	ch <- prometheus.MustNewConstMetric(m.limit, prometheus.GaugeValue, float64(stats.MaxOpenConnections))
	ch <- prometheus.MustNewConstMetric(m.waited, prometheus.CounterValue, stats.WaitDuration.Seconds())
	ch <- prometheus.MustNewConstMetric(m.waits, prometheus.CounterValue, float64(stats.WaitCount))
	ctx, cancel := context.WithTimeout(context.Background(), horizonTimeout) //nolint:forbidigo // a scrape has no context
	defer cancel()
	if h, ok, err := m.db.Horizon(ctx); ok && err == nil {
		ch <- prometheus.MustNewConstMetric(m.xminAge, prometheus.GaugeValue, float64(h.XminAge))
		ch <- prometheus.MustNewConstMetric(m.transaction, prometheus.GaugeValue, h.OldestTransaction.Seconds())
	}
}
